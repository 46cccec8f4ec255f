//! Events of programs under Wine, whose event log keeps none: with its debug channel `eventlog` it prints them instead, and here they are
//! read as an event log would tell them.
//!
//! ```text
//! 01cc:warn:eventlog:ReportEventW L"what it says"
//! ```

/// Where `cargo xtask windows` says the file that Wine prints into.
pub const PRINTED: &str = "LUNSHADOW_STANDARD_ERROR";

/// What `WINEDEBUG` has to be for it.
pub const CHANNEL: &str = "-all,+eventlog";

/// What stands between an event's class and its text.
const REPORTED: &str = ":eventlog:ReportEventW ";

/// An event.
#[derive(Debug, PartialEq, Eq)]
struct Logged {
    /// As `winmeta.xml` numbers them.
    level: u8,
    text: String,
}

/// The events that Wine has printed, behind the first so many, as `wevtutil` prints them in XML.
#[must_use]
pub fn events_after(printed: &str, after: usize) -> String {
    let events = printed.lines().filter_map(event_in);
    (1..).zip(events).skip(after).map(|(record, event)| event.xml(record)).collect()
}

/// The class of the message tells what kind of event it is: Wine's source for the debug channel.
fn event_in(line: &str) -> Option<Logged> {
    let (head, text) = line.split_once(REPORTED)?;
    let level = match head.rsplit_once(':')?.1 {
        "err" => 2,
        "warn" => 3,
        _ => 4,
    };
    Some(Logged { level, text: unquoted(text).to_owned() })
}

/// A text as Wine prints it: `L"…"` with escapes, which nobody here needs to be without, and dots behind it if it was too long.
fn unquoted(text: &str) -> &str {
    let opened = text.find("L\"").map_or(text, |at| &text[at + 2..]);
    let whole = opened.strip_suffix("...").unwrap_or(opened);
    whole.strip_suffix('"').unwrap_or(whole)
}

impl Logged {
    fn xml(&self, record: usize) -> String {
        let Self { level, text } = self;
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        format!(
            "<Event><System><Level>{level}</Level><EventRecordID>{record}</EventRecordID></System>\
             <EventData><Data>{text}</Data></EventData></Event>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "\
        wine: something else\n\
        01cc:err:eventlog:ReportEventW L\"a < b & \\\"c\\\"\"\n\
        01d0:warn:eventlog:ReportEventW L\"it is slow\"\n\
        01cc:trace:eventlog:ReportEventW L\"a set is there\"...\n";

    #[test]
    fn events_are_found_in_what_wine_prints() {
        let all = events_after(LINES, 0);
        let lines: Vec<&str> = all.lines().collect();
        let told = |level: u8, record: u8, text: &str| {
            format!(
                "<Event><System><Level>{level}</Level><EventRecordID>{record}</EventRecordID></System>\
                 <EventData><Data>{text}</Data></EventData></Event>"
            )
        };
        let first = told(2, 1, "a &lt; b &amp; \\\"c\\\"");
        assert_eq!(lines, [first, told(3, 2, "it is slow"), told(4, 3, "a set is there")]);
        assert_eq!(events_after(LINES, 1).lines().collect::<Vec<_>>(), &lines[1..]);
        assert_eq!(events_after(LINES, 3), "");
    }
}
