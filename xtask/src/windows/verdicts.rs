//! What the tests said, by statement of the contract.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;

/// How one test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    test: String,
    word: String,
}

/// All tests that ran.
#[derive(Debug, Default)]
pub(super) struct Verdicts(Vec<Verdict>);

/// Reads what libtest printed.
pub(super) fn read(report: &Path) -> anyhow::Result<Verdicts> {
    let text = std::fs::read(report).with_context(|| report.display().to_string())?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

fn parse(text: &str) -> Verdicts {
    let mut verdicts = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        let line = line.trim_end();
        if let Some((test, rest)) = line.strip_prefix("test ").and_then(|line| line.split_once(" ... ")) {
            match word_of(rest) {
                Some(word) => verdicts.push(Verdict { test: test.to_owned(), word }),
                // What the test printed stands between its name and the word.
                None => open = Some(test.to_owned()),
            }
        } else if let Some((test, word)) = open.clone().zip(word_of(line)) {
            verdicts.push(Verdict { test, word });
            open = None;
        }
    }
    Verdicts(verdicts)
}

fn word_of(text: &str) -> Option<String> {
    let word = text.split(',').next().unwrap_or_default();
    ["ok", "FAILED", "ignored"].contains(&word).then(|| word.to_owned())
}

/// The statement that a test is named after: `p_017_…` or `module::p_017_…`.
fn statement_of(test: &str) -> Option<u32> {
    let name = test.rsplit("::").next()?;
    name.strip_prefix("p_")?.get(..3)?.parse().ok()
}

impl Verdicts {
    /// How many tests there were.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Prints the table.
    pub(super) fn print(&self) {
        let mut statements: BTreeMap<u32, Vec<&Verdict>> = BTreeMap::new();
        for verdict in &self.0 {
            if let Some(statement) = statement_of(&verdict.test) {
                statements.entry(statement).or_default().push(verdict);
            }
        }
        println!("\n| statement | result | tests |\n| --- | --- | --- |");
        for (statement, verdicts) in &statements {
            let failed = verdicts.iter().any(|verdict| verdict.word != "ok");
            let names: Vec<&str> = verdicts.iter().map(|verdict| verdict.test.as_str()).collect();
            let result = if failed { "FAILED" } else { "ok" };
            println!("| P-{statement:02} | {result} | {} |", names.join(", "));
        }
        let count = |word: &str| self.0.iter().filter(|verdict| verdict.word == word).count();
        println!(
            "\n{} statements; {} tests under Wine: {} ok, {} failed, {} ignored",
            statements.len(),
            self.count(),
            count("ok"),
            count("FAILED"),
            count("ignored")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtests_lines_become_verdicts() {
        let text = "running 3 tests\r\ntest p_001_a ... ok\r\ntest com::p_017_b ... noise\r\nFAILED\r\n\
                    test other ... ignored, no disk\r\ntest result: FAILED. 1 passed";
        let verdicts = parse(text);
        let words: Vec<_> = verdicts.0.iter().map(|verdict| (verdict.test.as_str(), verdict.word.as_str())).collect();
        assert_eq!(words, [("p_001_a", "ok"), ("com::p_017_b", "FAILED"), ("other", "ignored")]);
    }

    #[test]
    fn a_test_is_named_after_its_statement() {
        assert_eq!(statement_of("com::p_017_a_panic_ends_as_a_veto"), Some(17));
        assert_eq!(statement_of("p_126_x"), Some(126));
        assert_eq!(statement_of("a_test_p_017"), None);
    }
}
