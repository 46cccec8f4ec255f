//! `cargo xtask fuzz`: looks for images of pools and for words of initiators that make a panic, take memory without bound, or have blocks
//! read other than they were written.

use std::process::Stdio;

use anyhow::{Context, bail};
use clap::Args;

use crate::command::{output_of, program, run};

/// All targets in `fuzz/fuzz_targets`.
const TARGETS: &[&str] =
    &["superblock", "log", "blocks", "iscsi_pdu", "iscsi_text", "iscsi_login", "scsi_cdb", "scsi_blocks"];

/// What one input may take. The pools have a capacity of 28 MiB.
const MEMORY_MB: u32 = 512;

/// What to look for, and how long.
#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// The target; all of them, one after another, if it is left out
    pub(crate) target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u32,
}

/// Runs targets, if the compiler and the program for it are there.
pub(crate) fn run_targets(arguments: &FuzzArgs) -> anyhow::Result<()> {
    let targets = match &arguments.target {
        Some(target) if !TARGETS.contains(&target.as_str()) => bail!("the targets are {}", TARGETS.join(", ")),
        Some(target) => vec![target.as_str()],
        None => TARGETS.to_vec(),
    };
    if let Some(missing) = missing() {
        println!("skipped: fuzzing needs {missing}");
        return Ok(());
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in a folder")?;
    for target in targets {
        println!("fuzzing {target} for {} s", arguments.seconds);
        let mut fuzz = program("cargo", &["+nightly", "fuzz", "run", "--sanitizer", "none", target]);
        // What is found goes to the first folder; the second is kept with the sources, and is where a run begins.
        let corpus = format!("fuzz/corpus/{target}");
        std::fs::create_dir_all(root.join(&corpus)).context("the folder for what is found cannot be made")?;
        fuzz.args([corpus, format!("fuzz/seeds/{target}"), "--".to_owned()]);
        fuzz.arg(format!("-max_total_time={}", arguments.seconds));
        fuzz.args([format!("-rss_limit_mb={MEMORY_MB}"), format!("-malloc_limit_mb={MEMORY_MB}")]);
        fuzz.args(["-max_len=4096", "-timeout=30", "-print_final_stats=1"]);
        // The pinned toolchain is that of the cargo that runs us.
        run(fuzz.current_dir(root).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").stdin(Stdio::null()))?;
    }
    Ok(())
}

fn missing() -> Option<&'static str> {
    let there = |arguments: &[&str]| {
        output_of(program("cargo", arguments).env_remove("RUSTUP_TOOLCHAIN").stderr(Stdio::null())).is_some()
    };
    if !there(&["+nightly", "--version"]) {
        return Some("a nightly compiler (rustup toolchain install nightly --profile minimal)");
    }
    (!there(&["+nightly", "fuzz", "--version"])).then_some("cargo-fuzz (cargo install cargo-fuzz)")
}
