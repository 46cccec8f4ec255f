//! Each planted fault is found by the statements that it breaks, and by no other.

use std::collections::BTreeSet;
use std::sync::Arc;

use lunshadow::conform::{NativeBed, Timing};
use lunshadow_conform::{Fault, Number, Plan, Report, TestBed, Verdict, checked, run, statements};
use tokio::runtime::Runtime;

/// With this in the environment, each fault goes through all of the suite.
const ALL: &str = "LUNSHADOW_CONFORM_ALL";
/// Without, one of so many does. The others go through the statements that they break, and so many others.
const WHOLE_EVERY: usize = 10;
const OTHERS: usize = 6;

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

/// The statements that a fault goes through; none in particular for all.
fn judged(number: usize, fault: Fault) -> BTreeSet<Number> {
    if std::env::var_os(ALL).is_some() || number.is_multiple_of(WHOLE_EVERY) {
        return BTreeSet::new();
    }
    let all: Vec<Number> = checked().into_iter().collect();
    let others = (0..OTHERS).map(|other| all[(number * OTHERS + other) % all.len()]);
    others.chain(fault.breaks().iter().copied()).collect()
}

/// Some of the faults, so that several tests share the work.
fn finds(part: usize) {
    const PARTS: usize = 4;
    on_a_bed(|suite| {
        let mut wrong = Vec::new();
        for (number, fault) in Fault::ALL.iter().enumerate().skip(part).step_by(PARTS) {
            let report = suite(Plan { fault: Some(*fault), only: judged(number, *fault), ..Plan::default() });
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
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
