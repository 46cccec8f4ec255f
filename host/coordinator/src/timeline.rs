//! What happened when: every call of a provider, every phase of the coordinator, and the windows of frozen writers and held
//! writes.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::Clock;

/// A step of the coordinator itself, between the calls of providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The source LUNs get the shadow copy flags that their shadow LUNs will carry.
    SetSourceFlags,
    /// Writers get ready.
    WritersPrepare,
    /// Writers stop changing their data.
    WritersFreeze,
    /// File systems are flushed, and writes are held from then on.
    FlushAndHold,
    /// Writes go on.
    ReleaseWrites,
    /// The source LUNs lose the flags again.
    ClearSourceFlags,
    /// Writers go on.
    WritersThaw,
    /// Writers are told that the set failed, and go on.
    WritersAbort,
    /// The host looks for new disks.
    Rescan,
    /// All disks of the set are there.
    Arrival,
    /// Shadow disks get signatures and GPT ids of their own.
    NewDiskIdentities,
    /// Writers may change the shadow copies.
    WritersPostSnapshot,
    /// The host takes a disk that nobody else may have open.
    OpenExclusively,
    /// The host forgets a disk that is about to go.
    DismountDisk,
    /// The array brings LUNs back to the content of their shadow LUNs.
    Resync,
    /// A disk gets a signature that it or another one had before.
    RestoreDiskSignature,
    /// A disk that is a copy becomes an ordinary one.
    RemoveShadowFlags,
}

/// A span of time in which applications have to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// Writers are frozen: from the first PreCommitSnapshots to the end of the last PostCommitSnapshots.
    Freeze,
    /// Writes are held: from the beginning of flush-and-hold to the release.
    Hold,
}

/// What an entry of the timeline is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Activity {
    /// A provider was called.
    Call {
        /// The provider's name.
        provider: String,
        /// The method's name.
        method: &'static str,
        /// What it was called for, where the method alone does not tell: a volume or a disk. Empty otherwise.
        subject: String,
    },
    /// The coordinator did something itself.
    Phase {
        /// What it did.
        phase: Phase,
    },
    /// A window was open.
    Window {
        /// Which.
        window: Window,
    },
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { method, subject, .. } if subject.is_empty() => f.write_str(method),
            Self::Call { method, subject, .. } => write!(f, "{method} {subject}"),
            Self::Phase { phase } => f.write_str(phase.name()),
            Self::Window { window } => f.write_str(window.name()),
        }
    }
}

impl Phase {
    /// The phase in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SetSourceFlags => "set source flags",
            Self::WritersPrepare => "writers prepare",
            Self::WritersFreeze => "writers freeze",
            Self::FlushAndHold => "flush and hold",
            Self::ReleaseWrites => "release writes",
            Self::ClearSourceFlags => "clear source flags",
            Self::WritersThaw => "writers thaw",
            Self::WritersAbort => "writers abort",
            Self::Rescan => "rescan",
            Self::Arrival => "arrival of the shadow LUNs",
            Self::NewDiskIdentities => "new disk identities",
            Self::WritersPostSnapshot => "writers post-snapshot",
            Self::OpenExclusively => "open disk exclusively",
            Self::DismountDisk => "dismount disk",
            Self::Resync => "resync in the array",
            Self::RestoreDiskSignature => "restore disk signature",
            Self::RemoveShadowFlags => "remove shadow flags",
        }
    }
}

impl Window {
    /// The window in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Freeze => "freeze window",
            Self::Hold => "hold window",
        }
    }
}

/// How an activity ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Ending {
    /// Well. The answer is there where it was more than a success.
    Ok {
        /// The answer in words; empty if there is nothing to say.
        answer: String,
    },
    /// Not well.
    Failed {
        /// The code or reason in words.
        reason: String,
    },
}

impl Ending {
    /// A plain success.
    #[must_use]
    pub const fn ok() -> Self {
        Self::Ok { answer: String::new() }
    }

    /// A success with an answer.
    pub fn answered(answer: impl fmt::Display) -> Self {
        Self::Ok { answer: answer.to_string() }
    }

    /// A failure.
    pub fn failed(reason: impl fmt::Display) -> Self {
        Self::Failed { reason: reason.to_string() }
    }

    /// Whether it is a success.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        matches!(self, Self::Ok { .. })
    }

    /// What became of `result`.
    pub fn of<T, E: fmt::Display>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::ok(),
            Err(error) => Self::failed(error),
        }
    }
}

/// One activity from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Entry {
    /// What it was.
    pub activity: Activity,
    /// Its beginning, in microseconds since the clock's origin.
    pub start_us: u64,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// How it ended.
    pub ending: Ending,
}

/// All activities, in the order of their beginnings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// The activities.
    pub entries: Vec<Entry>,
}

impl Timeline {
    /// The names of the providers' methods that were called, in order.
    #[must_use]
    pub fn methods(&self) -> Vec<&'static str> {
        let method = |entry: &Entry| match &entry.activity {
            Activity::Call { method, .. } => Some(*method),
            Activity::Phase { .. } | Activity::Window { .. } => None,
        };
        self.entries.iter().filter_map(method).collect()
    }

    /// The last window of a kind.
    #[must_use]
    pub fn window(&self, wanted: Window) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.activity == Activity::Window { window: wanted })
    }
}

/// Watches a timeline come to be. What happens while writes are held is told after the release, so that no observer can
/// prolong the hold.
pub trait TimelineObserver: Send + Sync {
    /// An activity ended.
    fn ended(&self, entry: &Entry);
}

/// Writes the timeline.
pub(crate) struct Recorder {
    clock: Arc<dyn Clock>,
    log: Mutex<Log>,
    observer: Mutex<Option<Arc<dyn TimelineObserver>>>,
}

#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    /// How many of `entries` the observer knows.
    told: usize,
    quiet: bool,
}

/// An activity that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Began {
    start_us: u64,
}

impl Recorder {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, log: Mutex::default(), observer: Mutex::default() }
    }

    pub(crate) fn set_observer(&self, observer: Arc<dyn TimelineObserver>) {
        *lock(&self.observer) = Some(observer);
    }

    pub(crate) fn timeline(&self) -> Timeline {
        let mut entries = lock(&self.log).entries.clone();
        // A window is written at its end but begins before what happened in it; the sort is stable.
        entries.sort_by_key(|entry| (entry.start_us, !matches!(entry.activity, Activity::Window { .. })));
        Timeline { entries }
    }

    pub(crate) fn begin(&self) -> Began {
        Began { start_us: self.now_us() }
    }

    pub(crate) fn end(&self, began: Began, activity: Activity, ending: Ending) {
        let duration_us = self.now_us().saturating_sub(began.start_us);
        lock(&self.log).entries.push(Entry { activity, start_us: began.start_us, duration_us, ending });
        self.tell();
    }

    /// Runs a phase and records it.
    pub(crate) fn phase<T, E: fmt::Display>(&self, phase: Phase, run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let began = self.begin();
        let result = run();
        self.end(began, Activity::Phase { phase }, Ending::of(&result));
        result
    }

    /// Keeps the observer from being called until [`Self::speak`].
    pub(crate) fn hush(&self) {
        lock(&self.log).quiet = true;
    }

    /// Tells the observer what it has missed.
    pub(crate) fn speak(&self) {
        lock(&self.log).quiet = false;
        self.tell();
    }

    fn tell(&self) {
        let Some(observer) = lock(&self.observer).clone() else { return };
        while let Some(entry) = self.next_untold() {
            observer.ended(&entry);
        }
    }

    fn next_untold(&self) -> Option<Entry> {
        let mut log = lock(&self.log);
        if log.quiet {
            return None;
        }
        let entry = log.entries.get(log.told).cloned()?;
        log.told += 1;
        Some(entry)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.clock.now().as_micros()).unwrap_or(u64::MAX)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ManualClock;

    #[derive(Default)]
    struct Listener(Mutex<Vec<String>>);

    impl TimelineObserver for Listener {
        fn ended(&self, entry: &Entry) {
            lock(&self.0).push(entry.activity.to_string());
        }
    }

    #[test]
    fn observers_hear_of_the_hold_after_it() {
        let clock = Arc::new(ManualClock::new());
        let recorder = Recorder::new(clock.clone());
        let listener = Arc::new(Listener::default());
        recorder.set_observer(listener.clone());
        let hold = recorder.begin();
        recorder.hush();
        recorder
            .phase(Phase::FlushAndHold, || {
                clock.advance(Duration::from_millis(2));
                Ok::<_, String>(())
            })
            .unwrap();
        assert!(lock(&listener.0).is_empty());
        recorder.speak();
        recorder.end(hold, Activity::Window { window: Window::Hold }, Ending::ok());
        assert_eq!(*lock(&listener.0), ["flush and hold", "hold window"]);
        let timeline = recorder.timeline();
        assert_eq!(timeline.entries[0].activity, Activity::Window { window: Window::Hold });
        assert_eq!(timeline.window(Window::Hold).unwrap().duration_us, 2000);
    }
}
