//! Each planted fault is found by the statements that it breaks, and by no other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lunshadow::conform::{NativeBed, Timing};
use lunshadow_conform::{Fault, Number, Plan, Report, TestBed, Verdict, checked, run, statements};
use tokio::runtime::Runtime;

/// With this in the environment, all faults are planted, each before all of the suite.
const ALL: &str = "LUNSHADOW_CONFORM_ALL";
/// Without, it is the turn of one of so many, which another day has another one of. A failure names its turn, which this variable repeats.
const TURN: &str = "LUNSHADOW_CONFORM_TURN";
const TURNS: u64 = 10;
const SECONDS_OF_DAY: u64 = 24 * 60 * 60;

/// Has `test` on a test bed of its own.
fn on_a_bed(test: impl FnOnce(&dyn Fn(Plan) -> Report)) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let runtime = Runtime::new().expect("a runtime");
    let bed = NativeBed::set_up(folder.path(), &runtime, Timing::Simulated).expect("a pool and its hosts");
    let bed = Arc::new(bed);
    let shared: Arc<dyn TestBed> = Arc::clone(&bed) as _;
    test(&|plan| run(&shared, &plan, &|_| ()));
    drop(shared);
    bed.tear_down(&runtime).expect("all is put away");
}

fn with(report: &Report, verdict: Verdict) -> Vec<String> {
    let of_verdict = report.statements.iter().filter(|item| item.verdict == verdict);
    of_verdict.map(|item| format!("{}: {}", item.statement.number, item.evidence)).collect()
}

fn numbers_with(report: &Report, verdict: Verdict) -> BTreeSet<Number> {
    let of_verdict = report.statements.iter().filter(|item| item.verdict == verdict);
    of_verdict.map(|item| item.statement.number).collect()
}

#[test]
fn our_provider_keeps_all_that_is_checked() {
    on_a_bed(|suite| {
        let report = suite(Plan::default());
        assert_eq!(with(&report, Verdict::Broken), Vec::<String>::new());
        assert_eq!(numbers_with(&report, Verdict::Held), checked(), "{:#?}", with(&report, Verdict::NotTested));
        assert_eq!(report.statements.len(), statements().len());
        assert!(report.orders.iter().all(|order| order.failure.is_none()), "{:?}", report.orders);
    });
}

/// Whose turn it is; nobody's in particular if all are planted.
fn turn() -> Option<u64> {
    if std::env::var_os(ALL).is_some() {
        return None;
    }
    let asked = std::env::var(TURN).ok().map(|turn| turn.parse().expect("a turn is a number"));
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Some(asked.unwrap_or(since_1970 / SECONDS_OF_DAY) % TURNS)
}

/// Some of the faults, so that several tests share the work.
fn finds(part: u64) {
    const PARTS: u64 = 4;
    let turn = turn();
    let is_planted = |(number, _): &(u64, &Fault)| match turn {
        Some(turn) => number % TURNS == turn && number / TURNS % PARTS == part,
        None => number % PARTS == part,
    };
    on_a_bed(|suite| {
        let mut wrong = Vec::new();
        for (_, fault) in (0..).zip(Fault::ALL).filter(is_planted) {
            let report = suite(Plan { fault: Some(*fault), ..Plan::default() });
            let broken = numbers_with(&report, Verdict::Broken);
            if broken != fault.breaks().iter().copied().collect() {
                wrong.push(format!(
                    "{} breaks {:?}, found was {:#?}",
                    fault.name(),
                    fault.breaks(),
                    with(&report, Verdict::Broken)
                ));
            }
        }
        assert!(wrong.is_empty(), "with {TURN}={turn:?}: {}", wrong.join("\n"));
    });
}

#[test]
fn each_fault_is_found_by_its_statements_and_no_others_1() {
    finds(0);
}

#[test]
fn each_fault_is_found_by_its_statements_and_no_others_2() {
    finds(1);
}

#[test]
fn each_fault_is_found_by_its_statements_and_no_others_3() {
    finds(2);
}

#[test]
fn each_fault_is_found_by_its_statements_and_no_others_4() {
    finds(3);
}

/// Their checks have no fault that could be planted before a provider: only the array itself, or the data, could be wrong.
const WITHOUT_A_FAULT: [u16; 7] = [52, 58, 69, 90, 91, 103, 112];

#[test]
fn every_check_has_a_fault_that_it_finds() {
    let found: BTreeSet<Number> = Fault::ALL.iter().flat_map(|fault| fault.breaks()).copied().collect();
    let without: Vec<u16> = checked().difference(&found).map(|number| number.0).collect();
    assert_eq!(without, WITHOUT_A_FAULT);
}
