//! Events on their way to the log: written at once, or queued while a set is frozen.
//!
//! Rule P-15: no event is written between the entry to `CommitSnapshots` and the release of writes, since the log may lie on a volume
//! whose writes are held. The journal keeps silent from `PreCommitSnapshots` on. What happens meanwhile is queued as it is, in memory that
//! was allocated before; texts are made when it is written.

use std::sync::Arc;
use std::time::Duration;

use lunshadow_vss::{Method, SnapshotSetId};
use parking_lot::Mutex;

use crate::{Clock, Event, EventId, EventLog};

/// How many events can wait. A set makes one or two; the rest is for calls that have nothing to do with the frozen set.
const QUEUED_AT_MOST: usize = 64;

/// What happened, before it is a text.
#[derive(Debug)]
pub(crate) struct Occurrence {
    /// The situation.
    pub(crate) id: EventId,
    /// The call in which it happened.
    pub(crate) method: Method,
    /// The set that was concerned.
    pub(crate) set: Option<SnapshotSetId>,
    /// Which LUN, or what the array said.
    pub(crate) detail: Option<String>,
}

impl Occurrence {
    fn into_event(self) -> Event {
        let of_set = self.set.map(|set| format!(" (shadow copy set {set})")).unwrap_or_default();
        let detail = self.detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        Event { id: self.id, text: format!("{}: {}{of_set}{detail}.", self.method, self.id.what()) }
    }
}

/// The way to the log.
pub(crate) struct Journal {
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    freeze_at_most: Duration,
    silence: Mutex<Silence>,
}

struct Silence {
    since: Option<Duration>,
    queued: Vec<Occurrence>,
    lost: bool,
}

impl Journal {
    /// A journal that writes to `log`. Silence ends by itself after `freeze_at_most`: writers are thawed by then, whatever happened to VSS.
    pub(crate) fn new(log: Arc<dyn EventLog>, clock: Arc<dyn Clock>, freeze_at_most: Duration) -> Self {
        let silence = Silence { since: None, queued: Vec::with_capacity(QUEUED_AT_MOST), lost: false };
        Self { log, clock, freeze_at_most, silence: Mutex::new(silence) }
    }

    /// Writes an event, or queues it. What the commit has to say is queued in any case. The lock is held while the log is written, so that
    /// [`hush`](Self::hush) returns when nothing is being written any more.
    pub(crate) fn record(&self, occurrence: Occurrence) {
        let mut silence = self.silence.lock();
        let frozen = silence.since.is_some_and(|since| self.clock.now().saturating_sub(since) < self.freeze_at_most);
        if frozen || occurrence.method == Method::CommitSnapshots {
            if silence.queued.len() < QUEUED_AT_MOST {
                silence.queued.push(occurrence);
            } else {
                silence.lost = true;
            }
        } else {
            self.write_queued(&mut silence);
            self.log.record(occurrence.into_event());
        }
    }

    /// Keeps silent from now on.
    pub(crate) fn hush(&self) {
        self.silence.lock().since = Some(self.clock.now());
    }

    /// Writes what is queued and keeps silent no longer.
    pub(crate) fn resume(&self) {
        self.write_queued(&mut self.silence.lock());
    }

    fn write_queued(&self, silence: &mut Silence) {
        silence.since = None;
        for occurrence in silence.queued.drain(..) {
            self.log.record(occurrence.into_event());
        }
        if std::mem::take(&mut silence.lost) {
            let lost = Occurrence { id: EventId::EventsLost, method: Method::CommitSnapshots, set: None, detail: None };
            self.log.record(lost.into_event());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Written(Mutex<Vec<EventId>>);

    impl EventLog for Written {
        fn record(&self, event: Event) {
            self.0.lock().push(event.id);
        }
    }

    fn journal() -> (Journal, Arc<Written>, Arc<AtomicU64>) {
        let (log, seconds) = (Arc::new(Written::default()), Arc::new(AtomicU64::new(0)));
        let clock = Arc::clone(&seconds);
        let now = move || Duration::from_secs(clock.load(Ordering::SeqCst));
        (Journal::new(log.clone(), Arc::new(now), Duration::from_secs(60)), log, seconds)
    }

    fn occurrence(id: EventId) -> Occurrence {
        Occurrence { id, method: Method::LocateLuns, set: None, detail: None }
    }

    #[test]
    fn events_wait_for_the_end_of_the_silence_in_their_order() {
        let (journal, log, _) = journal();
        journal.hush();
        journal.record(occurrence(EventId::OutOfSpace));
        journal.record(occurrence(EventId::CommitTooLate));
        assert_eq!(*log.0.lock(), []);
        journal.resume();
        journal.record(occurrence(EventId::SetCreated));
        assert_eq!(*log.0.lock(), [EventId::OutOfSpace, EventId::CommitTooLate, EventId::SetCreated]);
    }

    #[test]
    fn a_silence_that_nobody_ends_ends_by_itself() {
        let (journal, log, seconds) = journal();
        journal.hush();
        journal.record(occurrence(EventId::OutOfSpace));
        seconds.store(60, Ordering::SeqCst);
        journal.record(occurrence(EventId::SetCreated));
        assert_eq!(*log.0.lock(), [EventId::OutOfSpace, EventId::SetCreated]);
    }

    #[test]
    fn the_commit_never_writes() {
        let (journal, log, _) = journal();
        journal.record(Occurrence { method: Method::CommitSnapshots, ..occurrence(EventId::CommitTooLate) });
        assert_eq!(*log.0.lock(), []);
        journal.resume();
        assert_eq!(*log.0.lock(), [EventId::CommitTooLate]);
    }

    #[test]
    fn a_full_queue_says_so_and_never_grows() {
        let (journal, log, _) = journal();
        journal.hush();
        for _ in 0..QUEUED_AT_MOST + 5 {
            journal.record(occurrence(EventId::ForeignDisk));
        }
        assert_eq!(journal.silence.lock().queued.capacity(), QUEUED_AT_MOST, "nothing was allocated");
        journal.resume();
        assert_eq!(log.0.lock().len(), QUEUED_AT_MOST + 1);
        assert_eq!(log.0.lock().last(), Some(&EventId::EventsLost));
    }

    #[test]
    fn an_event_names_the_call_and_the_set() {
        let set = SnapshotSetId(uuid::Uuid::from_u128(7));
        let detail = Some("LUN 0815".to_owned());
        let event =
            Occurrence { id: EventId::UnknownLun, method: Method::LocateLuns, set: Some(set), detail }.into_event();
        assert!(event.text.starts_with("LocateLuns: the array does not know the LUN"), "{}", event.text);
        assert!(event.text.contains("{00000000-0000-0000-0000-000000000007}"), "{}", event.text);
        assert!(event.text.ends_with(": LUN 0815."), "{}", event.text);
    }
}
