//! The Application log.

use lunshadow_provider::{Event, EventLog, Severity};
use windows::Win32::Foundation::HANDLE;
use windows::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE, REPORT_EVENT_TYPE,
    RegisterEventSourceW, ReportEventW,
};
use windows_core::{HSTRING, PCWSTR, Result};

use crate::ids::EVENT_SOURCE;
use crate::message_table::message_id;

/// `ReportEvent` takes 31 839 characters of a text; nobody reads as many.
const CHARACTERS_AT_MOST: usize = 30_000;

/// The Application log, with this program as the source.
pub struct ApplicationLog(HANDLE);

// SAFETY: the handle names the source; the system lets any thread report with it.
unsafe impl Send for ApplicationLog {}
// SAFETY: as above, also at the same time.
unsafe impl Sync for ApplicationLog {}

impl ApplicationLog {
    /// Opens the log. A source that is not registered is opened all the same; its events have no texts then.
    ///
    /// # Errors
    /// What the system says.
    pub fn open() -> Result<Self> {
        // SAFETY: the name ends with a zero.
        unsafe { RegisterEventSourceW(None, &HSTRING::from(EVENT_SOURCE)) }.map(Self)
    }
}

impl EventLog for ApplicationLog {
    /// An event that the log does not take is lost: there is nowhere else to tell.
    fn record(&self, event: Event) {
        let text: String = event.to_string().chars().filter(|c| *c != '\0').take(CHARACTERS_AT_MOST).collect();
        let text = HSTRING::from(text);
        let texts = [PCWSTR(text.as_ptr())];
        let (kind, id) = (kind_of(event.severity()), message_id(event.id));
        // SAFETY: the handle is open as long as this object, and the text ends with a zero and outlives the call.
        drop(unsafe { ReportEventW(self.0, kind, 0, id, None, 0, Some(&texts), None) });
    }
}

impl Drop for ApplicationLog {
    fn drop(&mut self) {
        // SAFETY: it was opened once, and is closed once.
        drop(unsafe { DeregisterEventSource(self.0) });
    }
}

fn kind_of(severity: Severity) -> REPORT_EVENT_TYPE {
    match severity {
        Severity::Information => EVENTLOG_INFORMATION_TYPE,
        Severity::Warning => EVENTLOG_WARNING_TYPE,
        Severity::Error => EVENTLOG_ERROR_TYPE,
    }
}

#[cfg(test)]
mod tests {
    use lunshadow_provider::EventId;

    use super::*;

    /// Wine keeps no events, so all that can be seen there is that nothing fails.
    #[test]
    fn events_of_any_length_are_taken() {
        let log = ApplicationLog::open().expect("there is a log");
        log.record(Event { id: EventId::SetCreated, text: "x\0y".repeat(CHARACTERS_AT_MOST) });
    }

    #[test]
    fn p_019_failures_are_errors_or_warnings_and_success_is_information() {
        assert_eq!(kind_of(EventId::SetCreated.severity()), EVENTLOG_INFORMATION_TYPE);
        assert_eq!(kind_of(EventId::CommitSlow.severity()), EVENTLOG_WARNING_TYPE);
        assert_eq!(kind_of(EventId::OutOfSpace.severity()), EVENTLOG_ERROR_TYPE);
    }
}
