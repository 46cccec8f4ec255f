//! The report as JUnit's XML, of which there is no standard but what its readers agree on: `testsuites`, `testsuite`, `testcase`,
//! `failure` and `skipped`. A broken *must* is a failure; a broken statement of a lower level fails no build, and is told as output.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::{Report, ReportError, StatementReport};
use crate::finding::Verdict;
use crate::statements::Level;

pub(super) fn write(report: &Report) -> Result<String, ReportError> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 1);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let failures = report.statements.iter().filter(|it| is_failure(it)).count();
    let skipped = report.count(Verdict::NotTested) + report.count(Verdict::NotApplicable);
    let counts = [report.statements.len(), failures, skipped].map(|count| count.to_string());
    let attributes = [
        ("name", report.provider.as_str()),
        ("tests", &counts[0]),
        ("failures", &counts[1]),
        ("errors", "0"),
        ("skipped", &counts[2]),
    ];
    writer.create_element("testsuites").write_inner_content(|writer| {
        writer
            .create_element("testsuite")
            .with_attributes(attributes)
            .write_inner_content(|writer| report.statements.iter().try_for_each(|item| write_case(writer, item)))?;
        Ok(())
    })?;
    Ok(String::from_utf8_lossy(&writer.into_inner()).into_owned())
}

fn is_failure(item: &StatementReport) -> bool {
    item.verdict == Verdict::Broken && item.statement.level == Level::Must
}

fn write_case(writer: &mut Writer<Vec<u8>>, item: &StatementReport) -> io::Result<()> {
    let name = format!("{} {}", item.statement.number, item.statement.text);
    let spent_us: u64 = item.sequence.calls.iter().map(|call| call.duration_us).sum();
    let seconds = format!("{}.{:06}", spent_us / 1_000_000, spent_us % 1_000_000);
    let class = format!("conform.{}", item.statement.level);
    let attributes = [("classname", class.as_str()), ("name", &name), ("time", &seconds)];
    writer.create_element("testcase").with_attributes(attributes).write_inner_content(|writer| {
        let evidence = BytesText::new(&item.evidence);
        match item.verdict {
            Verdict::Broken if is_failure(item) => {
                let message = [("message", item.evidence.as_str()), ("type", "must")];
                writer.create_element("failure").with_attributes(message).write_text_content(evidence)?;
            }
            Verdict::NotTested | Verdict::NotApplicable => {
                let message = format!("{}: {}", item.verdict.name(), item.evidence);
                writer.create_element("skipped").with_attribute(("message", message.as_str())).write_empty()?;
            }
            Verdict::Held | Verdict::Broken => {
                let text = format!("{}: {}", item.verdict.name(), item.evidence);
                writer.create_element("system-out").write_text_content(BytesText::new(&text))?;
            }
        }
        Ok(())
    })?;
    Ok(())
}
