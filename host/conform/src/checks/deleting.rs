//! `OnLunEmpty`.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lunshadow_vss::{Context, HResult, LunInformation};

use super::Group;
use super::waiting::WATCHED;
use crate::bed::Condition;
use crate::finding::{Checked, Setback, demand, held};
use crate::lab::{Lab, Stage, foreign, names, need, new_set, serial};

pub(super) const CHECKS: Group = &[
    (81, only_the_named_lun_goes),
    (82, nothing_goes_by_itself),
    (84, twice_is_fine),
    (85, other_luns_are_vetoed),
    (86, the_name_may_be_missing),
    (87, an_interrupted_deletion_comes_to_its_end),
    (88, younger_copies_stay),
];

/// How long the call of a process that has ended is waited for. Behind COM it is over with the process, and elsewhere when the array is sound; what
/// does not come back at all holds up nothing but this.
const LEFT_BEHIND: Duration = Duration::from_secs(30);

/// How often it is looked whether a shadow LUN has gone that the array may be about to delete, and how long it is given each time.
const LOOKS: usize = 10;
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

fn only_the_named_lun_goes(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(2)?;
    lab.locate(&made.targets)?;
    let before = lab.ledger()?;
    need("OnLunEmpty", lab.delete(&made.targets[0]))?;
    let after = lab.ledger()?;
    let gone = serial(&made.targets[0]).to_owned();
    let expected = {
        let mut expected = before.clone();
        expected.shadows.remove(&gone);
        expected.mapped.remove(&gone);
        expected
    };
    demand!(before.shadows.contains(&gone), "the array's ledger does not have the shadow LUN {gone}");
    demand!(after == expected, "after the deletion of {gone} there is {after:?}; before there was {before:?}");
    held("the named shadow LUN and its mapping went, and nothing else")
}

fn nothing_goes_by_itself(lab: &mut Lab<'_>) -> Checked {
    let made = lab.created(1)?;
    let kept = lab.ledger()?.shadows;
    let _ = lab.supports(Context::CTX_BACKUP, &made.targets);
    let _ = lab.fill_in(&mut made.targets[0].clone());
    lab.mask(&made.targets)?;
    let other = new_set();
    need("BeginPrepareSnapshot", lab.begin(other, &made.sources))?;
    need("AbortSnapshots", lab.provider.abort_snapshots(other))?;
    let _ = lab.provider.on_unload(false);
    lab.restart()?;
    let left = lab.ledger()?.shadows;
    let gone: Vec<_> = kept.difference(&left).collect();
    demand!(gone.is_empty(), "gone without OnLunEmpty: {gone:?}");
    held("a shadow LUN outlived questions, a mask, an aborted set, and an unload with a restart")
}

fn twice_is_fine(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    need("OnLunEmpty", lab.delete(&made.targets[0]))?;
    let again = lab.delete(&made.targets[0]);
    demand!(again.is_ok(), "the second deletion was answered with {again:?}");
    held("S_OK both times")
}

fn other_luns_are_vetoed(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    let before = lab.ledger()?;
    for (what, lun) in [("a foreign LUN", &foreign(1)), ("a source", &sources[0])] {
        let answer = lab.delete(lun);
        demand!(answer == Err(HResult::VSS_E_PROVIDER_VETO), "{what} was answered with {answer:?}");
    }
    let after = lab.ledger()?;
    demand!(after == before, "after the vetoes there is {after:?}; before there was {before:?}");
    held("a foreign LUN and a source were vetoed, and nothing changed")
}

fn the_name_may_be_missing(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    let answer = lab.provider.on_lun_empty(None, made.targets.first());
    demand!(answer.is_ok(), "without a device name the answer was {answer:?}");
    held("deleted without a device name")
}

fn an_interrupted_deletion_comes_to_its_end(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    lab.mark(&sources[0], 0, "kept")?;
    let made = lab.announced(1)?;
    let shadow = &made.targets[0];
    lab.locate(&made.targets)?;
    if !remains(lab, shadow)? {
        return Err(Setback(format!("the array's ledger does not have the shadow LUN {}", serial(shadow))));
    }
    interrupt_deletion(lab, shadow)?;
    // The array may have carried out what the process had asked for, or be about to.
    let went_on = !remains(lab, shadow)?;
    let again = if went_on { Ok(()) } else { lab.delete(shadow) };
    let is_left = stays(lab, shadow)?;
    demand!(lab.has_mark(&sources[0], 0, "kept")?, "the source has changed with a deletion in which the process ended");
    demand!(!is_left, "after a deletion in which the process ended the next one answered {again:?}, and the LUN stays");
    held(if went_on {
        "the deletion in which the process ended went on without it, and the source is as it was"
    } else {
        "the process ended in a deletion, the next one made up for it, and the source is as it was"
    })
}

fn remains(lab: &Lab<'_>, shadow: &LunInformation) -> Result<bool, Setback> {
    Ok(lab.ledger()?.shadows.contains(serial(shadow)))
}

/// Whether a shadow LUN is there for longer than what the array does may take.
fn stays(lab: &Lab<'_>, shadow: &LunInformation) -> Result<bool, Setback> {
    for _ in 0..LOOKS {
        if !remains(lab, shadow)? {
            return Ok(false);
        }
        lab.bed.pass(BETWEEN_LOOKS);
    }
    remains(lab, shadow)
}

/// Ends the process while it deletes a shadow LUN. The next one finds a sound array.
fn interrupt_deletion(lab: &mut Lab<'_>, shadow: &LunInformation) -> Result<(), Setback> {
    let hanging = lab.while_array(Condition::Deleting)?;
    let (answered, answers) = mpsc::channel();
    let (provider, shadow) = (Arc::clone(&lab.provider), shadow.clone());
    let deleter = thread::spawn(move || {
        let answer = provider.on_lun_empty(names(1).first(), Some(&shadow));
        // Nobody listens to a late answer.
        let _ = answered.send(answer);
    });
    let early = answers.recv_timeout(WATCHED);
    let replaced = lab.replace_process();
    // Before it is loaded: a provider may finish there what an earlier process has begun.
    drop(hanging);
    if early.is_ok() || answers.recv_timeout(LEFT_BEHIND).is_ok() {
        drop(deleter.join());
    }
    if let Ok(answer) = early {
        return Err(Setback(format!("OnLunEmpty did not wait, but answered {answer:?}")));
    }
    replaced?;
    need("OnLoad", lab.provider.on_load())
}

fn younger_copies_stay(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    lab.mark(&sources[0], 0, "old")?;
    let old = lab.announced(1)?;
    lab.mark(&sources[0], 0, "young")?;
    lab.set_at(Stage::PostCommitted, &sources)?;
    let young = lab.targets(&sources)?;
    need("OnLunEmpty", lab.delete(&old.targets[0]))?;
    let left = lab.ledger()?.shadows.contains(serial(&young[0]));
    demand!(left, "the younger copy went with the older one");
    lab.locate(&young)?;
    demand!(lab.has_mark(&young[0], 0, "young")?, "the younger copy has changed with the deletion of the older one");
    demand!(lab.has_mark(&sources[0], 0, "young")?, "the source has changed with the deletion of an older copy");
    held("the younger copy and the source are as they were after the older copy was deleted")
}
