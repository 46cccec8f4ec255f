//! `ResyncLuns` and its `IVssAsync`.

use std::time::Duration;

use lunshadow_vss::{Async, AsyncStatus, Context, HResult, LunInformation, Method};

use super::Group;
use crate::bed::Condition;
use crate::finding::{Checked, DEAF, Finding, Setback, demand, held};
use crate::lab::{Lab, Made, need};

pub(super) const CHECKS: Group = &[
    (99, any_number_is_begun_promptly),
    (101, the_destination_is_the_copy),
    (102, the_copy_is_not_used_up),
    (103, the_destination_is_itself),
    (104, a_longer_destination_is_cut),
    (105, a_shortage_is_told_at_once),
    (106, the_status_is_true),
    (107, a_failure_is_the_status),
    (108, waits_are_as_long_as_wanted),
    (109, a_cancellation_stops_it),
    (111, an_abandoned_resync_is_noted),
    (112, the_signature_can_be_written),
];

/// By how much a destination is longer than its shadow LUN.
const GROWTH_BYTES: u64 = 1 << 20;

fn begun(lab: &Lab<'_>, made: &Made) -> Result<Box<dyn Async>, Setback> {
    need("ResyncLuns", lab.provider.resync_luns(&made.targets, &made.sources))
}

/// A resync to its good end.
fn finished(lab: &Lab<'_>, made: &Made) -> Result<(), Setback> {
    match begun(lab, made)?.wait(None) {
        AsyncStatus::Finished => Ok(()),
        other => Err(Setback(format!("the resync ended as {other:?}"))),
    }
}

fn any_number_is_begun_promptly(lab: &mut Lab<'_>) -> Checked {
    for count in [1, 2] {
        let made = lab.announced(count)?;
        let resync = lab.provider.resync_luns(&made.targets, &made.sources);
        demand!(resync.is_ok(), "a resync of {count} LUNs was answered with {:?}", resync.err());
        if let Ok(resync) = resync {
            resync.wait(None);
        }
    }
    let took_us = lab.recorder.sequence().longest_us(Method::ResyncLuns);
    demand!(took_us < 1_000_000, "ResyncLuns took {} ms", took_us / 1000);
    held(format!("resyncs of one and of two LUNs began; the call took {took_us} µs at most"))
}

fn the_destination_is_the_copy(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    // Of two copies, the one that is named has to be taken.
    lab.mark(&sources[0], 0, "older")?;
    lab.announced(1)?;
    lab.mark(&sources[0], 0, "copied")?;
    let made = lab.announced(1)?;
    lab.mark(&sources[0], 0, "changed since")?;
    let resync = begun(lab, &made)?;
    let ended = resync.wait(None);
    if matches!(ended, AsyncStatus::Failed(_)) {
        return Err(Setback(format!("the resync ended as {ended:?}")));
    }
    demand!(lab.has_mark(&sources[0], 0, "copied")?, "after the resync the destination does not have what was copied");
    lab.locate(&made.targets)?;
    let differs = differing(lab, &made)?;
    demand!(differs.is_none(), "destination and shadow LUN differ at byte {}", differs.unwrap_or_default());
    held("the destination has the content of the shadow LUN, from the first block to the last")
}

/// Where the first source and its shadow LUN differ, both read to their ends.
fn differing(lab: &Lab<'_>, made: &Made) -> Result<Option<u64>, Setback> {
    const STEP: u64 = 1 << 20;
    let disks = [lab.disk(&made.sources[0])?, lab.disk(&made.targets[0])?];
    let len_bytes = disks[0].len_bytes();
    if len_bytes != disks[1].len_bytes() {
        return Ok(Some(len_bytes.min(disks[1].len_bytes())));
    }
    let mut at = 0;
    while at < len_bytes {
        let len = usize::try_from(STEP.min(len_bytes - at)).unwrap_or(1 << 20);
        let mut contents = [vec![0; len], vec![0; len]];
        for (disk, content) in disks.iter().zip(&mut contents) {
            disk.read_at(at, content).map_err(|error| Setback(format!("a disk cannot be read: {error}")))?;
        }
        if contents[0] != contents[1] {
            return Ok(Some(at));
        }
        at += STEP;
    }
    Ok(None)
}

fn the_copy_is_not_used_up(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    lab.mark(&sources[0], 0, "copied")?;
    let made = lab.announced(1)?;
    lab.locate(&made.targets)?;
    lab.disk(&made.targets[0])?;
    lab.mark(&sources[0], 0, "changed since")?;
    for round in [1, 2] {
        finished(lab, &made)?;
        demand!(lab.sees(&made.targets[0])?, "resync {round} took the shadow LUN away");
        demand!(lab.has_mark(&made.targets[0], 0, "copied")?, "resync {round} changed the shadow LUN");
        if round == 2 && !lab.has_mark(&sources[0], 0, "copied")? {
            return Err(Setback("the resync did not give the content back".to_owned()));
        }
        lab.mark(&sources[0], 0, "changed again")?;
    }
    held("after two resyncs the shadow LUN has what it had, and both gave it back")
}

fn the_destination_is_itself(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    let before = lab.host.seen(&made.sources[0])?;
    finished(lab, &made)?;
    let after = lab.host.seen(&made.sources[0])?;
    let identifiers = |seen: Option<LunInformation>| seen.map(|lun| lun.identifiers);
    let (before, after) = (identifiers(before), identifiers(after));
    demand!(before.is_some() && before == after, "page 0x83 was {before:?} before the resync and is {after:?}");
    held("page 0x83 of the destination is as it was")
}

fn a_longer_destination_is_cut(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    lab.mark(&sources[0], 0, "copied")?;
    let made = lab.announced(1)?;
    lab.locate(&made.targets)?;
    let wanted_bytes = lab.disk(&made.targets[0])?.len_bytes();
    let grown_bytes = lab.grow(&sources[0], GROWTH_BYTES)?;
    lab.mark(&sources[0], 0, "changed since")?;
    if let Err(setback) = finished(lab, &made) {
        // A provider that resyncs nothing at all is told by other statements.
        finished(lab, &lab.announced(1)?)?;
        let what = format!("a shadow LUN of {wanted_bytes} bytes onto a destination of {grown_bytes}");
        return Ok(Finding::Broken(format!("{what}: {setback}")));
    }
    let has_bytes = lab.disk(&sources[0])?.len_bytes();
    demand!(
        has_bytes == wanted_bytes,
        "a destination of {grown_bytes} bytes has {has_bytes} after the resync, and its shadow LUN {wanted_bytes}"
    );
    let differs = differing(lab, &made)?;
    demand!(differs.is_none(), "destination and shadow LUN differ at byte {}", differs.unwrap_or_default());
    held(format!("a destination of {grown_bytes} bytes has the {wanted_bytes} of its shadow LUN, and its content"))
}

fn a_shortage_is_told_at_once(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    let _while = lab.while_array(Condition::Full)?;
    match lab.provider.resync_luns(&made.targets, &made.sources) {
        Err(HResult::VSS_E_INSUFFICIENT_STORAGE) => held("VSS_E_INSUFFICIENT_STORAGE, and no object"),
        Err(code) => Ok(Finding::Broken(format!("an array without room was answered with {code}"))),
        Ok(resync) => match resync.wait(None) {
            // What has no room for a shadow copy may have all that a resync takes.
            AsyncStatus::Finished => Ok(Finding::NotApplicable(
                "a resync takes no room of this array: one was begun and finished while there was none".to_owned(),
            )),
            ended => Ok(Finding::Broken(format!("without room a resync was begun, and ended as {ended:?}"))),
        },
    }
}

fn the_status_is_true(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    {
        let _while = lab.while_array(Condition::Resyncing)?;
        let resync = begun(lab, &made)?;
        let status = resync.query_status();
        demand!(status == AsyncStatus::Pending, "while the resync ran its status was {status:?}");
        resync.cancel();
    }
    let resync = begun(lab, &made)?;
    let ended = resync.wait(None);
    let status = resync.query_status();
    demand!(
        (ended, status) == (AsyncStatus::Finished, AsyncStatus::Finished),
        "after the resync Wait answered {ended:?} and the status was {status:?}"
    );
    held("pending while it ran, finished afterwards")
}

fn a_failure_is_the_status(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    let _while = lab.while_array(Condition::ResyncFails)?;
    match lab.provider.resync_luns(&made.targets, &made.sources) {
        Err(code) => held(format!("the failure was told by ResyncLuns itself: {code}")),
        Ok(resync) => {
            resync.wait(None);
            let status = resync.query_status();
            demand!(matches!(status, AsyncStatus::Failed(_)), "a resync that failed has the status {status:?}");
            held(format!("the failure is the status: {status:?}"))
        }
    }
}

fn waits_are_as_long_as_wanted(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    let clock = lab.bed.clock();
    {
        let _while = lab.while_array(Condition::Resyncing)?;
        let resync = begun(lab, &made)?;
        let before = clock.now();
        resync.wait(Some(Duration::ZERO));
        let took = clock.now().saturating_sub(before);
        resync.cancel();
        demand!(took < Duration::from_secs(1), "Wait(0) took {} ms", took.as_millis());
    }
    let resync = begun(lab, &made)?;
    let ended = std::thread::scope(|scope| {
        let waiters = [(); 3].map(|()| scope.spawn(|| resync.wait(None)));
        waiters.map(|waiter| waiter.join().ok())
    });
    demand!(
        ended.iter().all(|ended| !matches!(ended, None | Some(AsyncStatus::Pending))),
        "three waiters were answered with {ended:?}"
    );
    held("Wait(0) returned at once, and three waiters were told of the end")
}

fn a_cancellation_stops_it(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    {
        let _while = lab.while_array(Condition::Resyncing)?;
        let resync = begun(lab, &made)?;
        let (first, second) = (resync.cancel(), resync.cancel());
        demand!(
            (first, second) == (AsyncStatus::Cancelled, AsyncStatus::Cancelled),
            "cancelling was answered with {first:?}, then with {second:?}"
        );
    }
    let resync = begun(lab, &made)?;
    let ended = resync.wait(None);
    let late = resync.cancel();
    demand!(late == ended, "a resync that had ended as {ended:?} was cancelled as {late:?}");
    held("cancelled while it ran, also twice; after its end a cancellation changes nothing")
}

fn an_abandoned_resync_is_noted(lab: &mut Lab<'_>) -> Checked {
    if !lab.bed.hears_events() {
        return Err(Setback(DEAF.to_owned()));
    }
    let made = lab.announced(1)?;
    let _while = lab.while_array(Condition::Resyncing)?;
    let resync = begun(lab, &made)?;
    let before = lab.recorder.sequence().events.len();
    drop(resync);
    // Where the log is asked after each call, this is the one with which it is heard.
    let alive = lab.supports(Context::CTX_BACKUP, &made.sources);
    let after = lab.recorder.sequence().events.len();
    demand!(after > before, "nothing was logged when the last reference to a resync that ran went away");
    demand!(alive.is_ok(), "afterwards the provider answers {alive:?}");
    held("an event was logged, and the provider went on")
}

fn the_signature_can_be_written(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    finished(lab, &made)?;
    let disk = lab.disk(&made.sources[0])?;
    let mut first = vec![0; 512];
    // The sector with the signature is written back as it is.
    let written = disk.read_at(0, &mut first).and_then(|()| disk.write_at(0, &first)).and_then(|()| disk.flush());
    demand!(written.is_ok(), "right after a resync the first sector cannot be written: {written:?}");
    held("the first sector of the destination took a write right after the resync")
}
