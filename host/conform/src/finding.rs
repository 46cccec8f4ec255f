//! What becomes of a statement.

use serde::Serialize;

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The statement holds, and by what that was seen.
    Held(String),
    /// It does not, and what was seen instead.
    Broken(String),
    /// It says nothing about this provider, and why.
    NotApplicable(String),
}

/// Why a check came to nothing: something that is not its subject did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Setback(pub(crate) String);

/// Why nothing can be said about events.
pub(crate) const DEAF: &str = "the test bed does not hear the provider's events";

impl From<crate::bed::BedError> for Setback {
    fn from(error: crate::bed::BedError) -> Self {
        Self(format!("the test bed failed: {error}"))
    }
}

/// The answer of a check.
pub(crate) type Checked = Result<Finding, Setback>;

/// What became of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds.
    Held,
    /// It does not.
    Broken,
    /// It says nothing about this provider.
    NotApplicable,
    /// It was not tested.
    NotTested,
}

impl Verdict {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Broken => "broken",
            Self::NotApplicable => "not applicable",
            Self::NotTested => "not tested",
        }
    }
}

/// Ends a check with [`Finding::Broken`] unless something is so.
macro_rules! demand {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Ok($crate::finding::Finding::Broken(format!($($text)+)));
        }
    };
}
pub(crate) use demand;

/// A check's good end.
pub(crate) fn held(text: impl Into<String>) -> Checked {
    Ok(Finding::Held(text.into()))
}
