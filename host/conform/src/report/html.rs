//! The report as one page, with its styles and drawings inside.

use std::fmt::Write as _;

use quick_xml::escape::escape;

use super::drawing::draw;
use super::{Report, StatementReport};
use crate::finding::Verdict;
use crate::spans;

const HEAD: &str = "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">
<title>Conformance of a VSS hardware provider</title>
<style>
:root { color-scheme: light dark; --line: #8886; --held: #2a7d3b; --broken: #c62828; --dim: #777; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; } td, th { border-top: 1px solid var(--line); padding: .3rem .5rem; text-align: left; vertical-align: top; }
.verdict { white-space: nowrap; font-weight: 600; } .held .verdict { color: var(--held); } .broken .verdict { color: var(--broken); }
.not-tested .verdict, .not-applicable .verdict { color: var(--dim); } .source { color: var(--dim); font-size: .85em; }
svg { width: 100%; height: auto; margin: .5rem 0; } svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
svg text.axis { fill: var(--dim); } rect.call { fill: #3b78c3; } rect.failure { fill: #c62828; } svg text.failure { fill: #c62828; }
rect.phase { fill: #8a8f98; } rect.window { fill: #e0a100; } circle.event { fill: #9c4dcc; } summary { cursor: pointer; }
</style></head><body>
";

pub(super) fn write(report: &Report) -> String {
    let mut page = HEAD.to_owned();
    push(
        &mut page,
        format_args!("<h1>Conformance of a VSS hardware provider</h1>\n<p>{}</p>\n", escape(report.summary())),
    );
    if let Some(fault) = report.fault {
        push(&mut page, format_args!("<p>The planted fault: {}</p>\n", escape(fault.what())));
    }
    page.push_str("<h2>Statements</h2>\n<table><tr><th>Id<th>Level<th>Verdict<th>Statement and evidence</tr>\n");
    for item in &report.statements {
        write_statement(&mut page, item);
    }
    page.push_str("</table>\n");
    if !report.orders.is_empty() {
        page.push_str(
            "<h2>Whole sequences</h2>\n<p>A coordinator that plays VSS creates, imports and deletes a set.</p>\n",
        );
    }
    for order in &report.orders {
        push(&mut page, format_args!("<h3>With the {}</h3>\n", escape(order.name)));
        if let Some(failure) = &order.failure {
            push(
                &mut page,
                format_args!("<p class=\"broken\"><span class=\"verdict\">{}</span></p>\n", escape(failure)),
            );
        }
        page.push_str(&draw(&spans::of_timeline(&order.timeline)));
    }
    page.push_str("</body></html>\n");
    page
}

fn write_statement(page: &mut String, item: &StatementReport) {
    let statement = &item.statement;
    let class = item.verdict.name().replace(' ', "-");
    let (text, evidence) = (escape(&statement.text), escape(&item.evidence));
    push(
        page,
        format_args!(
            "<tr class=\"{class}\" id=\"{number}\"><td>{number}<td>{level}<td class=\"verdict\">{verdict}<td>{text} \
             <span class=\"source\">{source}</span><br>{evidence}",
            number = statement.number,
            level = statement.level,
            verdict = item.verdict.name(),
            source = escape(&statement.source),
        ),
    );
    let drawing = draw(&spans::of_sequence(&item.sequence));
    if !drawing.is_empty() {
        let open = if item.verdict == Verdict::Broken { " open" } else { "" };
        let count = item.sequence.calls.len();
        push(page, format_args!("<details{open}><summary>{count} calls</summary>{drawing}</details>"));
    }
    page.push_str("</tr>\n");
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("strings take everything");
}
