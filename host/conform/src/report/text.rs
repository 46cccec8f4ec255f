//! The report as text.

use super::Report;
use crate::finding::Verdict;

pub(super) fn write(report: &Report) -> String {
    let mut text = String::new();
    for item in &report.statements {
        let statement = &item.statement;
        text.push_str(&format!(
            "{:<6} {:<8} {:<14} {}\n       {}\n",
            statement.number.to_string(),
            statement.level.to_string(),
            item.verdict.name(),
            statement.text,
            item.evidence
        ));
        if item.verdict == Verdict::Broken {
            text.push_str(&format!("       source: {}\n", statement.source));
        }
    }
    text.push('\n');
    text.push_str(&report.summary());
    text.push('\n');
    text
}
