//! Whole scripts.

use crate::fault::Fault;
use crate::session::{Flow, Session};

/// Where a script stopped, and why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct ScriptError {
    /// The line, counted from 1.
    pub line: usize,
    /// What was wrong with it.
    #[source]
    pub fault: Fault,
}

/// Runs a script to its end, to its `exit`, or to its first fault.
///
/// # Errors
/// [`ScriptError`]; the lines after that were not run.
pub fn run_script(session: &mut Session<'_>, script: &str) -> Result<(), ScriptError> {
    for (index, line) in script.lines().enumerate() {
        match session.execute(line) {
            Ok(Flow::Continue) => (),
            Ok(Flow::Exit) => break,
            Err(fault) => return Err(ScriptError { line: index + 1, fault }),
        }
    }
    Ok(())
}
