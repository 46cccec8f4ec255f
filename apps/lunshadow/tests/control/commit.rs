//! A commit whose connection is lost on the way to the real array: repeated once, with the same set, within the deadline, never after
//! it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::ensure;
use lunshadow_array_client::{Array as _, ArrayError, CommitChannel, Endpoint, HttpsArray, HttpsTimeouts};
use lunshadow_control::{LunId, Outcome, ProblemCode, ShadowSetId};
use uuid::Uuid;

use crate::proxy::{Cut, Proxy};
use crate::service::Service;

const LONG: Duration = Duration::from_secs(5);

/// A host with two LUNs that reaches the array through the proxy.
struct Rig {
    service: Service,
    proxy: Proxy,
    array: HttpsArray,
    luns: [LunId; 2],
}

impl Rig {
    fn new() -> anyhow::Result<Self> {
        let service = Service::start()?;
        let proxy = Proxy::start(service.endpoint.address.parse()?)?;
        let enrolment = service.enrolled("sql")?;
        let endpoint = Endpoint { address: proxy.address.to_string(), fingerprint: service.endpoint.fingerprint };
        let array = HttpsArray::new(endpoint, enrolment.credential, HttpsTimeouts::default());
        let luns = [service.lun_of("sql", "data")?, service.lun_of("sql", "log")?];
        Ok(Self { service, proxy, array, luns })
    }

    fn armed(&self, commit_at_most: Duration) -> anyhow::Result<(ShadowSetId, Box<dyn CommitChannel>)> {
        let set = ShadowSetId(Uuid::new_v4());
        self.array.prepare(set, &self.luns)?;
        self.array.wait_prepared(set, LONG)?;
        let mut channel = self.array.open_commit_channel(set)?;
        channel.arm(commit_at_most)?;
        Ok((set, channel))
    }

    /// How a set stands, as an administrator sees it.
    fn phase(&self, set: ShadowSetId) -> anyhow::Result<String> {
        let sets = self.service.admin_json(&["shadow", "list"])?;
        let found = sets["sets"]
            .as_array()
            .and_then(|sets| sets.iter().find(|found| found["summary"]["set"] == set.0.to_string()));
        Ok(found.and_then(|found| found["summary"]["phase"].as_str()).unwrap_or_default().to_owned())
    }
}

#[test]
fn a_commit_without_loss_opens_no_connection() -> anyhow::Result<()> {
    let rig = Rig::new()?;
    let (set, mut channel) = rig.armed(LONG)?;
    let before = rig.proxy.connections();
    channel.commit()?;
    ensure!(rig.proxy.connections() == before, "a connection was opened while writes were held");
    ensure!(rig.array.targets(set)?.len() == 2);
    Ok(())
}

#[test]
fn a_lost_request_and_a_lost_answer_are_made_good_by_one_repetition() -> anyhow::Result<()> {
    let rig = Rig::new()?;
    for cut in [Cut::Request, Cut::Answer] {
        let (set, mut channel) = rig.armed(LONG)?;
        let before = rig.proxy.connections();
        rig.proxy.cut(&[cut]);
        channel.commit()?;
        ensure!(rig.proxy.connections() == before + 1, "{cut:?}");
        let targets = rig.array.targets(set)?;
        let sources: BTreeSet<LunId> = targets.iter().map(|target| target.source).collect();
        ensure!(targets.len() == 2 && sources == BTreeSet::from(rig.luns), "{cut:?}: {targets:?}");
        ensure!(rig.phase(set)? == "committed", "{cut:?}");
        // The same set a third time: nothing new comes of it.
        channel.commit()?;
        ensure!(rig.array.targets(set)? == targets, "{cut:?}");
        rig.array.abort(set)?;
    }
    Ok(())
}

#[test]
fn a_commit_that_is_lost_twice_fails_and_its_abort_leaves_nothing() -> anyhow::Result<()> {
    let rig = Rig::new()?;
    for (cuts, phase) in [([Cut::Request, Cut::Request], "armed"), ([Cut::Answer, Cut::Request], "committed")] {
        let (set, mut channel) = rig.armed(LONG)?;
        let before = rig.proxy.connections();
        rig.proxy.cut(&cuts);
        ensure!(matches!(channel.commit(), Err(ArrayError::Unreachable { .. })), "{cuts:?}");
        ensure!(rig.proxy.connections() == before + 1, "{cuts:?}");
        ensure!(rig.phase(set)? == phase, "{cuts:?}");
        ensure!(rig.array.abort(set)? == Outcome::Done);
        let gone = rig.array.targets(set).expect_err("the set is over");
        ensure!(gone.code() == Some(ProblemCode::SetAborted), "{gone}");
        let luns = rig.service.admin_json(&["lun", "list"])?;
        ensure!(luns["luns"].as_array().is_some_and(|luns| luns.iter().all(|lun| lun["shadow_count"] == 0)), "{luns}");
    }
    Ok(())
}

#[test]
fn nothing_is_repeated_after_the_deadline() -> anyhow::Result<()> {
    let rig = Rig::new()?;
    let at_most = Duration::from_millis(200);
    let (set, mut channel) = rig.armed(at_most)?;
    let before = rig.proxy.connections();
    rig.proxy.cut(&[Cut::RequestHeld(at_most + Duration::from_millis(100))]);
    let began = Instant::now();
    ensure!(matches!(channel.commit(), Err(ArrayError::Unreachable { .. })));
    ensure!(began.elapsed() >= at_most, "the connection was cut too early");
    ensure!(rig.proxy.connections() == before, "another connection was opened after the deadline");
    ensure!(rig.phase(set)? == "armed", "the array has got the commit");
    Ok(())
}
