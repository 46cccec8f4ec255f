//! `lunshadow-conform.exe` over the product: the conformance suite through COM, over the real array.
#![cfg(windows)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use lunshadow_conform::Fault;
use lunshadow_control::LunId;
use lunshadow_provider_com::{config, ids};
use lunshadow_windows::logged;
use lunshadow_windows::rig::{
    Activation, ArraySide, Host, Identity, Product, SAMPLE_MEBIBYTES, built, iqn_of, new_name,
};
use lunshadow_windows::start;
use serde_json::Value;

/// The length of each LUN: a sample disk, and room behind it for the suite.
const LUN_MEBIBYTES: u64 = SAMPLE_MEBIBYTES + SCRATCH_MEBIBYTES;
const SCRATCH_MEBIBYTES: u64 = 4;

/// How many LUNs the host has besides, for sets of many, and how long each is.
const CROWD: u64 = 64;
const CROWD_MEBIBYTES: u64 = 1;

/// The statements about sets of many.
const OF_A_CROWD: [u64; 3] = [45, 48, 49];

/// The statements about an array without room.
const OF_A_FULL_ARRAY: [u64; 3] = [28, 43, 105];

/// The words that the program for the array's side is told for each condition.
type Trouble = [(&'static str, &'static str)];

/// An array that stands still is out of reach, and neither commits nor resyncs.
const STANDS_STILL: &Trouble =
    &[("unreachable", "pause"), ("commit-fails", "pause"), ("resync-fails", "pause"), ("sound", "resume")];

/// An array whose pool somebody else has written to until it took no more.
const IS_FULL: &Trouble = &[("full", "fill"), ("sound", "drain")];

/// An array behind a relay, which takes its time and needs room for a resync: ours does neither by itself.
const TAKES_ITS_TIME: &Trouble = &[
    ("full", "trouble full"),
    ("preparing", "trouble preparing"),
    ("commit-takes", "trouble commit-takes {ms}"),
    ("resyncing", "trouble resyncing"),
    ("deleting", "trouble deleting"),
    ("sound", "trouble sound"),
];

/// The statements about an array that takes its time.
const OF_A_SLOW_ARRAY: [u64; 10] = [38, 44, 51, 87, 105, 106, 108, 109, 111, 118];

/// Those about events, and some more in whose checks there are any. A program is started after each call to tell them, so the checks with many calls are not
/// among them.
const OF_EVENTS: [u64; 9] = [14, 15, 19, 24, 55, 65, 72, 85, 99];

/// The product, installed for a host with two LUNs and known as another one that may import, and the file that describes them.
struct Bed {
    _product: Product,
    identity: Identity,
    importer: Identity,
    array: ArraySide,
    trouble: &'static Trouble,
    luns: Vec<LunId>,
    folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        Self::on(ArraySide::new(), STANDS_STILL)
    }

    fn on(array: ArraySide, trouble: &'static Trouble) -> Self {
        let identity = Identity::enrol(&array, &new_name("conform"), None);
        let name = &identity.host;
        let importer = Identity::enrol(&array, &new_name("conform-importer"), Some(name));
        let add = |number: u64| array.add_lun(&format!("{name}-{number}"), LUN_MEBIBYTES, name);
        let luns: Vec<LunId> = (1..=2).map(add).collect();
        let host = Host::log_in(name, array.portal()).expect("the array lets the host in");
        for (seed, lun) in (1..).zip(&luns) {
            host.fill(*lun, seed);
        }
        // The program logs in under the same name, and takes the session's place.
        drop(host);
        let folder = tempfile::tempdir().expect("a folder for the test");
        let product = Product::install(Activation::LocalServer, &identity);
        let bed = Self { _product: product, identity, importer, array, trouble, luns, folder };
        bed.describe(&[]);
        bed
    }

    fn describe(&self, crowd: &[LunId]) {
        self.describe_with(crowd, "");
    }

    /// With more about the provider.
    fn describe_with(&self, crowd: &[LunId], provider: &str) {
        fs::write(self.path("bed.toml"), self.description(crowd, provider)).expect("it can be written");
    }

    /// From here on a program tells the provider's events.
    fn hear(&self) {
        let program = built("events.exe");
        let printed = std::env::var(logged::PRINTED).expect("`cargo xtask windows` has Wine print into a file");
        self.describe_with(&[], &format!("events = ['{}', '{printed}', '{{after}}']\n", program.display()));
    }

    fn description(&self, crowd: &[LunId], provider: &str) -> String {
        let noted = fs::read_to_string(self.array.pool().join("control-endpoint.json"));
        let noted: Value = serde_json::from_str(&noted.expect("the control service runs")).expect("it is JSON");
        let listed = |luns: &[LunId]| {
            let serials: Vec<String> = luns.iter().map(|lun| format!("{:?}", lun.to_string())).collect();
            serials.join(", ")
        };
        let trouble = |(condition, words): &(&str, &str)| {
            let words = words.replace(' ', "', '");
            format!("{condition} = ['{}', '{words}']\n", built("array-side.exe").display())
        };
        // What an administrator would do on one machine: the settings of the other host are put in place.
        let put = |identity: &Identity| {
            let (from, to) = (identity.settings().display(), config::default_path());
            format!("['cmd', '/c', 'copy', '/y', '{from}', '{}']", to.display())
        };
        format!(
            "[iscsi]\n\
             initiator = \"{}\"\n\
             portal = \"{}\"\n\
             target = \"iqn.2026-11.org.lunshadow:array\"\n\
             sources = [{}]\n\
             scratch-mib = {{ offset = {SAMPLE_MEBIBYTES}, length = {SCRATCH_MEBIBYTES} }}\n\
             crowd = [{}]\n\
             [array]\n\
             control = {}\n\
             fingerprint = {}\n\
             credential-file = '{}'\n\
             host = \"{}\"\n\
             [provider]\n\
             end = ['{}']\n\
             program = 'lunshadow-provider.exe'\n\
             {provider}\
             [importer]\n\
             initiator = \"{}\"\n\
             host = \"{}\"\n\
             enter = {}\n\
             leave = {}\n\
             [trouble]\n\
             {}",
            iqn_of(&self.identity.host),
            self.array.portal(),
            listed(&self.luns),
            listed(crowd),
            noted["address"],
            noted["fingerprint"],
            self.array.pool().join("control-credential").display(),
            self.identity.host,
            built("end-provider.exe").display(),
            iqn_of(&self.importer.host),
            self.importer.host,
            put(&self.importer),
            put(&self.identity),
            self.trouble.iter().map(trouble).collect::<String>(),
        )
    }

    /// Gives the host LUNs for sets of many. It looks at all of its disks whenever one is to arrive, so they come after all that is about few.
    fn crowd(&self) {
        let host = &self.identity.host;
        let add = |number: u64| self.array.add_lun(&format!("{host}-crowd-{number}"), CROWD_MEBIBYTES, host);
        self.describe(&(1..=CROWD).map(add).collect::<Vec<LunId>>());
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
        // The provider's process inherits it.
        program.env("WINEDEBUG", logged::CHANNEL);
        program.stdout(output.try_clone().expect("a file")).stderr(output);
        let status = start(&mut program).and_then(|mut child| child.wait()).expect("it is built and starts");
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

/// The statements that are not judged over our own provider, and why, as the file of the statements says.
fn excused() -> BTreeMap<u64, String> {
    let table: toml::Table = include_str!("../../../host/conform/statements.toml").parse().expect("it is TOML");
    let statements = table["statement"].as_array().expect("it has statements");
    let excuse = |statement: &toml::Value| {
        let number = statement["number"].as_integer().expect("it has a number");
        let why = statement.get("not_over_com")?.as_str().expect("it is text");
        Some((number.try_into().expect("it is small"), why.to_owned()))
    };
    statements.iter().filter_map(excuse).collect()
}

/// Statements as `--only` wants them.
fn only(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// How many statements that a source requires are judged.
const MUSTS: usize = 69;

/// Statements about another host, and a fault that breaks them.
const OF_IMPORTS: ([u64; 2], Fault) = ([31, 71], Fault::LocatesOwnOnly);

/// One about room, and a fault that breaks it.
const OF_ROOM: ([u64; 1], Fault) = ([43], Fault::HidesTheShortage);

/// Finds a fault by what it breaks.
fn assert_found(bed: &Bed, (breaks, fault): (&[u64], Fault)) {
    let (_, judged) = bed.conform(&["--only", &only(breaks), "--fault", fault.name()]);
    assert_eq!(numbers(&judged, "broken"), breaks, "{}: {judged:#?}", fault.name());
}

#[test]
fn p_001_p_002_p_003_p_004_p_005_p_020_p_021_p_022_p_036_p_110_p_121_our_provider_keeps_all_through_com() {
    let bed = Bed::new();
    let (status, mut judged) = bed.conform(&[]);
    assert_eq!(numbers(&judged, "broken"), [] as [u64; 0], "{judged:#?}");
    assert_eq!(status, Some(0));
    for fault in Fault::ALL.iter().filter(|fault| fault.is_of_slots()) {
        let breaks: Vec<u64> = fault.breaks().iter().map(|number| number.0.into()).collect();
        assert_found(&bed, (&breaks, *fault));
    }
    assert_found(&bed, (&OF_IMPORTS.0, OF_IMPORTS.1));
    bed.crowd();
    judged.extend(bed.conform(&["--only", &only(&OF_A_CROWD)]).1);
    // One class has one process, so the other array's host comes when this one has gone.
    drop(bed);
    let bed = Bed::on(ArraySide::small(), IS_FULL);
    judged.extend(bed.conform(&["--only", &only(&OF_A_FULL_ARRAY)]).1);
    assert_found(&bed, (&OF_ROOM.0, OF_ROOM.1));
    drop(bed);
    let bed = Bed::on(ArraySide::relayed(), TAKES_ITS_TIME);
    bed.hear();
    judged.extend(bed.conform(&["--only", &only(&[&OF_A_SLOW_ARRAY[..], &OF_EVENTS].concat())]).1);
    let silent = bed.conform(&["--only", "P14,P24", "--fault", Fault::SilentVeto.name()]).1;
    assert_eq!(numbers(&silent, "broken"), [14], "{silent:#?}");
    let held = numbers(&judged, "held");
    let of_crowd = OF_A_CROWD.iter().filter(|number| held.contains(number));
    assert_eq!(of_crowd.count(), OF_A_CROWD.len(), "{judged:#?}");
    let excused = excused();
    let checked = lunshadow_conform::checked().into_iter().map(|number| u64::from(number.0));
    let untested: Vec<u64> = checked.filter(|number| !held.contains(number)).collect();
    assert_eq!(untested, excused.keys().copied().collect::<Vec<u64>>(), "{judged:#?}");
    for (number, why) in &excused {
        let it = &judged[number];
        let is_excused = ["not-tested", "not-applicable"].contains(&&*it.verdict);
        assert!(is_excused && it.evidence.contains(why), "P-{number}: {it:?}");
    }
    let musts = judged.values().filter(|it| it.level == "must" && it.verdict == "held").count();
    assert_eq!(musts, MUSTS, "{judged:#?}");
}

#[test]
fn a_fault_in_a_method_is_found_through_com() {
    let bed = Bed::new();
    let (status, judged) = bed.conform(&["--only", "P26,P35,P01", "--fault", "claims-foreign"]);
    assert_eq!((numbers(&judged, "broken"), numbers(&judged, "held")), (vec![26], vec![1, 35]), "{judged:#?}");
    assert_eq!(status, Some(1));
}
