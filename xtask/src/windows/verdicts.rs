//! What the tests said, by statement of the contract.

use std::collections::{BTreeMap, BTreeSet};

use super::statements::Statement;

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
pub(super) fn parse(text: &str) -> Verdicts {
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

/// The statements that a test is named after: `p_017_…`, `p_030_p_032_…`, `p_030_to_032_…`, or `module::p_017_…`.
fn statements_of(test: &str) -> BTreeSet<u32> {
    let mut statements = BTreeSet::new();
    let (mut rest, mut first) = (test.rsplit("::").next().unwrap_or_default().strip_prefix("p_"), None);
    while let Some((number, text)) = rest.and_then(|rest| rest.split_at_checked(3)) {
        let Ok(number) = number.parse::<u32>() else { break };
        statements.extend(first.take().unwrap_or(number)..=number);
        if let Some(last) = text.strip_prefix("_to_") {
            (rest, first) = (Some(last), Some(number));
        } else {
            rest = text.strip_prefix("_p_");
        }
    }
    statements
}

impl Verdicts {
    /// How many tests there were.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Prints the table: what ran here, and of the other statements those that cannot be proved here.
    pub(super) fn print(&self, all: &[Statement]) {
        let mut statements: BTreeMap<u32, Vec<&Verdict>> = BTreeMap::new();
        for verdict in &self.0 {
            for statement in statements_of(&verdict.test) {
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
        let elsewhere = || all.iter().filter(|statement| !statements.contains_key(&statement.number));
        let reasons = || elsewhere().filter_map(|statement| Some((statement.number, statement.not_here.as_ref()?)));
        for (number, reason) in reasons() {
            println!("| P-{number:02} | not here | {reason} |");
        }
        let count = |word: &str| self.0.iter().filter(|verdict| verdict.word == word).count();
        println!(
            "\n{} statements under Wine, {} by tests on Linux only, {} that cannot be proved here",
            statements.len(),
            elsewhere().count() - reasons().count(),
            reasons().count()
        );
        println!(
            "{} tests under Wine: {} ok, {} failed, {} ignored",
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
    fn a_test_is_named_after_its_statements() {
        let of = |test| statements_of(test).into_iter().collect::<Vec<_>>();
        assert_eq!(of("com::p_017_a_panic_ends_as_a_veto"), [17]);
        assert_eq!(of("p_030_p_126_x"), [30, 126]);
        assert_eq!(of("p_030_to_032_p_044_x"), [30, 31, 32, 44]);
        assert!(of("a_test_p_017").is_empty());
        assert!(of("p_value_is_small").is_empty());
    }
}
