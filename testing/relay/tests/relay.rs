//! A provider's client that asks an array through the relay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_array_client::{Array, ArrayError, Endpoint, HttpsArray, HttpsTimeouts, Preparation};
use lunshadow_catalog::SetState;
use lunshadow_control::{
    LunId, LunQuery, Outcome, ProblemCode, ResyncId, ResyncPair, ResyncState, Secret, ShadowSetId, identity_of,
};
use lunshadow_end_to_end::array::{ArrayLun, TestArray};
use lunshadow_relay::{Condition, Relay};
use lunshadow_server::{Limits, Server, ServerCertificate, ServerConfig, administrator_credential};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

const LUN_BYTES: u64 = 1 << 20;

/// How long something is watched that must not come to its end.
const WATCHED: Duration = Duration::from_millis(100);

/// How long a commit may take, and how long it takes where that is too long.
const COMMIT_AT_MOST: Duration = Duration::from_secs(5);
const TOO_LONG: Duration = Duration::from_secs(60);

struct Rig {
    array: TestArray,
    lun: ArrayLun,
    relay: Relay,
    host: HttpsArray,
    server: Server,
    _folder: TempDir,
    runtime: Runtime,
}

impl Rig {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let (array, lun, relay, server, credential) = runtime.block_on(async {
            let array = TestArray::start().await.expect("an array");
            let lun = array.add_lun("data", LUN_BYTES).await.expect("a LUN");
            let administrator = administrator_credential(folder.path()).expect("a credential");
            let certificate = ServerCertificate::load_or_make(folder.path()).expect("a certificate");
            let listen = SocketAddr::from(([127, 0, 0, 1], 0));
            let config = ServerConfig { listen, certificate, administrator, limits: Limits::default() };
            let server = Server::bind(config, Arc::clone(array.catalog())).await.expect("a port");
            let issued = array.catalog().issue_enrolment(array.host(), TOO_LONG).await.expect("a token");
            let enrolled = array.catalog().enrol(&issued.token).await.expect("a credential");
            let relay = Relay::bind(server.local_addr(), folder.path()).await.expect("a port");
            (array, lun, relay, server, enrolled.credential)
        });
        let endpoint = Endpoint { address: relay.local_addr().to_string(), fingerprint: server.fingerprint() };
        let host = HttpsArray::new(endpoint, Secret::new(credential.expose()), HttpsTimeouts::default());
        Self { array, lun, relay, host, server, _folder: folder, runtime }
    }

    /// A set that is being prepared.
    fn prepared(&self) -> ShadowSetId {
        let set = ShadowSetId(Uuid::new_v4());
        assert_eq!(self.host.prepare(set, &[self.lun.id]), Ok(Outcome::Done));
        set
    }

    /// A set that has captured the LUN. Answers its shadow LUN.
    fn captured(&self) -> LunId {
        let set = self.prepared();
        assert_eq!(self.host.wait_prepared(set, TOO_LONG), Ok(Preparation::Ready));
        let mut channel = self.host.open_commit_channel(set).expect("the set can be armed");
        channel.arm(COMMIT_AT_MOST).expect("it is armed");
        channel.commit().expect("it is committed");
        self.host.keep(set).expect("it is kept");
        self.host.targets(set).expect("they are known")[0].shadow
    }

    fn pairs(&self, shadow: LunId) -> [ResyncPair; 1] {
        [ResyncPair { shadow, target: self.lun.id }]
    }

    fn shadow_count(&self) -> usize {
        let luns = self.array.catalog().administered_luns();
        luns.into_iter().find(|it| it.lun == self.lun.id).map_or(0, |it| it.shadow_count)
    }
}

/// The code of a refusal.
fn code<T>(answer: Result<T, ArrayError>) -> Option<ProblemCode> {
    answer.err()?.code()
}

#[test]
fn a_sound_array_is_the_array() {
    let rig = Rig::new();
    assert_eq!(rig.host.who_am_i().expect("it answers").host, rig.array.host());
    let shadow = rig.captured();
    assert_eq!(rig.shadow_count(), 1);
    let resync = ResyncId(Uuid::new_v4());
    rig.host.start_resync(resync, &rig.pairs(shadow)).expect("it begins");
    assert_eq!(rig.host.resync_state(resync, TOO_LONG), Ok(ResyncState::Finished));
    assert_eq!(rig.host.release(shadow), Ok(Outcome::Done));
    assert_eq!(
        code(rig.host.targets(ShadowSetId(Uuid::new_v4()))),
        Some(ProblemCode::UnknownSet),
        "problems pass, too"
    );
}

#[test]
fn a_full_array_takes_neither_sets_nor_resyncs() {
    let rig = Rig::new();
    let shadow = rig.captured();
    let set = rig.prepared();
    let query = LunQuery { serial: Some(identity_of(rig.lun.id).serial), designators: Vec::new() };
    let can_shadow = || {
        let found = rig.host.resolve(std::slice::from_ref(&query)).expect("it answers");
        found[0].as_ref().expect("the LUN is found").can_shadow
    };
    assert!(can_shadow());
    rig.relay.set(Condition::Full);
    assert!(!can_shadow());
    assert_eq!(code(rig.host.prepare(ShadowSetId(Uuid::new_v4()), &[rig.lun.id])), Some(ProblemCode::OutOfSpace));
    assert_eq!(code(rig.host.wait_prepared(set, TOO_LONG)), Some(ProblemCode::OutOfSpace));
    let resync = ResyncId(Uuid::new_v4());
    assert_eq!(code(rig.host.start_resync(resync, &rig.pairs(shadow))), Some(ProblemCode::OutOfSpace));
    rig.relay.set(Condition::Sound);
    assert_eq!(rig.host.wait_prepared(set, TOO_LONG), Ok(Preparation::Ready));
    assert!(can_shadow());
}

#[test]
fn a_preparation_comes_to_its_end_with_the_trouble_or_an_abort() {
    let rig = Rig::new();
    rig.relay.set(Condition::Preparing);
    let (set, other) = (rig.prepared(), rig.prepared());
    assert_eq!(rig.host.wait_prepared(set, WATCHED), Ok(Preparation::Running));
    std::thread::scope(|scope| {
        let aborted = scope.spawn(|| rig.host.wait_prepared(other, TOO_LONG));
        rig.host.abort(other).expect("it is aborted");
        assert_eq!(code(aborted.join().expect("it answers")), Some(ProblemCode::SetAborted));
        let waiter = scope.spawn(|| rig.host.wait_prepared(set, TOO_LONG));
        rig.relay.set(Condition::Sound);
        assert_eq!(waiter.join().expect("it answers"), Ok(Preparation::Ready));
    });
}

#[test]
fn a_late_answer_is_that_of_a_commit_that_was_made() {
    let rig = Rig::new();
    let set = rig.prepared();
    let mut channel = rig.host.open_commit_channel(set).expect("the set can be armed");
    channel.arm(WATCHED).expect("it is armed");
    rig.relay.set(Condition::CommitTakes(TOO_LONG));
    let answer = channel.commit();
    assert!(matches!(answer, Err(ArrayError::Unreachable { .. })), "{answer:?}");
    let state = rig.array.catalog().set_state(rig.array.host(), set);
    assert_eq!(state.expect("the array has it"), SetState::Committed);
}

#[test]
fn a_resync_begins_when_the_trouble_is_over_unless_it_was_cancelled() {
    let rig = Rig::new();
    let shadow = rig.captured();
    rig.relay.set(Condition::Resyncing);
    let (kept, cancelled) = (ResyncId(Uuid::new_v4()), ResyncId(Uuid::new_v4()));
    for resync in [kept, cancelled] {
        assert_eq!(rig.host.start_resync(resync, &rig.pairs(shadow)), Ok(ResyncState::Running));
        assert_eq!(rig.host.resync_state(resync, WATCHED), Ok(ResyncState::Running));
    }
    std::thread::scope(|scope| {
        let waiters = [cancelled, kept].map(|resync| {
            let host = &rig.host;
            scope.spawn(move || host.resync_state(resync, TOO_LONG))
        });
        assert_eq!(rig.host.cancel_resync(cancelled), Ok(ResyncState::Cancelled));
        rig.relay.set(Condition::Sound);
        let ended = waiters.map(|waiter| waiter.join().expect("it answers"));
        assert_eq!(ended[0], Ok(ResyncState::Cancelled));
        assert!(matches!(ended[1], Ok(ResyncState::Finished | ResyncState::Running)), "{ended:?}");
    });
    assert_eq!(rig.host.resync_state(kept, TOO_LONG), Ok(ResyncState::Finished));
    assert_eq!(rig.host.cancel_resync(kept), Ok(ResyncState::Finished), "the array has done it");
}

#[test]
fn a_deletion_waits_for_the_end_of_the_trouble() {
    let rig = Rig::new();
    let shadow = rig.captured();
    rig.relay.set(Condition::Deleting);
    std::thread::scope(|scope| {
        let deleting = scope.spawn(|| rig.host.release(shadow));
        // Another request passes meanwhile, and finds what there was.
        rig.host.who_am_i().expect("it answers");
        assert_eq!(rig.shadow_count(), 1);
        rig.relay.set(Condition::Sound);
        assert_eq!(deleting.join().expect("it answers"), Ok(Outcome::Done));
    });
    assert_eq!(rig.shadow_count(), 0);
}

#[test]
fn an_array_that_has_gone_is_not_reached() {
    let Rig { host, server, runtime, relay: _relay, .. } = Rig::new();
    host.who_am_i().expect("it answers");
    runtime.block_on(server.shutdown());
    let answer = host.who_am_i();
    assert!(matches!(answer, Err(ArrayError::Unreachable { .. })), "{answer:?}");
}
