//! The statements of the contract, as data: `statements.toml`, which `docs/conformance.md` is made from as well.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a statement, `P-01` to `P-126`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Number(pub u16);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P-{:02}", self.0)
    }
}

/// A text that names no statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no statement; name one like P12 or P-12, from P-01 to P-126")]
pub struct InvalidNumber(
    /// The text.
    String,
);

impl std::str::FromStr for Number {
    type Err = InvalidNumber;

    fn from_str(text: &str) -> Result<Self, InvalidNumber> {
        let digits = text.trim().trim_start_matches(['P', 'p']).trim_start_matches('-');
        let number = digits.parse().ok().filter(|number| (1..=126).contains(number));
        number.map(Self).ok_or_else(|| InvalidNumber(text.to_owned()))
    }
}

/// How binding a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// It is inferred.
    #[serde(rename(serialize = "inferred", deserialize = "I"))]
    Inferred,
    /// A source recommends it.
    #[serde(rename(serialize = "should", deserialize = "S"))]
    Should,
    /// A source states it as a requirement.
    #[serde(rename(serialize = "must", deserialize = "M"))]
    Must,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inferred => "inferred",
            Self::Should => "should",
            Self::Must => "must",
        })
    }
}

/// What a provider is held to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Its number.
    pub number: Number,
    /// How binding it is.
    pub level: Level,
    /// What it says.
    pub text: String,
    /// Where it comes from: a page of Microsoft's documentation, or whose.
    pub source: String,
    /// Why the suite has no check for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_check: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    statement: Vec<Statement>,
}

/// All statements, by number.
///
/// # Panics
/// Never, as the tests show: the document is part of the program.
#[must_use]
pub fn statements() -> Vec<Statement> {
    let document: Document = toml::from_str(include_str!("../statements.toml")).expect("the document is tested");
    document.statement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checked;

    #[test]
    fn the_document_has_all_statements_in_order() {
        let numbers: Vec<u16> = statements().iter().map(|statement| statement.number.0).collect();
        assert_eq!(numbers, (1..=126).collect::<Vec<_>>());
    }

    #[test]
    fn every_statement_has_a_check_or_a_reason_and_not_both() {
        for statement in statements() {
            let is_checked = checked().contains(&statement.number);
            assert_ne!(is_checked, statement.no_check.is_some(), "{}", statement.number);
            assert!(!statement.source.is_empty() && !statement.text.is_empty(), "{}", statement.number);
        }
    }

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for text in ["P12", "P-12", "p12", "12", " P-12 "] {
            assert_eq!(text.parse(), Ok(Number(12)), "{text:?}");
        }
        for text in ["", "P", "P0", "P-127", "Q1", "1.5"] {
            assert!(text.parse::<Number>().is_err(), "{text:?}");
        }
        assert_eq!(Number(7).to_string(), "P-07");
    }
}
