//! `docs/vss_lifecycle.md` says what the code does. Its two tables of states are read by the tests of `host/vss` and `array/catalog`.

use std::time::Duration;

use lunshadow_catalog::{COMMIT_WITHIN_DEFAULT, COMMIT_WITHIN_MAX, LeaseTimes, Limits};
use lunshadow_model_checking::promise::Promise;
use lunshadow_provider::ProviderConfig;
use lunshadow_vss::Method;

const PAGE: &str = include_str!("../../../docs/vss_lifecycle.md");

#[cfg(test)]
fn assert_row(what: &str, value: &str) {
    let row = PAGE.lines().find(|line| line.starts_with(&format!("| {what} |"))).unwrap_or_else(|| panic!("{what}"));
    assert!(row.contains(&format!("| {value} |")), "{row}: it is {value}");
}

#[test]
fn its_clocks_and_limits_are_those_of_the_code() {
    let seconds = |duration: Duration| format!("{} s", duration.as_secs());
    let provider = ProviderConfig::default();
    let (leases, limits) = (LeaseTimes::default(), Limits::default());
    assert_eq!(provider.commit_at_most, COMMIT_WITHIN_DEFAULT);
    for (what, duration) in [
        ("a commit until it is durable, if the host does not say", COMMIT_WITHIN_DEFAULT),
        ("the same, whatever the host says", COMMIT_WITHIN_MAX),
        ("the provider's own stopwatch over the commit", provider.veto_commit_after),
        ("a commit that is late enough for a warning", provider.commit_alarm),
        ("the event log left alone at most", provider.freeze_at_most),
        ("a set that is prepared and not committed", leases.prepared),
        ("a set that is committed and not kept", leases.committed),
    ] {
        assert_row(what, &seconds(duration));
    }
    for (what, limit) in [
        ("volumes in one set", provider.volumes_at_most),
        ("LUNs in one set", limits.luns_in_set),
        ("shadow LUNs of one LUN", limits.shadows_of_lun),
    ] {
        assert_row(what, &limit.to_string());
    }
}

#[test]
fn it_says_of_every_call_what_is_promised() {
    let (_, promises) = PAGE.split_once("\n## What we promise in each call\n").expect("the page has that part");
    let promises = promises.split("\n## ").next().unwrap_or_default();
    let row_of = |name: &str| promises.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
    for name in Method::ALL.iter().map(|method| method.name()).chain(["IVssAsync"]) {
        let row = row_of(name).unwrap_or_else(|| panic!("the page says nothing of {name}"));
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert!(cells.len() == 4 && cells.iter().all(|cell| !cell.is_empty()), "{row}");
    }
}

#[test]
fn it_names_every_promise_with_what_it_says() {
    let rows: Vec<String> =
        Promise::ALL.iter().map(|promise| format!("| `{promise}` | {} |", promise.says())).collect();
    let missing: Vec<_> = rows.iter().filter(|row| !PAGE.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "the page lacks:\n{missing:#?}");
    let listed = PAGE.lines().filter(|line| line.starts_with("| `") && rows.iter().any(|row| row == line)).count();
    assert_eq!(listed, Promise::ALL.len());
}
