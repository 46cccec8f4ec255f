//! The order of steps, whatever they do.

use super::InstallError;

/// One step of an installation. It remembers what was there before.
pub trait Step {
    /// What it does, after "cannot".
    fn what(&self) -> String;

    /// Does it.
    ///
    /// # Errors
    /// Why it is not done. Part of it may be: [`undo`](Self::undo) comes next.
    fn apply(&mut self) -> Result<(), InstallError>;

    /// Makes it as it was before. Also called for a step that failed half-way, never for one that has not begun.
    ///
    /// # Errors
    /// What is left.
    fn undo(&mut self) -> Result<(), InstallError>;

    /// Drops what was kept for [`undo`](Self::undo), now that all steps are done.
    ///
    /// # Errors
    /// What is left.
    fn settle(&mut self) -> Result<(), InstallError> {
        Ok(())
    }
}

/// Which step failed, and how.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {cause}{}", not_undone_in_words(not_undone))]
pub struct PlanFailure {
    /// What the step does.
    pub step: String,
    /// Why it failed.
    pub cause: InstallError,
    /// What could not be undone, if anything.
    pub not_undone: Vec<String>,
}

fn not_undone_in_words(not_undone: &[String]) -> String {
    if not_undone.is_empty() {
        return ". Everything is as it was before.".to_owned();
    }
    format!(". Not everything could be undone: {}.", not_undone.join("; "))
}

/// Takes all steps, or none: when one fails, it and those before it are undone, the last one first.
///
/// Answers with what could not be cleaned up after success, which does no harm.
///
/// # Errors
/// [`PlanFailure`].
pub fn carry_out(steps: &mut [Box<dyn Step>], say: &mut dyn FnMut(&str)) -> Result<Vec<String>, PlanFailure> {
    for at in 0..steps.len() {
        let what = steps[at].what();
        say(&what);
        if let Err(cause) = steps[at].apply() {
            let undone = steps[..=at].iter_mut().rev();
            let not_undone =
                undone.filter_map(|step| step.undo().err().map(|error| format!("{} ({error})", step.what()))).collect();
            return Err(PlanFailure { step: what, cause, not_undone });
        }
    }
    Ok(steps.iter_mut().filter_map(|step| step.settle().err().map(|error| error.to_string())).collect())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    struct Recorded {
        number: usize,
        fails: bool,
        sticks: bool,
        log: Rc<RefCell<Vec<String>>>,
    }

    impl Step for Recorded {
        fn what(&self) -> String {
            format!("do {}", self.number)
        }

        fn apply(&mut self) -> Result<(), InstallError> {
            self.log.borrow_mut().push(format!("+{}", self.number));
            if self.fails { Err(InstallError::ClientEdition) } else { Ok(()) }
        }

        fn undo(&mut self) -> Result<(), InstallError> {
            self.log.borrow_mut().push(format!("-{}", self.number));
            if self.sticks { Err(InstallError::ProviderInUse) } else { Ok(()) }
        }

        fn settle(&mut self) -> Result<(), InstallError> {
            self.log.borrow_mut().push(format!("!{}", self.number));
            if self.sticks { Err(InstallError::ProviderInUse) } else { Ok(()) }
        }
    }

    /// Three steps, of which one may fail and one may not be undone.
    fn run(failing: usize, sticking: usize) -> (Result<Vec<String>, PlanFailure>, String) {
        let log = Rc::new(RefCell::new(Vec::new()));
        let step = |number| -> Box<dyn Step> {
            Box::new(Recorded { number, fails: number == failing, sticks: number == sticking, log: Rc::clone(&log) })
        };
        let outcome = carry_out(&mut [step(1), step(2), step(3)], &mut |_| ());
        let log = log.borrow().join(" ");
        (outcome, log)
    }

    #[test]
    fn a_failure_undoes_all_that_was_begun_the_last_first() {
        assert_eq!(run(0, 0).1, "+1 +2 +3 !1 !2 !3");
        for (failing, expected) in [(1, "+1 -1"), (2, "+1 +2 -2 -1"), (3, "+1 +2 +3 -3 -2 -1")] {
            let (outcome, log) = run(failing, 0);
            let failure = outcome.expect_err("a step failed");
            assert_eq!((log.as_str(), failure.step), (expected, format!("do {failing}")));
            assert_eq!(failure.not_undone, [""; 0]);
        }
    }

    #[test]
    fn what_cannot_be_undone_is_named_and_the_rest_is_undone() {
        let (outcome, log) = run(3, 2);
        let failure = outcome.expect_err("a step failed");
        assert_eq!(log, "+1 +2 +3 -3 -2 -1");
        let text = failure.to_string();
        assert!(text.starts_with("cannot do 3: this is a client edition"), "{text}");
        assert!(text.contains("Not everything could be undone: do 2 (VSS is using"), "{text}");
        assert!(run(3, 0).0.expect_err("a step failed").to_string().ends_with("Everything is as it was before."));
    }

    #[test]
    fn what_is_left_after_success_is_no_failure() {
        let (outcome, _) = run(0, 2);
        assert_eq!(outcome.expect("all is done").len(), 1);
    }
}
