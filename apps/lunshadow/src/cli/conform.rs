//! The arguments of `lunshadow conform`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use lunshadow_conform::{Fault, Number};

/// `lunshadow conform`.
#[derive(Debug, Subcommand)]
pub enum ConformCommand {
    /// Hold this program's own provider to the contract, over an array of its own; ends with 1 if a statement of the level "must" is broken
    Native(ConformNativeArgs),
    /// List the faults that can be planted, and the statements that each breaks
    Faults,
    /// List the statements, and whether there is a check for each
    Statements,
}

/// `lunshadow conform native`.
#[derive(Debug, Args)]
pub struct ConformNativeArgs {
    /// What to print
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub report: ReportFormat,
    /// Write the report to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Judge these statements only, for example P12,P-40
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    pub only: Vec<Number>,
    /// Plant a fault in front of the provider, to see how it is found; `lunshadow conform faults` lists them
    #[arg(long, value_name = "NAME")]
    pub fault: Option<Fault>,
}

/// The forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// Text, for people
    Text,
    /// One JSON document
    Json,
    /// JUnit's XML, for continuous integration
    Junit,
    /// A page with the timeline of each sequence drawn, which needs nothing but itself
    Html,
}
