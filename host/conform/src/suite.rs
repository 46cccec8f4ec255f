//! A run: every check, the orders, and the judges of all that was called.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bed::TestBed;
use crate::broken::{Breakage, Fault};
use crate::checks::{self, Check};
use crate::finding::{Checked, DEAF, Finding, Setback, Verdict};
use crate::judges::{ABOUT_EVENTS, JUDGES};
use crate::lab::Lab;
use crate::orders::{self, Order};
use crate::recorder::{CallRecord, Sequence};
use crate::report::{Report, StatementReport};
use crate::statements::{Number, Statement, statements};

/// Why nothing can be said about methods that are not there.
const LEGACY: &str = "the provider has no IVssHardwareSnapshotProviderEx";

/// What is run, and on what.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// What the provider is called in the report.
    pub provider: String,
    /// A fault to plant in front of it.
    pub fault: Option<Fault>,
    /// The statements to judge; all if it is empty. Those about all calls are judged over the calls of the others that are wanted, and over those of all
    /// checks if there is no other.
    pub only: BTreeSet<Number>,
    /// A report of all statements about the same provider without a fault. What calls none of the methods in which the fault acts is taken from it
    /// and not run again.
    pub baseline: Option<Arc<Report>>,
}

impl Plan {
    /// What the baseline has, if these sequences go with the fault as they went without.
    fn unless_touched<'a>(&self, mut sequences: impl Iterator<Item = &'a Sequence>) -> Option<&Report> {
        let (baseline, fault) = (self.baseline.as_deref()?, self.fault?);
        let is_touched = |sequence: &Sequence| sequence.calls.iter().any(|call| fault.acts_in().contains(&call.method));
        (!sequences.any(is_touched)).then_some(baseline)
    }

    fn wants(&self, number: Number) -> bool {
        self.only.is_empty() || self.only.contains(&number)
    }
}

/// The statements that the suite has a check or a judge for.
#[must_use]
pub fn checked() -> BTreeSet<Number> {
    let of_checks = checks::all().into_iter().map(|check| check.number);
    of_checks.chain(JUDGES.map(|(number, _)| number)).chain([orders::NUMBER]).collect()
}

/// Those of them that are checked only where the provider is behind COM.
#[must_use]
pub fn checked_behind_com() -> BTreeSet<Number> {
    checks::behind_com().collect()
}

/// Runs the suite. `progress` hears of each statement when it is judged.
pub fn run(bed: &Arc<dyn TestBed>, plan: &Plan, progress: &dyn Fn(&StatementReport)) -> Report {
    let all = statements();
    let mut run = Run { bed, plan, all: &all, progress, reports: Vec::new() };
    // Judges of all calls need calls to judge, so all checks run for them if none is wanted.
    let runs_all = plan.only.iter().all(|number| JUDGES.iter().any(|(judged, _)| judged == number));
    for check in checks::all() {
        if runs_all || plan.wants(check.number) {
            run.check(&check);
        }
    }
    let orders = if runs_all || plan.wants(orders::NUMBER) { run.orders() } else { Vec::new() };
    run.judge(&orders);
    run.leave_out();
    let mut statements = run.reports;
    statements.retain(|report| plan.wants(report.statement.number));
    statements.sort_by_key(|report| report.statement.number);
    Report { provider: plan.provider.clone(), fault: plan.fault, statements, orders }
}

struct Run<'a> {
    bed: &'a Arc<dyn TestBed>,
    plan: &'a Plan,
    all: &'a [Statement],
    progress: &'a dyn Fn(&StatementReport),
    reports: Vec<StatementReport>,
}

impl Run<'_> {
    fn breakage(&self) -> Breakage {
        Breakage::new(self.plan.fault, Arc::clone(self.bed))
    }

    /// The baseline's report of a statement, if the fault is not touched on the way to it.
    fn untouched(&self, number: Number) -> Option<StatementReport> {
        let baseline = self.plan.baseline.as_deref()?;
        if self.plan.fault.is_some_and(|fault| fault.is_of_slots() && fault.breaks().contains(&number)) {
            return None;
        }
        let report = baseline.statements.iter().find(|report| report.statement.number == number)?;
        self.plan.unless_touched(std::iter::once(&report.sequence)).map(|_| report.clone())
    }

    fn check(&mut self, check: &Check) {
        if let Some(report) = self.untouched(check.number) {
            self.add(report);
            return;
        }
        let breakage = self.breakage();
        let mut sequence = Sequence::default();
        let checked = self.bed.clean_up().map_err(Into::into).and_then(|()| {
            let mut lab = Lab::open(&**self.bed, &breakage)?;
            let recorder = Arc::clone(&lab.recorder);
            let checked = (check.run)(&mut lab);
            sequence = recorder.sequence();
            checked
        });
        // What a legacy provider lacks is one fault, which P-02 is about.
        let lacks = sequence.calls.iter().any(CallRecord::is_absent);
        let checked = match checked {
            Ok(Finding::Broken(_)) if lacks => Err(Setback(LEGACY.to_owned())),
            checked => checked,
        };
        self.note(check.number, checked, sequence);
    }

    fn orders(&mut self) -> Vec<Order> {
        let of_baseline = self.plan.baseline.iter().flat_map(|baseline| &baseline.orders);
        if let Some(baseline) = self.plan.unless_touched(of_baseline.map(|order| &order.sequence)) {
            let orders = baseline.orders.clone();
            self.note(orders::NUMBER, orders::judge(&orders), Sequence::default());
            return orders;
        }
        match orders::run(&**self.bed, || self.breakage()) {
            Ok(orders) => {
                self.note(orders::NUMBER, orders::judge(&orders), Sequence::default());
                orders
            }
            Err(setback) => {
                self.note(orders::NUMBER, Err(setback), Sequence::default());
                Vec::new()
            }
        }
    }

    fn judge(&mut self, orders: &[Order]) {
        let judged: Vec<_> = {
            let of_checks = self.reports.iter().map(|it| (it.statement.number.to_string(), &it.sequence));
            let of_orders = orders.iter().map(|order| (format!("the {}", order.name), &order.sequence));
            let sequences: Vec<_> = of_checks.chain(of_orders).collect();
            let wanted = JUDGES.iter().filter(|(number, _)| self.plan.wants(*number));
            let judged = wanted.map(|(number, judge)| {
                let hears_enough = self.bed.hears_events() || !ABOUT_EVENTS.contains(number);
                (*number, if hears_enough { judge(&sequences) } else { Err(Setback(DEAF.to_owned())) })
            });
            judged.collect()
        };
        for (number, checked) in judged {
            self.note(number, checked, Sequence::default());
        }
    }

    /// The statements without a check.
    fn leave_out(&mut self) {
        let judged: BTreeSet<Number> = self.reports.iter().map(|report| report.statement.number).collect();
        for statement in self.all.iter().filter(|statement| !judged.contains(&statement.number)) {
            let evidence = statement.no_check.clone().unwrap_or_else(|| "it was not asked for".to_owned());
            let (statement, sequence) = (statement.clone(), Sequence::default());
            self.add(StatementReport { statement, verdict: Verdict::NotTested, evidence, sequence });
        }
    }

    fn note(&mut self, number: Number, checked: Checked, sequence: Sequence) {
        let Some(statement) = self.all.iter().find(|statement| statement.number == number).cloned() else { return };
        let (verdict, evidence) = match checked {
            Ok(Finding::Held(evidence)) => (Verdict::Held, evidence),
            Ok(Finding::Broken(evidence)) => (Verdict::Broken, evidence),
            Ok(Finding::NotApplicable(why)) => (Verdict::NotApplicable, why),
            Err(setback) => (Verdict::NotTested, setback.0),
        };
        self.add(StatementReport { statement, verdict, evidence, sequence });
    }

    fn add(&mut self, report: StatementReport) {
        if self.plan.wants(report.statement.number) {
            (self.progress)(&report);
        }
        self.reports.push(report);
    }
}
