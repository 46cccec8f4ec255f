//! The `lunshadow` command.

fn main() {}
