//! `PreCommitSnapshots`, `CommitSnapshots` and `PostCommitSnapshots`.

use std::time::Duration;

use lunshadow_coordinator::disk::DiskIo;
use lunshadow_vss::{HResult, Method};

use super::Group;
use crate::bed::Condition;
use crate::finding::{Checked, Setback, demand, held};
use crate::lab::{Lab, Stage, need, new_set};

pub(super) const CHECKS: Group = &[
    (48, preparing_and_tidying_are_short),
    (49, the_commit_is_short),
    (51, a_late_commit_is_none),
    (52, one_point_in_time),
    (53, the_content_is_that_of_the_commit),
    (54, unknown_sets_are_not_found),
    (55, disorder_is_vetoed),
    (56, any_count_will_do),
    (57, a_failed_commit_leaves_nothing),
    (58, sources_go_on),
];

/// A set of 64 LUNs where the bed has as many; what its calls took.
fn crowd<T>(lab: &Lab<'_>, judge: impl FnOnce(&Lab<'_>, usize) -> T) -> Result<T, Setback> {
    let host = lab.bed.crowded_host().ok_or_else(|| Setback("the test bed has no host with 64 LUNs".to_owned()))?;
    let crowded = lab.moved_to(host)?;
    let luns = crowded.sources(64)?;
    crowded.set_at(Stage::PostCommitted, &luns)?;
    Ok(judge(&crowded, luns.len()))
}

fn preparing_and_tidying_are_short(lab: &mut Lab<'_>) -> Checked {
    crowd(lab, |lab, count| {
        let sequence = lab.recorder.sequence();
        for method in [Method::PreCommitSnapshots, Method::PostCommitSnapshots] {
            let took_us = sequence.longest_us(method);
            demand!(took_us <= 2_000_000, "{method} took {} ms for {count} LUNs", took_us / 1000);
        }
        let [before, after] =
            [Method::PreCommitSnapshots, Method::PostCommitSnapshots].map(|it| sequence.longest_us(it));
        held(format!("PreCommitSnapshots {before} µs, PostCommitSnapshots {after} µs for {count} LUNs"))
    })?
}

fn the_commit_is_short(lab: &mut Lab<'_>) -> Checked {
    crowd(lab, |lab, count| {
        let took_us = lab.recorder.sequence().longest_us(Method::CommitSnapshots);
        demand!(took_us <= 1_000_000, "CommitSnapshots took {} ms for {count} LUNs", took_us / 1000);
        held(format!("CommitSnapshots took {took_us} µs for {count} LUNs"))
    })?
}

fn a_late_commit_is_none(lab: &mut Lab<'_>) -> Checked {
    let before = lab.ledger()?;
    let set = lab.set_at(Stage::Precommitted, &lab.sources(1)?)?;
    let answer = {
        let _while = lab.while_array(Condition::CommitTakes(Duration::from_secs(9)))?;
        lab.provider.commit_snapshots(set)
    };
    demand!(answer == Err(HResult::VSS_E_PROVIDER_VETO), "a commit of 9 s was answered with {answer:?}");
    need("AbortSnapshots", lab.provider.abort_snapshots(set))?;
    let after = lab.ledger()?;
    demand!(after == before, "of the vetoed set there remains {after:?}");
    held("a commit of 9 s was vetoed, and its copies are gone")
}

/// A counter on each of two LUNs, the second one always written after the first.
fn one_point_in_time(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(2)?;
    let at = lab.host.scratch().0;
    let disks = [lab.disk(&sources[0])?, lab.disk(&sources[1])?];
    let emptied = disks.iter().try_for_each(|disk| put_counter(&**disk, at, 0));
    emptied.map_err(|error| Setback(format!("a source cannot be written: {error}")))?;
    let set = lab.set_at(Stage::Precommitted, &sources)?;
    let (stop, written) = (std::sync::atomic::AtomicBool::new(false), std::sync::atomic::AtomicU64::new(0));
    let committed = std::thread::scope(|scope| {
        scope.spawn(|| {
            for count in 1_u64.. {
                let done = disks.iter().try_for_each(|disk| put_counter(&**disk, at, count));
                written.store(count, std::sync::atomic::Ordering::SeqCst);
                if done.is_err() || stop.load(std::sync::atomic::Ordering::SeqCst) {
                    return;
                }
            }
        });
        while written.load(std::sync::atomic::Ordering::SeqCst) < 8 {
            std::thread::yield_now();
        }
        let committed = lab.provider.commit_snapshots(set);
        let until = written.load(std::sync::atomic::Ordering::SeqCst) + 2;
        while committed.is_ok() && written.load(std::sync::atomic::Ordering::SeqCst) < until {
            std::thread::yield_now();
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        committed
    });
    need("CommitSnapshots", committed)?;
    lab.advance(set, Stage::Committed, Stage::PostCommitted, 2)?;
    // Asked for one by one, so that their order is not what is tested.
    let targets = [lab.targets(&sources[..1])?, lab.targets(&sources[1..])?].concat();
    lab.locate(&targets)?;
    let first = get_counter(&*lab.disk(&targets[0])?, at)?;
    let second = get_counter(&*lab.disk(&targets[1])?, at)?;
    demand!(
        first == second || first == second + 1,
        "the first LUN was captured at write {first} and the second one at write {second}"
    );
    held(format!("two LUNs that were written in turn were captured at writes {first} and {second}"))
}

fn put_counter(disk: &dyn DiskIo, at: u64, count: u64) -> std::io::Result<()> {
    let mut sector = [0; 512];
    sector[..8].copy_from_slice(&count.to_le_bytes());
    disk.write_at(at, &sector)
}

fn get_counter(disk: &dyn DiskIo, at: u64) -> Result<u64, Setback> {
    let mut sector = [0; 512];
    disk.read_at(at, &mut sector).map_err(|error| Setback(format!("a shadow LUN cannot be read: {error}")))?;
    let (bytes, _) = sector.split_first_chunk().unwrap_or((&[0; 8], &[]));
    Ok(u64::from_le_bytes(*bytes))
}

fn the_content_is_that_of_the_commit(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    lab.mark(&sources[0], 0, "at the commit")?;
    let set = lab.set_at(Stage::Committed, &sources)?;
    lab.mark(&sources[0], 0, "right after the commit")?;
    lab.advance(set, Stage::Committed, Stage::PostCommitted, 1)?;
    let targets = lab.targets(&sources)?;
    lab.mark(&sources[0], 0, "later")?;
    lab.locate(&targets)?;
    demand!(
        lab.has_mark(&targets[0], 0, "at the commit")?,
        "the shadow LUN does not have what the source had when CommitSnapshots returned"
    );
    held("writes after CommitSnapshots had returned did not reach the shadow LUN")
}

fn unknown_sets_are_not_found(lab: &mut Lab<'_>) -> Checked {
    let provider = &lab.provider;
    let answers = [
        ("PreCommitSnapshots", provider.pre_commit_snapshots(new_set())),
        ("CommitSnapshots", provider.commit_snapshots(new_set())),
        ("PostCommitSnapshots", provider.post_commit_snapshots(new_set(), 1)),
    ];
    for (method, answer) in answers {
        demand!(answer == Err(HResult::VSS_E_OBJECT_NOT_FOUND), "{method} answered {answer:?} for an unknown set");
    }
    held("VSS_E_OBJECT_NOT_FOUND from all three")
}

fn disorder_is_vetoed(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    lab.set_at(Stage::PostCommitted, &sources)?;
    let before = lab.ledger()?;
    for (stage, method) in [
        (Stage::Preparing, Method::PreCommitSnapshots),
        (Stage::Prepared, Method::CommitSnapshots),
        (Stage::Precommitted, Method::PostCommitSnapshots),
    ] {
        let set = lab.set_at(stage, &sources)?;
        let answer = match method {
            Method::PreCommitSnapshots => lab.provider.pre_commit_snapshots(set),
            Method::CommitSnapshots => lab.provider.commit_snapshots(set),
            _ => lab.provider.post_commit_snapshots(set, 1),
        };
        demand!(
            answer == Err(HResult::VSS_E_PROVIDER_VETO),
            "{method} of a set that was {stage:?} was answered with {answer:?}"
        );
        need("AbortSnapshots", lab.provider.abort_snapshots(set))?;
        let after = lab.ledger()?;
        demand!(after == before, "of a set that was called out of order there remains {after:?}");
    }
    let next = lab.set_at(Stage::Committed, &sources);
    demand!(
        next.is_ok(),
        "after calls out of order the next set fails: {}",
        next.err().map(|it| it.0).unwrap_or_default()
    );
    held("three calls out of order were vetoed, and the next set was committed")
}

fn any_count_will_do(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(2)?;
    for count in [1, 2, 64] {
        let set = lab.set_at(Stage::Committed, &sources)?;
        let answer = lab.provider.post_commit_snapshots(set, count);
        demand!(answer.is_ok(), "a set of two volumes with a count of {count} was answered with {answer:?}");
    }
    held("a set of two volumes was completed with counts of 1, 2 and 64")
}

fn a_failed_commit_leaves_nothing(lab: &mut Lab<'_>) -> Checked {
    let before = lab.ledger()?;
    let set = lab.set_at(Stage::Precommitted, &lab.sources(2)?)?;
    let answer = {
        let _while = lab.while_array(Condition::CommitFails)?;
        lab.provider.commit_snapshots(set)
    };
    demand!(answer.is_err(), "CommitSnapshots succeeded although the array's commit failed");
    need("AbortSnapshots", lab.provider.abort_snapshots(set))?;
    let after = lab.ledger()?;
    demand!(after == before, "after a failed commit and an abort there remains {after:?}");
    held("the commit failed with the array's, and nothing of the set remained after AbortSnapshots")
}

fn sources_go_on(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    let before = lab.host.seen(&sources[0])?;
    let set = new_set();
    let mut stage = Stage::Preparing;
    need("BeginPrepareSnapshot", lab.begin(set, &sources))?;
    for (place, next) in (0..).zip([Stage::Prepared, Stage::Precommitted, Stage::Committed, Stage::PostCommitted]) {
        lab.advance(set, stage, next, 1)?;
        stage = next;
        let text = format!("{stage:?}");
        let written = lab.mark(&sources[0], place, &text).and_then(|()| lab.has_mark(&sources[0], place, &text));
        demand!(written == Ok(true), "the source of a set that was {stage:?} cannot be used: {written:?}");
    }
    let after = lab.host.seen(&sources[0])?;
    demand!(after == before, "the source was seen as {before:?} and is seen as {after:?}");
    held("the source took writes and gave them back after every step, and its identity stayed")
}
