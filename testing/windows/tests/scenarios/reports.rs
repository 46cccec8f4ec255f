//! What the product's commands tell of a real array.

use lunshadow_control::{HostOverview, LunId, LunRole, SetPhase, ShadowSetId};
use lunshadow_windows::rig::{Activation, Stage};
use serde_json::Value;

#[test]
fn status_has_the_luns_the_sets_and_their_timings() {
    let stage = Stage::new("status", Activation::LocalServer, 2);
    let copies = stage.create();
    let status: Value = serde_json::from_str(&stage.product.command(&["status", "--json"])).expect("it is JSON");
    let array = &status["arrays"][0];
    assert_eq!((&array["name"], &array["problem"]), (&"array".into(), &Value::Null), "{status}");
    let overview: HostOverview = serde_json::from_value(array["overview"].clone()).expect("an overview");
    assert_eq!(overview.host.name, stage.identity.host);
    let is_source = |lun: &LunId| overview.luns.iter().any(|seen| seen.lun == *lun && seen.role == LunRole::Source);
    assert!(stage.luns.iter().all(is_source), "{status}");
    let set = overview.sets.iter().find(|set| set.set == ShadowSetId(copies[0].set.0)).expect("it lists the set");
    assert_eq!((set.phase, set.lun_count), (SetPhase::Kept, 2));
    assert!(set.commit_took_us.is_some_and(|took_us| took_us > 0) && set.lease_left_ms.is_none(), "{status}");

    let text = stage.product.command(&["status"]);
    assert!(text.contains(&stage.identity.host) && text.contains(&stage.luns[0].to_string()), "{text}");
}

#[test]
fn doctor_finds_the_array_and_that_it_knows_this_host() {
    let stage = Stage::with_blank_luns("doctor", Activation::LocalServer, 1);
    let report = stage.product.command(&["doctor", "--json"]);
    let report: Vec<Value> = serde_json::from_str(&report).expect("it is JSON");
    let about = |subject: &str| report.iter().find(|check| check["subject"] == subject).expect("it was looked at");
    let array = about("array array");
    assert_eq!(array["verdict"], "ok", "{array}");
    assert!(array["finding"].as_str().is_some_and(|finding| finding.contains("maps 1 LUNs")), "{array}");
    assert_eq!(about("clock of array array")["verdict"], "ok");
}
