//! `lunshadow-conform.exe` over the product: the conformance suite through COM, over the real array.
#![cfg(windows)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use lunshadow_control::LunId;
use lunshadow_provider_com::ids;
use lunshadow_windows::rig::{
    Activation, ArraySide, Host, Identity, Product, SAMPLE_MEBIBYTES, built, iqn_of, new_name,
};
use serde_json::Value;

/// The length of each LUN: a sample disk, and room behind it for the suite.
const LUN_MEBIBYTES: u64 = SAMPLE_MEBIBYTES + SCRATCH_MEBIBYTES;
const SCRATCH_MEBIBYTES: u64 = 4;

/// The product, installed for a host with two LUNs, and the file that describes them.
struct Bed {
    _product: Product,
    _identity: Identity,
    folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let array = ArraySide::new();
        let identity = Identity::enrol(&array, &new_name("conform"), None);
        let name = &identity.host;
        let add = |number: u64| array.add_lun(&format!("{name}-{number}"), LUN_MEBIBYTES, name);
        let luns: Vec<LunId> = (1..=2).map(add).collect();
        let host = Host::log_in(name, array.portal()).expect("the array lets the host in");
        for (seed, lun) in (1..).zip(&luns) {
            host.fill(*lun, seed);
        }
        // The program logs in under the same name, and takes the session's place.
        drop(host);
        let folder = tempfile::tempdir().expect("a folder for the test");
        fs::write(folder.path().join("bed.toml"), description(&array, name, &luns)).expect("it can be written");
        let product = Product::install(Activation::LocalServer, &identity);
        Self { _product: product, _identity: identity, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the program. Answers its exit status, and what its report has of each statement.
    fn conform(&self, arguments: &[&str]) -> (Option<i32>, BTreeMap<u64, Judged>) {
        let (bed, report, log) = (self.path("bed.toml"), self.path("report.json"), self.path("log.txt"));
        // What the provider's process inherits must not be the tests' own output.
        let output = File::create(&log).expect("it can be written");
        let mut program = Command::new(built("lunshadow-conform.exe"));
        program.arg("--clsid").arg(ids::CLASS_ID.braced().to_string()).arg("--bed").arg(bed);
        program.args(["--report", "json", "--output"]).arg(&report).args(arguments);
        program.stdout(output.try_clone().expect("a file")).stderr(output);
        let status = program.status().expect("it is built and starts");
        let said = fs::read_to_string(&log).unwrap_or_default();
        let text = fs::read_to_string(&report).map_err(|error| format!("{error}: {said}"));
        let text = text.expect("the program writes a report");
        let report: Value = serde_json::from_str(&text).expect("it is JSON");
        let judged = report["statements"].as_array().expect("it has statements").iter().map(Judged::of);
        (status.code(), judged.collect())
    }
}

#[derive(Debug)]
struct Judged {
    verdict: String,
    level: String,
    evidence: String,
}

impl Judged {
    fn of(statement: &Value) -> (u64, Self) {
        let text = |key: &str| statement[key].as_str().expect("it is text").to_owned();
        let number = statement["number"].as_u64().expect("it has a number");
        (number, Self { verdict: text("verdict"), level: text("level"), evidence: text("evidence") })
    }
}

fn numbers(judged: &BTreeMap<u64, Judged>, verdict: &str) -> Vec<u64> {
    judged.iter().filter(|(_, it)| it.verdict == verdict).map(|(number, _)| *number).collect()
}

fn description(array: &ArraySide, host: &str, luns: &[LunId]) -> String {
    let pool = array.pool();
    let noted = fs::read_to_string(pool.join("control-endpoint.json")).expect("the control service runs");
    let noted: Value = serde_json::from_str(&noted).expect("it is JSON");
    let sources: Vec<String> = luns.iter().map(|lun| format!("{:?}", lun.to_string())).collect();
    format!(
        "[iscsi]\n\
         initiator = \"{}\"\n\
         portal = \"{}\"\n\
         target = \"iqn.2026-11.org.lunshadow:array\"\n\
         sources = [{}]\n\
         scratch-mib = {{ offset = {SAMPLE_MEBIBYTES}, length = {SCRATCH_MEBIBYTES} }}\n\
         [array]\n\
         control = {}\n\
         fingerprint = {}\n\
         credential-file = '{}'\n\
         host = \"{host}\"\n\
         [provider]\n\
         end = ['{}']\n",
        iqn_of(host),
        array.portal(),
        sources.join(", "),
        noted["address"],
        noted["fingerprint"],
        pool.join("control-credential").display(),
        built("end-provider.exe").display(),
    )
}

/// What no bed through COM has: another host, a crowd of LUNs, an array in trouble, the event log; and what the suite has no check for.
fn may_be_untested(evidence: &str) -> bool {
    ["no second host", "no host with 64 LUNs", "cannot be made to be so", "does not hear the provider's events"]
        .iter()
        .any(|reason| evidence.contains(reason))
}

#[test]
fn p_001_p_002_p_003_p_005_our_provider_keeps_all_through_com_and_a_fault_is_found() {
    let bed = Bed::new();
    let (status, judged) = bed.conform(&[]);
    assert_eq!(numbers(&judged, "broken"), [] as [u64; 0], "{judged:#?}");
    assert_eq!(status, Some(0));
    let checked: Vec<u64> = lunshadow_conform::checked().into_iter().map(|number| u64::from(number.0)).collect();
    for (number, it) in judged.iter().filter(|(number, it)| checked.contains(number) && it.verdict != "held") {
        assert!(it.verdict == "not-tested" && may_be_untested(&it.evidence), "P-{number}: {it:?}");
    }
    let musts = judged.values().filter(|it| it.level == "must" && it.verdict == "held").count();
    assert!(musts >= 40, "only {musts} of the statements that a source requires were tested: {judged:#?}");
    let (status, judged) = bed.conform(&["--only", "P26,P35,P01", "--fault", "claims-foreign"]);
    assert_eq!((numbers(&judged, "broken"), numbers(&judged, "held")), (vec![26], vec![1, 35]), "{judged:#?}");
    assert_eq!(status, Some(1));
}
