//! The array is killed in the middle of a commit: after a restart the set is there with all its shadow LUNs, or not at all.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use lunshadow::array::TARGET_NAME;
use lunshadow_array_client::{Array, ArrayError, Enrolment};
use lunshadow_control::{LunId, ProblemCode, ShadowSetId};
use lunshadow_initiator::{Disk, Session};
use lunshadow_scsi::LunAddress;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::service::{Service, array_of, initiator};

const LUN_COUNT: u8 = 8;
const LONG: Duration = Duration::from_secs(5);

/// Blocks that are written to each LUN, and the length of one.
const BLOCK_COUNT: u32 = 16;
const BLOCK_BYTES: usize = 512;

/// When the array is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    BeforeTheCommit,
    /// So long after the commit was sent.
    During(Duration),
    AfterTheAnswer,
}

/// Writes the number of the round all over the LUNs of the host, or checks that `luns` have it.
async fn over_iscsi(service: &Service, luns: &[u8], round: u8, write: bool) -> anyhow::Result<()> {
    let session = Session::login(service.portal, &initiator("sql").parse()?, TARGET_NAME).await?;
    let content = vec![round; BLOCK_BYTES * usize::try_from(BLOCK_COUNT)?];
    for number in luns {
        let disk = Disk::new(session.clone(), LunAddress::peripheral(*number));
        if write {
            disk.write(0, Bytes::from(content.clone())).await?;
            disk.flush().await?;
        } else {
            ensure!(disk.read(0, BLOCK_COUNT).await? == content, "LUN {number} has not the content of round {round}");
        }
    }
    session.logout().await?;
    Ok(())
}

/// Sends the commit and kills the array meanwhile. Whether the host was told that it is committed.
fn commit_and_kill(service: &mut Service, array: &dyn Array, set: ShadowSetId, kill: Kill) -> anyhow::Result<bool> {
    let mut channel = array.open_commit_channel(set)?;
    channel.arm(LONG)?;
    let during = match kill {
        Kill::BeforeTheCommit => return service.kill().map(|()| false),
        Kill::During(after) => Some(after),
        Kill::AfterTheAnswer => None,
    };
    let Some(after) = during else {
        channel.commit()?;
        return service.kill().map(|()| true);
    };
    std::thread::scope(|scope| {
        let begin = Instant::now();
        let commit = scope.spawn(move || channel.commit());
        // Shorter than a sleep could be.
        while begin.elapsed() < after {
            std::hint::spin_loop();
        }
        service.kill()?;
        let answer = commit.join().ok().context("the commit panicked")?;
        ensure!(!matches!(answer, Err(ArrayError::Refused { .. })), "{answer:?}");
        Ok(answer.is_ok())
    })
}

/// The LUN numbers of the shadow LUNs, mapped to the host; none if the set is over.
fn shadows_of(array: &dyn Array, set: ShadowSetId, sources: &[LunId]) -> anyhow::Result<Vec<u8>> {
    let targets = match array.targets(set) {
        Ok(targets) => targets,
        Err(error) => {
            ensure!(error.code() == Some(ProblemCode::SetAborted), "{error}");
            return Ok(Vec::new());
        }
    };
    let mut captured: Vec<LunId> = targets.iter().map(|target| target.source).collect();
    captured.sort();
    let mut all = sources.to_vec();
    all.sort();
    ensure!(captured == all, "the set has shadow LUNs of {captured:?}");
    let shadows: Vec<LunId> = targets.iter().map(|target| target.shadow).collect();
    array.map(&shadows)?;
    let mapped = array.overview()?.luns;
    Ok(mapped.iter().filter(|mapped| shadows.contains(&mapped.lun)).map(|mapped| mapped.number).collect())
}

#[test]
fn a_set_is_never_half_there_after_the_array_was_killed() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let mut service = Service::start()?;
    let mut enrolment = service.enrolled("sql")?;
    let luns: Vec<LunId> =
        (1..=LUN_COUNT).map(|n| service.lun_of("sql", &format!("data-{n}"))).collect::<anyhow::Result<_>>()?;
    let numbers: Vec<u8> = (1..=LUN_COUNT).collect();

    let during =
        [0, 100, 200, 400, 700, 1000, 1500, 2500, 4000, 8000].map(|us| Kill::During(Duration::from_micros(us)));
    let kills = [Kill::BeforeTheCommit].into_iter().chain(during).chain([Kill::AfterTheAnswer]);
    for (round, kill) in (1_u8..).zip(kills) {
        runtime.block_on(over_iscsi(&service, &numbers, round, true))?;
        let array = array_of(&enrolment);
        let set = ShadowSetId(Uuid::new_v4());
        array.prepare(set, &luns)?;
        array.wait_prepared(set, LONG)?;
        let told = commit_and_kill(&mut service, &array, set, kill)?;

        service = service.serve_again()?;
        enrolment = Enrolment { endpoint: service.endpoint.clone(), ..enrolment };
        let array = array_of(&enrolment);
        let shadows = shadows_of(&array, set, &luns)?;
        ensure!(!told || !shadows.is_empty(), "{kill:?}: a commit that was answered is lost");
        ensure!(kill != Kill::BeforeTheCommit || shadows.is_empty(), "a set that was not committed is there");
        // What was written and flushed before is on the shadow LUNs, all of them, and on the sources.
        runtime.block_on(over_iscsi(&service, &shadows, round, false))?;
        runtime.block_on(over_iscsi(&service, &numbers, round, false))?;

        array.abort(set)?;
        let left = service.admin_json(&["lun", "list"])?;
        let left = left["luns"].as_array().context("no LUNs")?;
        ensure!(left.iter().all(|lun| lun["shadow_count"] == 0), "{kill:?}: {left:?}");
    }
    Ok(())
}
