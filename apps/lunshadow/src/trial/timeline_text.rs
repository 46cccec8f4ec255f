//! The timeline of a creation, one line a call or phase, the windows drawn beside it.

use std::fmt::Write as _;

use lunshadow_coordinator::{Activity, Ending, Entry, Timeline, Window};

use crate::console::milliseconds;

/// How wide the text of an activity may be before it is cut in its middle; volume names are long.
const ACTIVITY_CHARS_MAX: usize = 72;

/// Writes the timeline. `F` marks what happened while writers were frozen, `H` what happened while writes were held.
#[must_use]
pub(super) fn timeline_text(timeline: &Timeline) -> String {
    let origin_us = timeline.entries.first().map_or(0, |entry| entry.start_us);
    let mut text = String::from("        at        took\n");
    for entry in &timeline.entries {
        if matches!(entry.activity, Activity::Window { .. }) {
            continue;
        }
        let frozen = if within(timeline, Window::Freeze, entry) { 'F' } else { ' ' };
        let held = if within(timeline, Window::Hold, entry) { 'H' } else { ' ' };
        let at = milliseconds(entry.start_us - origin_us);
        let took = milliseconds(entry.duration_us);
        let kind = if matches!(entry.activity, Activity::Call { .. }) { "→" } else { "·" };
        let activity = shortened(&entry.activity.to_string());
        let _ = writeln!(text, "{at:>12} {took:>11}  {frozen}{held} {kind} {activity}{}", ending(&entry.ending));
    }
    for window in [Window::Freeze, Window::Hold] {
        if let Some(entry) = timeline.window(window) {
            let limit_s = match window {
                Window::Freeze => 60,
                Window::Hold => 10,
            };
            let took = milliseconds(entry.duration_us);
            let _ = writeln!(text, "  {:<14} {took:>11}  of {limit_s} s that VSS allows", window.name());
        }
    }
    text
}

/// Whether `entry` lies within the window.
fn within(timeline: &Timeline, window: Window, entry: &Entry) -> bool {
    timeline.window(window).is_some_and(|window| {
        entry.start_us >= window.start_us && entry.start_us + entry.duration_us <= window.start_us + window.duration_us
    })
}

fn ending(ending: &Ending) -> String {
    match ending {
        Ending::Ok { answer } if answer.is_empty() => String::new(),
        Ending::Ok { answer } => format!("  = {answer}"),
        Ending::Failed { reason } => format!("  FAILED: {reason}"),
    }
}

/// Cuts a long text in its middle.
fn shortened(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= ACTIVITY_CHARS_MAX {
        return text.to_owned();
    }
    let half = (ACTIVITY_CHARS_MAX - 1) / 2;
    let start: String = chars[..half].iter().collect();
    let end: String = chars[chars.len() - half..].iter().collect();
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(activity: Activity, start_us: u64, duration_us: u64) -> Entry {
        Entry { activity, start_us, duration_us, ending: Ending::ok() }
    }

    fn call(method: &'static str) -> Activity {
        Activity::Call { provider: "p".to_owned(), method, subject: String::new() }
    }

    #[test]
    fn what_lies_in_a_window_is_marked() {
        let timeline = Timeline {
            entries: vec![
                entry(call("EndPrepareSnapshots"), 1_000, 500),
                entry(Activity::Window { window: Window::Freeze }, 2_000, 3_000),
                entry(call("PreCommitSnapshots"), 2_000, 100),
                entry(Activity::Window { window: Window::Hold }, 3_000, 1_000),
                entry(call("CommitSnapshots"), 3_100, 800),
                entry(call("GetTargetLuns"), 6_000, 10),
            ],
        };
        let text = timeline_text(&timeline);
        let line = |method: &str| text.lines().find(|line| line.contains(method)).unwrap().to_owned();
        assert!(line("EndPrepare").contains("0.000 ms    0.500 ms     →"), "{text}");
        assert!(line("PreCommit").contains("  F  → "), "{text}");
        assert!(line("→ CommitSnapshots").contains("  FH → "), "{text}");
        assert!(!line("GetTargetLuns").contains(" F"), "{text}");
        assert!(text.contains("hold window       1.000 ms  of 10 s"), "{text}");
    }

    #[test]
    fn long_names_keep_both_ends() {
        let short = shortened(&format!("Begin{}End", "x".repeat(100)));
        assert!(short.starts_with("Beginxxx") && short.ends_with("xxxEnd") && short.contains('…'));
    }
}
