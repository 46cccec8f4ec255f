//! Sees everything that goes on between the suite and a provider: each call with its end and its time, and each event.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lunshadow_coordinator::Clock;
use lunshadow_vss::{HResult, HardwareProvider, Interceptor, Interface, Method};
use parking_lot::Mutex;
use serde::{Serialize, Serializer};

use crate::bed::{EventSink, Gravity};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With this code; `S_OK` for a success.
    Code(HResult),
    /// By a panic: over COM, the provider's process would be gone.
    Panicked,
    /// Not at all, up to the end of the check or of the provider's process.
    Open,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => code.fmt(f),
            Self::Panicked => f.write_str("panicked"),
            Self::Open => f.write_str("not ended"),
        }
    }
}

impl Serialize for Ending {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One call of the provider.
#[derive(Debug, Clone, Serialize)]
pub struct CallRecord {
    /// The method.
    #[serde(serialize_with = "name_of_method")]
    pub method: Method,
    /// Its beginning, in microseconds of the bed's clock since the beginning of the check.
    pub start_us: u64,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// How it ended.
    pub ending: Ending,
    /// Its place in the order of all beginnings, ends and events.
    #[serde(skip)]
    pub(crate) began: u64,
    /// The same for its end.
    #[serde(skip)]
    pub(crate) ended: u64,
}

/// One event of the provider.
#[derive(Debug, Clone, Serialize)]
pub struct EventRecord {
    /// How grave it is.
    pub gravity: Gravity,
    /// Its text.
    pub text: String,
    /// When it was written, in microseconds since the beginning of the check.
    pub at_us: u64,
    /// Its place in the order.
    #[serde(skip)]
    pub(crate) at: u64,
}

/// What happened in one check.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Sequence {
    /// The calls, in the order of their beginnings.
    pub calls: Vec<CallRecord>,
    /// The events, in their order.
    pub events: Vec<EventRecord>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn name_of_method<S: Serializer>(method: &Method, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(method.name())
}

impl CallRecord {
    /// The code, if it ended with one.
    pub(crate) const fn code(&self) -> Option<HResult> {
        match self.ending {
            Ending::Code(code) => Some(code),
            Ending::Panicked | Ending::Open => None,
        }
    }

    /// Whether the method is not there: a legacy provider lacks the extended interface (section 2.3 of the contract).
    pub(crate) fn is_absent(&self) -> bool {
        self.method.slot().interface == Interface::HardwareEx && self.code() == Some(HResult::E_NOINTERFACE)
    }
}

impl Sequence {
    /// Whether a call began before the one before it had ended.
    pub(crate) fn overlaps(&self) -> bool {
        self.calls.windows(2).any(|pair| pair[1].began < pair[0].ended)
    }

    /// The events between two places of the order.
    pub(crate) fn events_within(&self, from: u64, to: u64) -> impl Iterator<Item = &EventRecord> {
        self.events.iter().filter(move |event| from < event.at && event.at < to)
    }

    /// The longest call of a method, in microseconds.
    pub(crate) fn longest_us(&self, method: Method) -> u64 {
        let of_method = self.calls.iter().filter(|call| call.method == method);
        of_method.map(|call| call.duration_us).max().unwrap_or(0)
    }
}

/// Writes a [`Sequence`].
pub(crate) struct Recorder {
    clock: Arc<dyn Clock>,
    origin_us: u64,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    sequence: Sequence,
    order: u64,
    /// How many calls had begun when the last process ended.
    of_ended_processes: usize,
}

impl Log {
    const fn next(&mut self) -> u64 {
        self.order += 1;
        self.order
    }
}

impl Recorder {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let origin_us = micros(&*clock);
        Self { clock, origin_us, log: Mutex::default() }
    }

    /// What happened so far.
    pub(crate) fn sequence(&self) -> Sequence {
        self.log.lock().sequence.clone()
    }

    fn now_us(&self) -> u64 {
        micros(&*self.clock).saturating_sub(self.origin_us)
    }

    /// Answers with the place of the call among all calls.
    fn begin(&self, method: Method) -> usize {
        let start_us = self.now_us();
        let mut log = self.log.lock();
        let began = log.next();
        let ending = Ending::Open;
        log.sequence.calls.push(CallRecord { method, start_us, duration_us: 0, ending, began, ended: u64::MAX });
        log.sequence.calls.len() - 1
    }

    /// The process is about to end. What its callers are told from now on comes from whoever notices that, and is no answer of the provider.
    pub(crate) fn end_process(&self) {
        let mut log = self.log.lock();
        log.of_ended_processes = log.sequence.calls.len();
    }

    fn end(&self, index: usize, ending: Ending) {
        let now_us = self.now_us();
        let mut log = self.log.lock();
        if index < log.of_ended_processes {
            return;
        }
        let ended = log.next();
        if let Some(call) = log.sequence.calls.get_mut(index) {
            call.duration_us = now_us.saturating_sub(call.start_us);
            call.ending = ending;
            call.ended = ended;
        }
    }
}

fn micros(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.now().as_micros()).unwrap_or(u64::MAX)
}

impl EventSink for Recorder {
    fn event(&self, gravity: Gravity, text: &str) {
        let at_us = self.now_us();
        let mut log = self.log.lock();
        let at = log.next();
        log.sequence.events.push(EventRecord { gravity, text: text.to_owned(), at_us, at });
    }
}

/// A provider whose calls are recorded. A panic ends in its method, as it would in another process.
pub(crate) struct Recorded {
    provider: Arc<dyn HardwareProvider>,
    recorder: Arc<Recorder>,
}

impl Recorded {
    pub(crate) fn new(provider: Arc<dyn HardwareProvider>, recorder: Arc<Recorder>) -> Self {
        Self { provider, recorder }
    }

    fn record<T>(&self, method: Method, call: impl FnOnce() -> T, code: impl FnOnce(&T) -> HResult) -> Option<T> {
        let index = self.recorder.begin(method);
        // What a provider leaves half-done when it panics is its own, and is looked for from outside.
        let answer = catch_unwind(AssertUnwindSafe(call)).ok();
        self.recorder.end(index, answer.as_ref().map_or(Ending::Panicked, |answer| Ending::Code(code(answer))));
        answer
    }
}

impl Interceptor for Recorded {
    type Provider = dyn HardwareProvider;

    fn provider(&self) -> &Self::Provider {
        &*self.provider
    }

    fn around<T>(&self, method: Method, call: impl FnOnce() -> Result<T, HResult>) -> Result<T, HResult> {
        let code = |answer: &Result<T, HResult>| answer.as_ref().err().copied().unwrap_or(HResult::S_OK);
        self.record(method, call, code).unwrap_or(Err(HResult::VSS_E_UNEXPECTED_PROVIDER_ERROR))
    }

    fn around_fill_in(&self, call: impl FnOnce() -> (HResult, bool)) -> (HResult, bool) {
        let answer = self.record(Method::FillInLunInfo, call, |(code, _)| *code);
        answer.unwrap_or((HResult::VSS_E_UNEXPECTED_PROVIDER_ERROR, false))
    }
}
