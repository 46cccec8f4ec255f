//! Several portals, of both families of addresses.

use std::net::SocketAddr;
use std::sync::Arc;

use lunshadow_iscsi::discovery::{SEND_TARGETS, parse_targets};
use lunshadow_iscsi::login::InitiatorLoginConfig;
use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_lun::LunHandle;
use lunshadow_target::{BindError, Limits, Target, TargetConfig};

use crate::front_end::ask;
use crate::memory::{Map, MemoryLun};
use crate::peer::{LUN_BLOCKS, Peer, TARGET_NAME, initiator, login};

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

async fn target(listen: Vec<SocketAddr>) -> Result<(Target, Arc<Map>), BindError> {
    let map = Arc::new(Map::default());
    map.show(&initiator("one"), [(1, LunHandle::new(MemoryLun::new(1, LUN_BLOCKS)))]);
    let config = TargetConfig { listen, name: TARGET_NAME.to_owned(), alias: None, limits: Limits::default() };
    Ok((Target::bind(config, map.clone()).await?, map))
}

fn discovery() -> InitiatorLoginConfig {
    InitiatorLoginConfig { target_name: None, ..login("one", Preferences::default()) }
}

#[tokio::test]
async fn every_portal_leads_to_the_target_and_tells_of_all() {
    let (target, map) = target(addresses(&["127.0.0.1:0", "[::1]:0", "127.0.0.2:0"])).await.expect("free ports");
    let portals = target.portals().to_vec();
    assert!(portals.iter().all(|portal| portal.port() != 0));
    for reached in &portals {
        let mut peer = Peer::log_in(*reached, discovery()).await.expect("a login");
        let found = parse_targets(&ask(&mut peer, &[(SEND_TARGETS, "All")]).await.expect("an answer"));
        assert_eq!((found.len(), found[0].name.as_str()), (1, TARGET_NAME));
        let mut told: Vec<SocketAddr> =
            found[0].portals.iter().map(|portal| portal.address.parse().expect("an address and a port")).collect();
        assert_eq!(told[0], *reached, "the one that it came through is first");
        told.sort_unstable();
        let mut all = portals.clone();
        all.sort_unstable();
        assert_eq!(told, all);
        assert!(
            found[0].portals.iter().all(|portal| portal.group_tag == 1),
            "one session can come through any of them"
        );
        let mut normal = Peer::log_in(*reached, login("one", Preferences::default())).await.expect("a login");
        assert_eq!(normal.ping(b"here").await, "here");
    }
    // Whom an administrator has removed finds nothing any more.
    let mut peer = Peer::log_in(portals[0], discovery()).await.expect("a login");
    map.forget(&initiator("one"));
    let found = ask(&mut peer, &[(SEND_TARGETS, "All")]).await.expect("an answer");
    assert!(parse_targets(&found).is_empty());
}

#[tokio::test]
async fn both_wildcard_addresses_can_be_portals() {
    let (first, _) = target(addresses(&["0.0.0.0:0"])).await.expect("a free port");
    let port = first.local_addr().port();
    let same_port = SocketAddr::new("::".parse().expect("an address"), port);
    // Another target of this machine may have taken the port of the other family; then there is nothing to see.
    let Ok((second, _)) = target(vec![same_port]).await else { return };
    let reached: SocketAddr = SocketAddr::new("::1".parse().expect("an address"), port);
    let mut peer = Peer::log_in(reached, discovery()).await.expect("a login");
    let found = parse_targets(&ask(&mut peer, &[(SEND_TARGETS, "All")]).await.expect("an answer"));
    // Nobody can go to a wildcard address: what is told is the one that was reached.
    assert_eq!(found[0].portals.len(), 1);
    assert_eq!(found[0].portals[0].address, reached.to_string());
    drop(second);
}

#[tokio::test]
async fn a_target_needs_a_portal() {
    assert!(matches!(target(Vec::new()).await, Err(BindError::NoPortal)));
}
