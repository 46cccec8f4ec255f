//! `cargo xtask conformance`: what the tests of others say of us, compared with tables that are kept.

mod iscsi;
mod verdict;

use clap::Subcommand;

/// Whose tests.
#[derive(Debug, Subcommand)]
pub(crate) enum Conformance {
    /// libiscsi's iscsi-test-cu against `lunshadow serve`; what is worse than docs/iscsi-test-cu.txt fails
    Iscsi(iscsi::IscsiArgs),
}

/// Runs the tests.
pub(crate) fn run(which: &Conformance) -> anyhow::Result<()> {
    match which {
        Conformance::Iscsi(arguments) => iscsi::run(arguments),
    }
}

/// As [`run`], for continuous integration.
pub(crate) fn run_iscsi() -> anyhow::Result<()> {
    iscsi::run(&iscsi::IscsiArgs::default())
}
