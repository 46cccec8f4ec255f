//! Each planted fault is found by the statements that it breaks, and by no other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use lunshadow::conform::{NativeBed, Timing, scratch};
use lunshadow_conform::{Fault, Number, Plan, Report, TestBed, Verdict, checked, checked_behind_com, run, statements};
use tokio::runtime::Runtime;

/// With this in the environment, all faults are planted, each before all of the suite, the checks that it cannot reach too.
const ALL: &str = "LUNSHADOW_CONFORM_ALL";
/// Without, it is the turn of one of so many, which another day has another one of. A failure names its turn, which this variable repeats.
const TURN: &str = "LUNSHADOW_CONFORM_TURN";
const TURNS: u64 = 10;
const SECONDS_OF_DAY: u64 = 24 * 60 * 60;

/// How many test beds work beside each other.
const BEDS: usize = 2;

/// Has `test` on a test bed of its own.
fn on_a_bed<T>(test: impl FnOnce(&dyn Fn(Plan) -> Report) -> T) -> T {
    let folder = scratch().expect("a folder for the test");
    let runtime = Runtime::new().expect("a runtime");
    let bed = NativeBed::set_up(folder.path(), &runtime, Timing::Simulated).expect("a pool and its hosts");
    let bed = Arc::new(bed);
    let shared: Arc<dyn TestBed> = Arc::clone(&bed) as _;
    let done = test(&|plan| run(&shared, &plan, &|_| ()));
    drop(shared);
    bed.tear_down(&runtime).expect("all is put away");
    done
}

fn with(report: &Report, verdict: Verdict) -> Vec<String> {
    let of_verdict = report.statements.iter().filter(|item| item.verdict == verdict);
    of_verdict.map(|item| format!("{}: {}", item.statement.number, item.evidence)).collect()
}

fn numbers_with(report: &Report, verdict: Verdict) -> BTreeSet<Number> {
    let of_verdict = report.statements.iter().filter(|item| item.verdict == verdict);
    of_verdict.map(|item| item.statement.number).collect()
}

/// What the suite says of our provider without a fault: it keeps all that is checked.
fn sound() -> Report {
    on_a_bed(|suite| {
        let report = suite(Plan::default());
        assert_eq!(with(&report, Verdict::Broken), Vec::<String>::new());
        let here = checked().difference(&checked_behind_com()).copied().collect();
        assert_eq!(numbers_with(&report, Verdict::Held), here, "{:#?}", with(&report, Verdict::NotTested));
        assert_eq!(report.statements.len(), statements().len());
        assert!(report.orders.iter().all(|order| order.failure.is_none()), "{:?}", report.orders);
        report
    })
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

/// What is wrong with what was found of a fault, if anything is.
fn misjudged(fault: Fault, report: &Report) -> Option<String> {
    let expected: BTreeSet<Number> = fault.breaks().iter().copied().collect();
    let found = with(report, Verdict::Broken);
    (numbers_with(report, Verdict::Broken) != expected)
        .then(|| format!("{} breaks {expected:?}, found was {found:#?}", fault.name()))
}

/// What a fault cannot reach is known from a run without it, and is not run again but in the soak.
#[test]
fn our_provider_keeps_all_and_each_fault_is_found_by_its_statements_and_no_others() {
    let (sound, turn) = (Arc::new(sound()), turn());
    let is_planted = |(number, _): &(u64, &Fault)| turn.is_none_or(|turn| number % TURNS == turn);
    // Those of slots have their tests where a class is.
    let all = Fault::ALL.iter().filter(|fault| !fault.is_of_slots());
    let faults: Vec<Fault> = (0..).zip(all).filter(is_planted).map(|(_, fault)| *fault).collect();
    let baseline = turn.map(|_| sound);
    let next = AtomicUsize::new(0);
    let work = || {
        on_a_bed(|suite| {
            let turns = std::iter::from_fn(|| faults.get(next.fetch_add(1, Ordering::Relaxed)));
            let judged = turns.filter_map(|fault| {
                let plan = Plan { fault: Some(*fault), baseline: baseline.clone(), ..Plan::default() };
                misjudged(*fault, &suite(plan))
            });
            judged.collect::<Vec<String>>()
        })
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let workers = [(); BEDS].map(|()| scope.spawn(work));
        workers.into_iter().flat_map(|worker| worker.join().expect("it ends")).collect()
    });
    assert!(wrong.is_empty(), "with {TURN}={turn:?}: {}", wrong.join("\n"));
}

/// Their checks have no fault that could be planted before a provider: only its class, its process, the array itself, or the data, could be wrong.
const WITHOUT_A_FAULT: [u16; 14] = [1, 2, 3, 5, 10, 21, 52, 58, 69, 90, 91, 103, 104, 112];

#[test]
fn every_check_has_a_fault_that_it_finds() {
    let found: BTreeSet<Number> = Fault::ALL.iter().flat_map(|fault| fault.breaks()).copied().collect();
    let without: Vec<u16> = checked().difference(&found).map(|number| number.0).collect();
    assert_eq!(without, WITHOUT_A_FAULT);
}
