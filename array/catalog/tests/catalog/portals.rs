//! What an administrator decides about portal groups.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use lunshadow_control::{Outcome, PortalGroupRecord, PortalGroupState, ProblemCode};
use lunshadow_lun::LunMap;

use crate::setup::{TestArray, code};

fn group(tag: u16) -> NonZeroU16 {
    NonZeroU16::new(tag).expect("not 0")
}

fn listen(array: &TestArray, tags: &[u16]) {
    let portal = |tag: &u16| (group(*tag), SocketAddr::from(([192, 0, 2, 1], 3260 + tag)));
    array.catalog.note_portals(tags.iter().map(portal));
}

fn states(array: &TestArray) -> Vec<(u16, PortalGroupState)> {
    array.catalog.portal_groups().into_iter().map(|record| (record.group, record.state)).collect()
}

#[tokio::test]
async fn a_decision_holds_at_once_and_after_a_restart() {
    let array = TestArray::new().await;
    listen(&array, &[1, 2]);
    let served = array.catalog.portal_groups();
    let record = |group, portal: &str| PortalGroupRecord {
        group,
        portals: vec![portal.to_owned()],
        state: PortalGroupState::Optimized,
    };
    assert_eq!(served, [record(1, "192.0.2.1:3261"), record(2, "192.0.2.1:3262")]);
    let seen = LunMap::portal_groups(&*array.catalog);
    for outcome in [Outcome::Done, Outcome::AlreadySo] {
        let set = array.catalog.set_portal_group(group(2), PortalGroupState::Standby).await;
        assert_eq!(set.expect("another one is left"), outcome);
    }
    assert_eq!(seen.of(group(2)), PortalGroupState::Standby);
    assert_eq!(states(&array), [(1, PortalGroupState::Optimized), (2, PortalGroupState::Standby)]);
    let array = array.reopen().await;
    assert_eq!(states(&array), [(2, PortalGroupState::Standby)], "nobody listens yet");
    listen(&array, &[1, 3]);
    assert_eq!(array.catalog.portal_groups()[1].portals, Vec::<String>::new());
    // What is of an earlier run can be taken back, and is gone then.
    let set = array.catalog.set_portal_group(group(2), PortalGroupState::Optimized).await;
    assert_eq!(set.expect("it is there"), Outcome::Done);
    assert_eq!(states(&array), [(1, PortalGroupState::Optimized), (3, PortalGroupState::Optimized)]);
    let array = array.reopen().await;
    assert_eq!(states(&array), []);
}

#[tokio::test]
async fn hosts_are_left_a_way_to_their_luns() {
    let array = TestArray::new().await;
    listen(&array, &[1, 2]);
    let set = |tag, state| array.catalog.set_portal_group(group(tag), state);
    assert_eq!(code(set(3, PortalGroupState::Standby).await), ProblemCode::InvalidRequest);
    set(1, PortalGroupState::Unavailable).await.expect("the second one is left");
    for state in [PortalGroupState::Standby, PortalGroupState::Unavailable] {
        assert_eq!(code(set(2, state).await), ProblemCode::WrongState, "{state}");
    }
    set(2, PortalGroupState::NonOptimized).await.expect("it is still a way");
    assert_eq!(code(set(2, PortalGroupState::Standby).await), ProblemCode::WrongState);
    set(1, PortalGroupState::Optimized).await.expect("that can only help");
    set(2, PortalGroupState::Standby).await.expect("the first one is left");
    assert_eq!(states(&array), [(1, PortalGroupState::Optimized), (2, PortalGroupState::Standby)]);
}
