//! `lunshadow conform` as it is typed.

use std::process::{Command, Output};

use lunshadow_conform::{Fault, statements};
use serde_json::Value;

fn conform(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lunshadow")).arg("conform").args(arguments).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it prints text")
}

#[test]
fn a_broken_must_ends_with_1_and_is_named() {
    let output = conform(&["native", "--only", "P26,P-35", "--fault", "claims-foreign"]);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{report}{}", text(&output.stderr));
    assert!(report.contains("P-26   must     broken"), "{report}");
    assert!(report.contains("P-35   inferred held"), "{report}");
    assert!(report.contains("1 held, 1 broken, 0 not applicable, 0 not tested"), "{report}");
}

#[test]
fn a_broken_inference_ends_with_0() {
    let output = conform(&["native", "--only", "P35", "--fault", "disowns-shadows"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("P-35   inferred broken"));
}

#[test]
fn reports_are_json_xml_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let write = |form: &str| {
        let path = folder.path().join(form);
        let output =
            conform(&["native", "--only", "P60,P64,P01", "--report", form, "--output", path.to_str().unwrap()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("2 held, 0 broken, 0 not applicable, 1 not tested"));
        std::fs::read_to_string(path).unwrap()
    };
    let json: Value = serde_json::from_str(&write("json")).unwrap();
    assert_eq!(json["statements"][1]["number"], 60);
    assert_eq!(json["statements"][1]["level"], "must");
    assert_eq!(json["statements"][1]["verdict"], "held");
    assert_eq!(json["statements"][1]["sequence"]["calls"][0]["method"], "OnLoad");
    let junit = write("junit");
    assert!(junit.contains("tests=\"3\" failures=\"0\" errors=\"0\" skipped=\"1\""), "{junit}");
    let page = write("html");
    assert!(page.contains("<svg") && page.contains("GetTargetLuns") && !page.contains("src="), "{page}");
}

#[test]
fn what_is_not_known_is_refused_in_one_line() {
    for (arguments, message) in [
        (["native", "--only", "P127"], "is no statement"),
        (["native", "--only", "12x"], "is no statement"),
        (["native", "--fault", "rust"], "there is no fault"),
        (["native", "--report", "pdf"], "the forms are text, json, junit and html"),
    ] {
        let output = conform(&arguments);
        assert_eq!(output.status.code(), Some(2));
        let complaint = text(&output.stderr);
        assert!(complaint.contains(message), "{complaint}");
    }
}

#[test]
fn a_class_is_for_another_program() {
    let output = conform(&["--clsid", "{88cb7c5d-5166-4968-82c5-db12ae552a1d}"]);
    assert_eq!(output.status.code(), Some(2));
    let complaint = text(&output.stderr);
    let program = "run `lunshadow-conform --clsid {88cb7c5d-5166-4968-82c5-db12ae552a1d} --bed FILE` there";
    assert!(complaint.lines().count() == 1 && complaint.contains(program), "{complaint}");
}

#[test]
fn faults_and_statements_are_listed() {
    let faults = text(&conform(&["faults"]).stdout);
    assert_eq!(faults.lines().count(), Fault::ALL.len());
    assert!(faults.contains("claims-foreign") && faults.contains("(P-26)"), "{faults}");
    let listed = text(&conform(&["statements"]).stdout);
    assert_eq!(listed.lines().count(), statements().len());
    assert!(listed.contains("P-06   must     no check") && listed.contains("P-04   must     over COM"), "{listed}");
}
