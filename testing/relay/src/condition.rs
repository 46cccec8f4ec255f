//! What the array is made to do, and what waits for the end of it.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::passing::Asked;

/// What the array is made to do, one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// What it does.
    #[default]
    Sound,
    /// It has no room: no LUN can have a shadow LUN, no set can be prepared, and nothing can be resynced.
    Full,
    /// Preparations do not come to their end.
    Preparing,
    /// A commit succeeds, and its answer comes after this time.
    CommitTakes(Duration),
    /// Resyncs run and do not come to their end.
    Resyncing,
    /// Deletions do not come to their end.
    Deleting,
}

/// A word that stands for no condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCondition(String);

impl std::fmt::Display for UnknownCondition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(text) = self;
        write!(f, "{text:?} is none of: sound, full, preparing, commit-takes MILLISECONDS, resyncing, deleting")
    }
}

impl std::error::Error for UnknownCondition {}

impl FromStr for Condition {
    type Err = UnknownCondition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_whitespace();
        let condition = match (words.next(), words.next()) {
            (Some("sound"), None) => Self::Sound,
            (Some("full"), None) => Self::Full,
            (Some("preparing"), None) => Self::Preparing,
            (Some("commit-takes"), Some(ms)) => {
                let ms = ms.parse().map_err(|_| UnknownCondition(text.to_owned()))?;
                Self::CommitTakes(Duration::from_millis(ms))
            }
            (Some("resyncing"), None) => Self::Resyncing,
            (Some("deleting"), None) => Self::Deleting,
            _ => return Err(UnknownCondition(text.to_owned())),
        };
        if words.next().is_some() { Err(UnknownCondition(text.to_owned())) } else { Ok(condition) }
    }
}

/// A resync that was asked for while resyncs did not come to their end.
#[derive(Debug, Clone)]
pub(crate) enum HeldResync {
    /// The array does not know of it yet.
    Waiting(Box<Asked>),
    /// It never will.
    Cancelled,
}

/// What all connections go by.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) condition: Condition,
    /// Sets that were aborted: an array ends their preparation.
    pub(crate) aborted: BTreeSet<String>,
    /// By their ids.
    pub(crate) resyncs: BTreeMap<String, HeldResync>,
}

/// The state, of whose changes those who wait are told.
#[derive(Debug, Default)]
pub(crate) struct Trouble(watch::Sender<State>);

impl Trouble {
    pub(crate) fn set(&self, condition: Condition) {
        self.change(|state| state.condition = condition);
    }

    pub(crate) fn condition(&self) -> Condition {
        self.0.borrow().condition
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        self.0.send_modify(change);
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.borrow())
    }

    /// Waits until something is so.
    pub(crate) async fn wait_until(&self, is_so: impl FnMut(&State) -> bool) {
        let mut changes = self.0.subscribe();
        // It fails if there is no sender any more, and the sender is this.
        drop(changes.wait_for(is_so).await);
    }

    /// As [`wait_until`](Self::wait_until), for a time. Answers whether it is so.
    pub(crate) async fn wait_at_most(&self, at_most: Duration, is_so: impl FnMut(&State) -> bool) -> bool {
        timeout(at_most, self.wait_until(is_so)).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_have_words() {
        for (text, condition) in [
            ("sound", Condition::Sound),
            ("full", Condition::Full),
            ("preparing", Condition::Preparing),
            ("commit-takes 9000", Condition::CommitTakes(Duration::from_secs(9))),
            (" resyncing\r", Condition::Resyncing),
            ("deleting", Condition::Deleting),
        ] {
            assert_eq!(text.parse(), Ok(condition), "{text:?}");
        }
        for text in
            ["", "Sound", "sound now", "commit-takes", "commit-takes long", "commit-takes 9 s", "commit-takes -1"]
        {
            assert_eq!(text.parse::<Condition>(), Err(UnknownCondition(text.to_owned())));
        }
    }
}
