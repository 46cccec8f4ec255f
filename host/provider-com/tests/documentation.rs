//! `docs/windows.md` says what the program does.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use lunshadow_provider::{EventId, Severity};
use lunshadow_provider_com::config::{Limits, Settings};
use lunshadow_provider_com::ids::{DISPLAY_NAME, EVENT_SOURCE, PROVIDER_ID, SERVICE_NAME};

/// Set to write the table instead of comparing it.
const UPDATE: &str = "LUNSHADOW_UPDATE_EVENTS";

const BEGIN: &str = "<!-- events: made from the provider's table of situations -->\n";
const END: &str = "<!-- end of events -->\n";

fn table() -> String {
    let mut text = "\n| Event | | What happened | What to do |\n| --- | --- | --- | --- |\n".to_owned();
    let mut ids = EventId::ALL.to_vec();
    ids.sort_by_key(|id| id.number());
    for id in ids {
        let severity = match id.severity() {
            Severity::Information => "information",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        writeln!(text, "| {} | {severity} | {} | {} |", id.number(), id.what(), id.remedy()).expect("memory takes it");
    }
    text.push('\n');
    text
}

fn page() -> (std::path::PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/windows.md");
    let text = fs::read_to_string(&path).expect("the page is there").replace('\r', "");
    (path, text)
}

#[test]
fn the_table_of_events_is_the_providers_own() {
    let (path, page) = page();
    let (before, rest) = page.split_once(BEGIN).expect("the table has a beginning");
    let (found, after) = rest.split_once(END).expect("the table has an end");
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", table())).expect("docs can be written");
        return;
    }
    let command = format!("{UPDATE}=1 cargo test --package lunshadow-provider-com --test documentation");
    assert!(found == table(), "docs/windows.md is stale; renew it with: {command}");
}

#[test]
fn the_names_and_limits_on_the_page_are_those_of_the_program() {
    let (_, page) = page();
    for name in [DISPLAY_NAME, EVENT_SOURCE, SERVICE_NAME, &PROVIDER_ID.braced().to_string()] {
        assert!(page.contains(name), "{name}");
    }
    let (_, rest) = page.split_once("```toml\n").expect("the limits are shown");
    let (limits, _) = rest.split_once("```").expect("the example ends");
    let shown = Settings::parse(limits).expect("the example can be used");
    assert_eq!(shown.limits, Limits::default());
}
