//! The lunshadow command: serve, try.
