//! `status`, `doctor` and `config` of an installed program.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::machine::Machine;

/// The verdicts of `doctor` by subject.
fn examine(machine: &Machine) -> BTreeMap<String, (String, String)> {
    let outcome = machine.run(&["doctor", "--json"]);
    let checks: Vec<Value> = serde_json::from_str(&outcome.said).expect("it prints JSON");
    let field = |check: &Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
    let failed = checks.iter().any(|check| check["verdict"] == "failed");
    assert_eq!(outcome.code, Some(i32::from(failed)), "{}", outcome.said);
    checks.iter().map(|check| (field(check, "subject"), (field(check, "verdict"), field(check, "finding")))).collect()
}

#[test]
fn doctor_finds_what_is_installed_and_what_is_not() {
    let machine = Machine::clean();
    let subjects = ["COM class", "registration with VSS", "event source"];
    let found = examine(&machine);
    let verdicts: Vec<&str> = subjects.iter().map(|subject| found[*subject].0.as_str()).collect();
    assert_eq!(verdicts, ["failed", "failed", "warning"]);

    machine.succeed(&["install"]);
    let found = examine(&machine);
    let program = machine.layout.program.display().to_string();
    for subject in subjects.into_iter().chain(["service"]) {
        assert_eq!(found[subject].0, "ok", "{found:?}");
    }
    assert!(found["COM class"].1.ends_with(&program), "{found:?}");
    assert_eq!(found["settings"].1, "no array is known");

    fs::remove_file(&machine.layout.program).expect("it is installed");
    let found = examine(&machine);
    assert_eq!((found["COM class"].0.as_str(), found["event source"].0.as_str()), ("failed", "warning"));
}

#[test]
fn an_array_that_is_down_is_seen_by_status_and_doctor() {
    let machine = Machine::clean();
    machine.succeed(&["install"]);
    assert!(machine.succeed(&["status"]).contains("No array is known"));
    let fingerprint = "00".repeat(32);
    let settings = format!(
        "[[array]]\nname = \"one\"\naddress = \"127.0.0.1:1\"\nfingerprint = \"{fingerprint}\"\ncredential = \"s3cret\"\n"
    );
    fs::write(machine.layout.settings.join("provider.toml"), settings).expect("it is writable");
    let outcome = machine.run(&["status", "--json"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.said);
    let status: Value = serde_json::from_str(&outcome.said).expect("it prints JSON");
    assert_eq!(status["arrays"][0]["name"], "one");
    assert!(status["arrays"][0]["problem"].as_str().is_some_and(|text| text.contains("cannot be reached")), "{status}");
    assert_eq!(examine(&machine)["array one"].0, "failed");
    let shown = machine.succeed(&["config", "show"]);
    assert!(shown.contains("127.0.0.1:1") && !shown.contains("s3cret"), "{shown}");
    machine.succeed(&["config", "remove", "one"]);
    assert_eq!(machine.succeed(&["config", "list"]), "");
}
