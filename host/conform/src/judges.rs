//! What is judged over all that was called in a run: codes, and the events that go with them.

use lunshadow_vss::{HResult, Method, is_legal};

use crate::bed::Gravity;
use crate::finding::{Checked, Finding, Setback, demand, held};
use crate::recorder::{CallRecord, Sequence};
use crate::statements::Number;

/// A judge of all sequences.
type Judge = fn(&[(String, &Sequence)]) -> Checked;

/// The judges, with the numbers of their statements.
pub(crate) const JUDGES: [(Number, Judge); 5] = [
    (Number(12), codes_are_of_the_page),
    (Number(13), some_codes_never_occur),
    (Number(14), a_veto_has_one_event),
    (Number(15), the_commit_is_silent),
    (Number(19), gravities_fit),
];

/// Those that have nothing to judge where the provider's events are not heard.
pub(crate) const ABOUT_EVENTS: [Number; 3] = [Number(14), Number(15), Number(19)];

/// The codes that statement P-13 names, whatever page they are on.
fn is_forbidden(call: &CallRecord, code: HResult) -> bool {
    let asks_to_stay = call.method == Method::OnUnload && code == HResult::S_FALSE;
    let forbidden = [HResult::S_FALSE, HResult::E_FAIL, HResult::E_UNEXPECTED, HResult::E_ABORT];
    forbidden.contains(&code) && !asks_to_stay
}

fn count_calls(sequences: &[(String, &Sequence)]) -> usize {
    sequences.iter().map(|(_, sequence)| sequence.calls.len()).sum()
}

/// What the caller's own proxy answers for an array that is NULL and must not be (`RPC_X_NULL_REF_POINTER`, `winerror.h`): the provider has not been
/// called.
const REFUSED_BY_THE_PROXY: HResult = HResult::from_bits(0x8007_06f4);

fn codes_are_of_the_page(sequences: &[(String, &Sequence)]) -> Checked {
    for (name, sequence) in sequences {
        for call in &sequence.calls {
            let Some(code) = call.code() else { continue };
            demand!(
                is_legal(call.method, code)
                    || is_forbidden(call, code)
                    || code == REFUSED_BY_THE_PROXY
                    || call.is_absent(),
                "{} answered {code}, which is not on its page (while {name} was tested)",
                call.method
            );
        }
    }
    held(format!("{} calls answered with codes of their own pages", count_calls(sequences)))
}

fn some_codes_never_occur(sequences: &[(String, &Sequence)]) -> Checked {
    for (name, sequence) in sequences {
        for call in &sequence.calls {
            let Some(code) = call.code() else { continue };
            demand!(!is_forbidden(call, code), "{} answered {code} (while {name} was tested)", call.method);
        }
    }
    held(format!("{} calls answered with none of the four codes", count_calls(sequences)))
}

/// The sequences in which it is certain to which call an event belongs.
fn unambiguous<'a>(sequences: &'a [(String, &'a Sequence)]) -> impl Iterator<Item = (&'a String, &'a Sequence)> + 'a {
    sequences.iter().filter(|(_, sequence)| !sequence.overlaps()).map(|(name, sequence)| (name, *sequence))
}

/// Whether a veto's event may come later: writers are frozen from the first of these calls to the end of the last one.
const fn may_defer(method: Method) -> bool {
    matches!(method, Method::PreCommitSnapshots | Method::CommitSnapshots | Method::PostCommitSnapshots)
}

fn a_veto_has_one_event(sequences: &[(String, &Sequence)]) -> Checked {
    let mut vetoes = 0;
    for (name, sequence) in unambiguous(sequences) {
        // How many vetoes have their events still to come.
        let mut owed = 0_usize;
        for call in &sequence.calls {
            let texts: Vec<&str> = sequence
                .events_within(call.began, call.ended)
                .filter(|event| event.gravity != Gravity::Information)
                .map(|event| event.text.as_str())
                .collect();
            let is_veto = call.code() == Some(HResult::VSS_E_PROVIDER_VETO);
            vetoes += usize::from(is_veto);
            demand!(
                texts.iter().all(|text| !text.trim().is_empty()),
                "an event of {} has no text (while {name} was tested)",
                call.method
            );
            if is_veto && texts.is_empty() && may_defer(call.method) {
                owed += 1;
            } else if is_veto {
                let own = texts.len().saturating_sub(owed.min(texts.len().saturating_sub(1)));
                demand!(
                    own == 1,
                    "{} answered with a veto and {} events (while {name} was tested): {texts:?}",
                    call.method,
                    texts.len()
                );
                owed -= texts.len() - own;
            } else if !matches!(call.method, Method::PreCommitSnapshots | Method::CommitSnapshots) {
                owed = owed.saturating_sub(texts.len());
            }
        }
        // A check that ends with the veto leaves no call with which the event could come.
        let mut after =
            sequence.calls.iter().rev().take_while(|call| call.code() != Some(HResult::VSS_E_PROVIDER_VETO));
        let could_come = after.any(|call| {
            matches!(call.method, Method::AbortSnapshots | Method::BeginPrepareSnapshot | Method::OnUnload)
        });
        demand!(owed == 0 || !could_come, "{owed} vetoes of a commit never had an event (while {name} was tested)");
    }
    if vetoes == 0 {
        return Err(Setback("nothing was vetoed in this run".to_owned()));
    }
    held(format!("{vetoes} vetoes, each with one event; what their texts advise has to be read by a person"))
}

fn the_commit_is_silent(sequences: &[(String, &Sequence)]) -> Checked {
    let mut commits = 0;
    for (name, sequence) in sequences {
        for (index, commit) in sequence.calls.iter().enumerate() {
            if commit.method != Method::CommitSnapshots {
                continue;
            }
            commits += 1;
            // Writes are released before the next call of the set.
            let until = sequence.calls.get(index + 1).map_or(commit.ended, |next| next.began.max(commit.ended));
            let event = sequence.events_within(commit.began, until).next();
            demand!(
                event.is_none(),
                "while writes were held there was an event (while {name} was tested): {}",
                event.map(|event| event.text.as_str()).unwrap_or_default()
            );
        }
    }
    if commits == 0 {
        return Err(Setback("nothing was committed in this run".to_owned()));
    }
    held(format!("{commits} commits without an event"))
}

fn gravities_fit(sequences: &[(String, &Sequence)]) -> Checked {
    let mut counted = 0;
    for (name, sequence) in unambiguous(sequences) {
        for call in &sequence.calls {
            let Some(code) = call.code() else { continue };
            for event in sequence.events_within(call.began, call.ended) {
                counted += 1;
                let is_veto = code == HResult::VSS_E_PROVIDER_VETO;
                let is_alone = sequence.events_within(call.began, call.ended).count() == 1;
                let is_due = is_veto && is_alone && !may_defer(call.method);
                demand!(
                    !(is_due && event.gravity == Gravity::Information),
                    "{} was vetoed with an event of mere information (while {name} was tested): {}",
                    call.method,
                    event.text
                );
                // What was deferred comes with a call that succeeds, and a resync may fail while it is still being begun.
                let tidies = matches!(
                    call.method,
                    Method::AbortSnapshots
                        | Method::PostCommitSnapshots
                        | Method::BeginPrepareSnapshot
                        | Method::OnUnload
                        | Method::ResyncLuns
                );
                demand!(
                    code.is_failure() || tidies || event.gravity != Gravity::Error,
                    "{} succeeded with an event of an error (while {name} was tested): {}",
                    call.method,
                    event.text
                );
            }
        }
    }
    if counted == 0 {
        return Ok(Finding::NotApplicable("the provider logged nothing in this run".to_owned()));
    }
    held(format!("{counted} events are as grave as the calls that they belong to"))
}
