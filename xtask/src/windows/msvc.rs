//! The check for the compiler of Microsoft: the product's code is not only for mingw.
//!
//! Nothing can be linked for it here. `cargo check` links nothing, but the build script of `ring` compiles C whatever is asked
//! for, and wants Microsoft's librarian. The objects come from the compiler of mingw or whatever else is there; nobody reads them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;

use super::target_library;
use crate::command::{cargo, run};

/// The target of the programs that users get.
const TARGET: &str = "x86_64-pc-windows-msvc";

/// The packages that are checked.
const CHECKED: &[&str] = &["lunshadow-vss-com", "lunshadow-provider-com"];

/// Stands in for the librarian: makes an empty library where one is wanted.
const LIBRARIAN: &str = "\
#!/bin/sh
for argument; do
    case $argument in -out:*) : >\"${argument#-out:}\" ;; esac
done
";

/// Checks, if the target's standard library can be had.
pub(super) fn check(folder: &Path) -> anyhow::Result<()> {
    if let Err(reason) = target_library(TARGET) {
        println!("skipped: check for {TARGET}, because {reason}");
        return Ok(());
    }
    let librarian = folder.join("librarian.sh");
    std::fs::write(&librarian, LIBRARIAN).with_context(|| librarian.display().to_string())?;
    std::fs::set_permissions(&librarian, std::fs::Permissions::from_mode(0o755))?;
    let mut check = cargo(&["check", "--quiet", "--target", TARGET]);
    check.env("AR_x86_64_pc_windows_msvc", &librarian);
    for package in CHECKED {
        check.args(["--package", package]);
    }
    run(&mut check)
}
