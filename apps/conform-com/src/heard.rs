//! The provider's events, as a program tells them that asks the system's log after each call.
//!
//! The program prints events as `wevtutil query-events … /format:RenderedXml` does: an `Event` after the other, in UTF-8 or, as with `/unicode:true`, in
//! UTF-16. What it takes to ask is none of the provider's time: the clock that calls are measured by stands still meanwhile.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use lunshadow_conform::{EventSink, Gravity};
use lunshadow_coordinator::{Alarm, Clock, Ring, SystemClock};
use lunshadow_vss::{HResult, HardwareProvider, Interceptor, Method};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::commands;

/// What stands for the number of the last event that is known.
const AFTER: &str = "{after}";

/// The log.
pub(crate) struct EventLog {
    command: Vec<String>,
    clock: Arc<StandingClock>,
    /// Held by whoever asks.
    known: Mutex<Known>,
}

struct Known {
    /// The number of the last event.
    last: u64,
    /// Why the log could not be asked.
    failure: Option<anyhow::Error>,
}

impl EventLog {
    /// A log, of which what it holds already is none of the provider's.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub(crate) fn open(command: &[String], clock: Arc<StandingClock>) -> anyhow::Result<Self> {
        let known = Mutex::new(Known { last: 0, failure: None });
        let log = Self { command: command.to_vec(), clock, known };
        let before = log.ask(0)?;
        log.known.lock().last = before.last().map_or(0, |event| event.system.record);
        Ok(log)
    }

    /// The provider, after each of whose calls the log is asked.
    pub(crate) fn by(
        self: &Arc<Self>,
        provider: Arc<dyn HardwareProvider>,
        sink: Arc<dyn EventSink>,
    ) -> Arc<dyn HardwareProvider> {
        Arc::new(Heard { provider, log: Arc::clone(self), sink })
    }

    /// Passes over what was not told yet, which belongs to no call that is judged.
    ///
    /// # Errors
    /// If the log cannot be asked, or could not be since this was called last.
    pub(crate) fn pass(&self) -> anyhow::Result<()> {
        let mut known = self.known.lock();
        known.failure.take().map_or(Ok(()), Err)?;
        let passed = self.ask(known.last)?;
        known.last = passed.last().map_or(known.last, |event| event.system.record);
        Ok(())
    }

    /// Tells of what is new.
    fn tell(&self, sink: &dyn EventSink) {
        let mut known = self.known.lock();
        let asked = self.clock.stand(|| self.ask(known.last));
        match asked {
            Ok(events) => {
                for event in events {
                    known.last = event.system.record;
                    sink.event(event.gravity(), &event.text());
                }
            }
            Err(failure) => known.failure = Some(failure),
        }
    }

    /// The events after a number, in their order.
    fn ask(&self, after: u64) -> anyhow::Result<Vec<Event>> {
        let words: Vec<String> = self.command.iter().map(|word| word.replace(AFTER, &after.to_string())).collect();
        let task = "tells the provider's events";
        let mut events = parse(&commands::output(&words, task)?)
            .with_context(|| format!("{} does not print events as wevtutil does", words[0]))?;
        // It may have been asked for all of them.
        events.retain(|event| event.system.record > after);
        events.sort_by_key(|event| event.system.record);
        Ok(events)
    }
}

struct Heard {
    provider: Arc<dyn HardwareProvider>,
    log: Arc<EventLog>,
    sink: Arc<dyn EventSink>,
}

impl Interceptor for Heard {
    type Provider = dyn HardwareProvider;

    fn provider(&self) -> &Self::Provider {
        &*self.provider
    }

    fn around<T>(&self, _method: Method, call: impl FnOnce() -> Result<T, HResult>) -> Result<T, HResult> {
        let answer = call();
        self.log.tell(&*self.sink);
        answer
    }
}

/// A clock that stands still while something is done that is nobody's time.
pub(crate) struct StandingClock {
    clock: SystemClock,
    stood: Mutex<Stood>,
}

#[derive(Default)]
struct Stood {
    /// How long in all.
    time: Duration,
    /// Since when it stands.
    since: Option<Duration>,
}

impl StandingClock {
    pub(crate) fn new() -> Self {
        Self { clock: SystemClock::new(), stood: Mutex::default() }
    }

    /// Stands still meanwhile. One at a time does this.
    fn stand<T>(&self, work: impl FnOnce() -> T) -> T {
        self.stood.lock().since = Some(self.clock.now());
        let done = work();
        let mut stood = self.stood.lock();
        if let Some(since) = stood.since.take() {
            stood.time += self.clock.now() - since;
        }
        done
    }
}

impl Clock for StandingClock {
    fn now(&self) -> Duration {
        let stood = self.stood.lock();
        stood.since.unwrap_or_else(|| self.clock.now()) - stood.time
    }

    fn date(&self) -> SystemTime {
        self.clock.date()
    }

    fn alarm(&self, after: Duration, ring: Ring) -> Alarm {
        self.clock.alarm(after, ring)
    }
}

/// An event, in the schema of the event log (`Event` of the namespace `http://schemas.microsoft.com/win/2004/08/events/event`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    system: System,
    rendering_info: Option<RenderingInfo>,
    event_data: Option<EventData>,
}

#[derive(Debug, Deserialize)]
struct System {
    #[serde(rename = "EventRecordID")]
    record: u64,
    #[serde(rename = "Level", default)]
    level: u8,
}

#[derive(Debug, Deserialize)]
struct RenderingInfo {
    #[serde(rename = "Message")]
    message: Option<String>,
}

#[derive(Debug, Deserialize)]
struct EventData {
    #[serde(rename = "Data", default)]
    data: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Events {
    #[serde(rename = "Event", default)]
    events: Vec<Event>,
}

impl Event {
    /// `winmeta.xml`: 1 is critical, 2 an error, 3 a warning, and more is information. Events that are always logged have none.
    const fn gravity(&self) -> Gravity {
        match self.system.level {
            1 | 2 => Gravity::Error,
            3 => Gravity::Warning,
            _ => Gravity::Information,
        }
    }

    /// What an administrator reads: the message, or what it would be made of where the source's messages are not known.
    fn text(&self) -> String {
        let message = self.rendering_info.as_ref().and_then(|info| info.message.clone());
        message.unwrap_or_else(|| self.event_data.as_ref().map(|data| data.data.join(" ")).unwrap_or_default())
    }
}

/// The events that a program has printed.
fn parse(printed: &[u8]) -> anyhow::Result<Vec<Event>> {
    let text = match printed {
        [0xff, 0xfe, rest @ ..] => {
            let units = rest.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
            String::from_utf16_lossy(&units.collect::<Vec<u16>>())
        }
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => String::from_utf8_lossy(rest).into_owned(),
    };
    // There is no element around all of them.
    let Events { events } = quick_xml::de::from_str(&format!("<Events>{text}</Events>"))?;
    ensure!(!events.is_empty() || text.trim().is_empty(), "there is no event in it");
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Windows prints it, but for the names.
    const WARNING: &str = "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='Acme'/>\
        <EventID Qualifiers='32768'>3</EventID><Level>3</Level><Task>0</Task><TimeCreated SystemTime='2026-11-29T22:00:00.0000000Z'/>\
        <EventRecordID>41</EventRecordID><Channel>Application</Channel><Security/></System><EventData><Data>The pool</Data><Data Name='left'>is full</Data>\
        </EventData><RenderingInfo Culture='en-US'><Message>The pool is full &amp; waits.</Message><Level>Warning</Level><Keywords>\
        <Keyword>Classic</Keyword></Keywords></RenderingInfo></Event>";

    fn told(printed: &[u8]) -> Vec<(u64, Gravity, String)> {
        let events = parse(printed).unwrap();
        events.iter().map(|event| (event.system.record, event.gravity(), event.text())).collect()
    }

    #[test]
    fn events_are_understood_as_wevtutil_prints_them() {
        let warning = (41, Gravity::Warning, "The pool is full & waits.".to_owned());
        assert_eq!(told(WARNING.as_bytes()), std::slice::from_ref(&warning));
        let bare =
            WARNING.replace("<Level>3</Level>", "<Level>2</Level>").replace("<EventRecordID>41", "<EventRecordID>42");
        let bare = format!("{}</Event>", bare.split("<RenderingInfo").next().unwrap());
        let both = format!("{WARNING}\r\n{bare}\r\n");
        let events = [warning, (42, Gravity::Error, "The pool is full".to_owned())];
        assert_eq!(told(both.as_bytes()), events);
        let wide: Vec<u8> = [0xff, 0xfe].into_iter().chain(both.encode_utf16().flat_map(u16::to_le_bytes)).collect();
        assert_eq!(told(&wide), events);
        assert!(told(b"").is_empty());
        let always = WARNING.replace("<Level>3</Level>", "<Level>0</Level>");
        assert_eq!(told(always.as_bytes())[0].1, Gravity::Information);
        for broken in ["Access is denied.", "<Event>", "<Event><System/></Event>"] {
            assert!(parse(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn the_clock_stands_still_and_never_goes_back() {
        let clock = StandingClock::new();
        let before = clock.now();
        let (begun, ended) = clock.stand(|| {
            let begun = clock.now();
            std::thread::sleep(Duration::from_millis(30));
            (begun, clock.now())
        });
        assert_eq!(begun, ended);
        let (now, real) = (clock.now(), clock.clock.now());
        assert!(before <= begun && ended <= now, "{before:?} {begun:?} {now:?}");
        assert!(real - now >= Duration::from_millis(30), "{now:?} of {real:?}");
    }
}
