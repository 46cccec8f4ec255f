//! Calls from several threads at once: the wait in `EndPrepareSnapshots`, and `FillInLunInfo` beside a creation.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lunshadow_vss::HResult;

use super::Group;
use crate::bed::Condition;
use crate::finding::{Checked, Setback, demand, held};
use crate::lab::{Lab, Stage, foreign};

pub(super) const CHECKS: Group =
    &[(38, preparation_is_waited_for), (44, an_abort_ends_the_wait), (78, many_disks_beside_a_creation)];

/// How long a call is watched before it counts as waiting. A provider that waits is never judged by it; one that does not answers long
/// before.
pub(super) const WATCHED: Duration = Duration::from_millis(500);

/// How soon an abort has to end a wait. More than the second of the statement, since a busy machine is nobody's fault.
const PROMPT: Duration = Duration::from_secs(10);

fn preparation_is_waited_for(lab: &mut Lab<'_>) -> Checked {
    let set = lab.set_at(Stage::Preparing, &lab.sources(1)?)?;
    let waiting = lab.while_array(Condition::Preparing)?;
    let (answered, answers) = mpsc::channel();
    let provider = Arc::clone(&lab.provider);
    let waiter = thread::spawn(move || {
        // Nobody listens to a late answer.
        let _ = answered.send(provider.end_prepare_snapshots(set));
    });
    let early = answers.recv_timeout(WATCHED);
    drop(waiting);
    let answer = early.or_else(|_| answers.recv());
    drop(waiter.join());
    demand!(early.is_err(), "EndPrepareSnapshots answered {early:?} although the array was still preparing");
    demand!(answer == Ok(Ok(())), "when the array was ready, EndPrepareSnapshots answered {answer:?}");
    held("EndPrepareSnapshots waited until the array was ready, and succeeded then")
}

fn an_abort_ends_the_wait(lab: &mut Lab<'_>) -> Checked {
    let set = lab.set_at(Stage::Preparing, &lab.sources(1)?)?;
    let waiting = lab.while_array(Condition::Preparing)?;
    let (answered, answers) = mpsc::channel();
    let (waiter, aborter) = (Arc::clone(&lab.provider), Arc::clone(&lab.provider));
    let waiter = thread::spawn(move || {
        // Nobody listens to a late answer.
        let _ = answered.send(waiter.end_prepare_snapshots(set));
    });
    let early = answers.recv_timeout(WATCHED);
    let aborter = thread::spawn(move || aborter.abort_snapshots(set));
    let ended = answers.recv_timeout(PROMPT);
    drop(waiting);
    drop((waiter.join(), aborter.join()));
    if let Ok(answer) = early {
        return Err(Setback(format!("EndPrepareSnapshots did not wait, but answered {answer:?}")));
    }
    demand!(ended.is_ok(), "EndPrepareSnapshots went on waiting for {} s after the abort", PROMPT.as_secs());
    demand!(ended != Ok(Ok(())), "EndPrepareSnapshots succeeded for a set that was aborted");
    held(format!("the abort from another thread ended the wait: {ended:?}"))
}

fn many_disks_beside_a_creation(lab: &mut Lab<'_>) -> Checked {
    const DISKS: usize = 100;
    let sources = lab.sources(1)?;
    lab.set_at(Stage::PostCommitted, &sources)?;
    let set = lab.set_at(Stage::Prepared, &sources)?;
    let shared: &Lab<'_> = lab;
    let wrong = thread::scope(|scope| {
        let ask = |from: usize| {
            let wrong = (from..DISKS).step_by(4).filter(|number| {
                let mut disk = foreign(*number);
                shared.fill_in(&mut disk) != (HResult::S_OK, false) || disk != foreign(*number)
            });
            wrong.count()
        };
        let threads: Vec<_> = (0..4).map(|from| scope.spawn(move || ask(from))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(DISKS)).sum::<usize>()
    });
    demand!(wrong == 0, "{wrong} of {DISKS} foreign disks were answered wrongly");
    let went = lab.advance(set, Stage::Prepared, Stage::PostCommitted, 1);
    demand!(went.is_ok(), "after {DISKS} foreign disks had arrived the set could not be completed: {went:?}");
    held(format!("{DISKS} foreign disks were declined by four threads while a set was being created"))
}
