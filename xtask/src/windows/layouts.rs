//! Sizes, offsets, identifiers and values: what the Windows programs are compiled with, against the headers that C programs use.
//!
//! The program `layouts` prints an assertion for each, a compiler of C judges them: once with the headers of mingw, and once with the
//! one that is made of the project's own description of the interfaces. So that no assertion is there for show, each of them is seen
//! to fail when its expectation is wrong.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use super::LINKER;
use super::place::Parts;
use super::prefix::Prefix;
use crate::command::run;

/// How a failed assertion begins in what the compiler says.
const FAILURE: &str = "static assertion failed";

/// Compiles all assertions. The header of the own description is among the libraries.
pub(super) fn check(root: &Path, parts: &Parts, prefix: &Prefix) -> anyhow::Result<()> {
    let folder = &parts.folder;
    let sources = root.join("testing/windows/layout");
    let numbers = folder.join("numbers.inc");
    let assertions = prefix.output_of(&parts.programs.join("layouts.exe"))?;
    std::fs::write(&numbers, &assertions).with_context(|| numbers.display().to_string())?;
    let assertions = String::from_utf8(assertions)?;
    let without_values = assertions.lines().filter(|line| !line.starts_with("CHECK_VALUE")).count();
    ensure!(without_values > 0, "there is nothing to check");
    for (source, count) in [("headers.c", assertions.lines().count()), ("description.c", without_values)] {
        let compile = || {
            let mut compiler = Command::new(LINKER);
            compiler.args(["-std=c11", "-fsyntax-only", "-fmax-errors=0", "-Wall", "-Werror"]);
            compiler.arg("-I").arg(folder).arg("-I").arg(folder.join("libraries")).arg(sources.join(source));
            compiler
        };
        run(&mut compile()).with_context(|| format!("a layout or a value is not that of {source}"))?;
        let wrong = compile().arg("-DWRONG_BY=1").output().with_context(|| format!("cannot start {LINKER}"))?;
        let failed = String::from_utf8_lossy(&wrong.stderr).matches(FAILURE).count();
        ensure!(failed == count, "{source}: {failed} of {count} assertions fail with wrong expectations, not all");
        println!("   {source}: {count} assertions hold, and each fails with a wrong expectation");
    }
    Ok(())
}
