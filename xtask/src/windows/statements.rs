//! The statements of the contract with VSS that cannot be proved here, and why.

use std::path::Path;

use anyhow::Context;

/// All statements, and where the tests do not reach.
const FILE: &str = "host/conform/statements.toml";

/// A statement that no test under Wine is named after.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) number: u32,
    /// Why it cannot be proved here; what has no reason is proved by tests on Linux.
    pub(super) not_here: Option<String>,
}

/// Reads them; none where the file is not there.
pub(super) fn read(root: &Path) -> anyhow::Result<Vec<Statement>> {
    let path = root.join(FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    parse(&text).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> anyhow::Result<Vec<Statement>> {
    let table: toml::Table = text.parse()?;
    let all = table.get("statement").and_then(toml::Value::as_array).context("it has no statements")?;
    let statement = |value: &toml::Value| {
        let number = value.get("number").and_then(toml::Value::as_integer).and_then(|number| number.try_into().ok());
        let not_here = value.get("not_here").and_then(toml::Value::as_str).map(str::to_owned);
        Some(Statement { number: number?, not_here })
    };
    all.iter().map(|value| statement(value).context("a statement has no number")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_have_numbers_and_some_a_reason() {
        let text = "[[statement]]\nnumber = 5\nnot_here = \"Wine\"\n[[statement]]\nnumber = 6\ntext = \"x\"\n";
        let reason = Some("Wine".to_owned());
        let expected = [Statement { number: 5, not_here: reason }, Statement { number: 6, not_here: None }];
        assert_eq!(parse(text).expect("it is well-formed"), expected);
        assert!(parse("[[statement]]\ntext = \"x\"\n").is_err());
    }
}
