//! The arguments of `lunshadow conform`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lunshadow_conform::{Fault, Form, Number};

/// `lunshadow conform`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct ConformArgs {
    /// What to do here.
    #[command(subcommand)]
    pub command: Option<ConformCommand>,
    /// The class of a provider behind COM. Where COM is, on Windows and under Wine, lunshadow-conform takes it; this program says so
    #[arg(long, value_name = "CLSID")]
    pub clsid: Option<String>,
}

/// What can be done without COM.
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
    /// What to print: text, json (one document), junit (XML for continuous integration) or html (a page with the timeline of each sequence drawn)
    #[arg(long, value_name = "FORM", default_value_t = Form::Text)]
    pub report: Form,
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
