//! A sequence as something to draw: spans on one axis of time.

use lunshadow_coordinator::{Activity, Timeline};

use crate::bed::Gravity;
use crate::recorder::{Ending, Sequence};

/// What a span is, which is its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A call of the provider.
    Call,
    /// A call that failed.
    Failure,
    /// Something that the coordinator did itself.
    Phase,
    /// A time in which applications waited.
    Window,
    /// An event of the provider.
    Event,
}

impl Kind {
    /// In words, which are the class of its drawing too.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Failure => "failure",
            Self::Phase => "phase",
            Self::Window => "window",
            Self::Event => "event",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) label: String,
    pub(crate) kind: Kind,
    pub(crate) start_us: u64,
    pub(crate) duration_us: u64,
}

pub(crate) fn of_sequence(sequence: &Sequence) -> Vec<Span> {
    let calls = sequence.calls.iter().map(|call| {
        let is_success = matches!(call.ending, Ending::Code(code) if !code.is_failure());
        let label = if is_success { call.method.to_string() } else { format!("{}: {}", call.method, call.ending) };
        let kind = if is_success { Kind::Call } else { Kind::Failure };
        (call.began, Span { label, kind, start_us: call.start_us, duration_us: call.duration_us })
    });
    let events = sequence.events.iter().map(|event| {
        let gravity = match event.gravity {
            Gravity::Information => "information",
            Gravity::Warning => "warning",
            Gravity::Error => "error",
        };
        let label = format!("event, {gravity}: {}", event.text);
        (event.at, Span { label, kind: Kind::Event, start_us: event.at_us, duration_us: 0 })
    });
    let mut spans: Vec<_> = calls.chain(events).collect();
    spans.sort_by_key(|(order, _)| *order);
    spans.into_iter().map(|(_, span)| span).collect()
}

pub(crate) fn of_timeline(timeline: &Timeline) -> Vec<Span> {
    let origin_us = timeline.entries.first().map_or(0, |entry| entry.start_us);
    let span = |entry: &lunshadow_coordinator::Entry| {
        let kind = match &entry.activity {
            _ if !entry.ending.is_ok() => Kind::Failure,
            Activity::Call { .. } => Kind::Call,
            Activity::Phase { .. } => Kind::Phase,
            Activity::Window { .. } => Kind::Window,
        };
        let label = match &entry.ending {
            lunshadow_coordinator::Ending::Failed { reason } => format!("{}: {reason}", entry.activity),
            lunshadow_coordinator::Ending::Ok { .. } => entry.activity.to_string(),
        };
        Span { label, kind, start_us: entry.start_us.saturating_sub(origin_us), duration_us: entry.duration_us }
    };
    timeline.entries.iter().map(span).collect()
}
