//! A run of the suite, from the command line to the report.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use lunshadow_conform::{Level, Plan, StatementReport, Verdict};
use tokio::runtime::Runtime;

use crate::arguments::Arguments;
use crate::bed::{Class, ComBed};
use crate::description::Description;

/// Runs the suite over a class. Answers whether no *must* is broken.
///
/// # Errors
/// If what the file describes cannot be reached, the provider cannot be started, or the report not be written.
pub fn run(arguments: &Arguments, class: Arc<dyn Class>) -> anyhow::Result<bool> {
    let description = Description::read(&arguments.bed)?;
    let runtime = Runtime::new()?;
    // Nothing can be judged of a class that has no objects.
    drop(class.create()?);
    let bed = Arc::new(ComBed::set_up(class, &description, &runtime)?);
    let plan = Plan {
        provider: format!("the provider of the class {}", arguments.clsid.braced()),
        fault: arguments.fault,
        only: arguments.only.iter().copied().collect(),
        baseline: None,
    };
    let progress = |item: &StatementReport| {
        if item.verdict == Verdict::Broken && arguments.output.is_some() {
            complain(&format!("{} is broken: {}", item.statement.number, item.evidence));
        }
    };
    let report = lunshadow_conform::run(&(Arc::clone(&bed) as _), &plan, &progress);
    let torn_down = bed.tear_down(&runtime);
    let text = report.in_form(arguments.report)?;
    match &arguments.output {
        None => say(text.trim_end()),
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
            say(&report.summary());
        }
    }
    torn_down?;
    Ok(report.worst() != Some(Level::Must))
}

fn say(text: &str) {
    // Whoever read this may have gone; the exit status says the same.
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

fn complain(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}
