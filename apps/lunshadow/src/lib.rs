//! What the `lunshadow` command is made of.

pub mod in_process;
