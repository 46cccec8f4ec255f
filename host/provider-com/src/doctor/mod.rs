//! `lunshadow-provider doctor`: what usually goes wrong in the field, found before a backup does.
//!
//! Facts are collected from Windows and the arrays, without reading any text that Windows translates; what they mean is decided here, by
//! functions of the facts alone.

#[cfg(windows)]
mod collection;
mod device_ids;
mod judgements;

use std::io::{self, Write};

use serde::Serialize;

#[cfg(windows)]
pub use collection::collect;
pub use device_ids::{DeviceId, parse_device_ids};
pub use judgements::{
    ArrayFact, DiskFact, EventSourceFact, Facts, HostingFact, ProviderFact, ServiceFact, WindowsKind, judge,
};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// It could not be looked at here.
    NotChecked,
    /// It works, or may, but somebody should look.
    Warning,
    /// Shadow copies will fail, or will not be made by this provider.
    Failed,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub subject: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub finding: String,
    /// What to do about it, where something is to be done.
    pub remedy: Option<String>,
}

/// The worst of all verdicts.
#[must_use]
pub fn worst(checks: &[Check]) -> Verdict {
    checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok)
}

/// For people.
///
/// # Errors
/// What the writer says.
pub fn print(checks: &[Check], out: &mut dyn Write) -> io::Result<()> {
    for check in checks {
        let word = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::NotChecked => "not checked",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
        };
        writeln!(out, "{word:<11}  {}: {}", check.subject, check.finding)?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "{:<11}    {remedy}", "")?;
        }
    }
    Ok(())
}
