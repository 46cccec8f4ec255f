//! The command line.

use std::path::PathBuf;

use clap::Parser;
use lunshadow_conform::{Fault, Form, Number};
use uuid::Uuid;

/// Hold a VSS hardware provider to the contract of VSS, through COM; ends with 1 if a statement of the level "must" is broken
#[derive(Debug, Parser)]
#[command(name = "lunshadow-conform", version)]
pub struct Arguments {
    /// The provider's class, as it is registered, with or without braces
    #[arg(long, value_name = "CLSID", value_parser = class_id)]
    pub clsid: Uuid,
    /// The file that describes the LUNs to copy, and what the provider's array is
    #[arg(long, value_name = "FILE")]
    pub bed: PathBuf,
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

fn class_id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| format!("{text} is no class id; write it as {{88cb7c5d-5166-4968-82c5-db12ae552a1d}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_braces_or_not() {
        let bare = "88cb7c5d-5166-4968-82c5-db12ae552a1d";
        for text in [bare.to_owned(), format!("{{{bare}}}"), format!("{{{}}}", bare.to_uppercase())] {
            let arguments = Arguments::try_parse_from(["lunshadow-conform", "--clsid", &text, "--bed", "x"]).unwrap();
            assert_eq!(arguments.clsid.to_string(), bare);
        }
        let wrong = Arguments::try_parse_from(["lunshadow-conform", "--clsid", "VSS", "--bed", "x"]).unwrap_err();
        assert!(wrong.to_string().contains("VSS is no class id"), "{wrong}");
    }
}
