//! When something began that is under way, and what has happened since, as far as that decides how it goes on.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task;

/// Nothing waits for more than so many times, one after the other.
const TIMES_AT_MOST: u64 = 2;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Begun {
    /// Tasks are numbered in the order in which they begin.
    task: u64,
    passed: u64,
}

impl Begun {
    pub(crate) const fn task(self) -> u64 {
        self.task
    }
}

/// What has happened since something began, that may have taken it a step on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Steps {
    /// How much the pool has answered about the set.
    pub(crate) answered: u8,
    /// How many transactions have become durable.
    pub(crate) landed: u8,
}

/// How often the times have passed that anything is waited for.
#[derive(Debug, Default)]
pub(crate) struct Times(AtomicU64);

impl Times {
    pub(crate) fn pass(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Something begins now, in a task or for one.
    pub(crate) fn begin(&self, task: task::Id) -> Begun {
        let task = task.to_string().parse().expect("the text of a task's id is a number");
        Begun { task, passed: self.0.load(Ordering::Relaxed) }
    }

    /// How often they have passed since then.
    pub(crate) fn passed_since(&self, begun: Begun) -> u64 {
        (self.0.load(Ordering::Relaxed) - begun.passed).min(TIMES_AT_MOST)
    }
}
