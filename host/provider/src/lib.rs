//! The provider's decisions: a VSS call in, array requests out.
