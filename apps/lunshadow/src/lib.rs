//! The `lunshadow` command: `try` and `serve`, and the parts that they are made of.
//!
//! This is the one place that knows concrete kinds of everything:

pub mod image;
pub mod import;
pub mod in_process;
pub mod records;
