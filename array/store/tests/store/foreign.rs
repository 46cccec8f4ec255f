//! Foreign bytes.
