//! Several portals, of both families of addresses.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lunshadow_iscsi::discovery::{SEND_TARGETS, parse_targets};
use lunshadow_iscsi::login::{InitiatorLogin, InitiatorLoginConfig, InitiatorStep};
use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_iscsi::pdu::{DigestConfig, LoginRequest, Pdu, PduDecoder};
use lunshadow_iscsi::text::TextKeys;
use lunshadow_lun::LunHandle;
use lunshadow_scsi::vpd::{DeviceIdentification, page};
use lunshadow_scsi::{
    AccessState, AdditionalSense, Command, Sense, SenseKey, SetTargetPortGroup, Status, TargetPortGroup,
};
use lunshadow_target::{BindError, Limits, Target, TargetConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::front_end::ask;
use crate::memory::{Map, MemoryLun};
use crate::peer::{Array, LUN_BLOCKS, Peer, TARGET_NAME, initiator, login, read};

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

async fn target(listen: Vec<SocketAddr>) -> Result<(Target, Arc<Map>), BindError> {
    let map = Arc::new(Map::default());
    map.show(&initiator("one"), [(1, LunHandle::new(MemoryLun::new(1, LUN_BLOCKS)))]);
    let listen = listen.into_iter().map(Into::into).collect();
    let config = TargetConfig { listen, name: TARGET_NAME.to_owned(), alias: None, limits: Limits::default() };
    Ok((Target::bind(config, map.clone()).await?, map))
}

fn discovery() -> InitiatorLoginConfig {
    InitiatorLoginConfig { target_name: None, ..login("one", Preferences::default()) }
}

// RFC 7143 §7.4.2.1 MUST: a discovery session ends an older one with the same name, ISID and address, and no other.
// RFC 7143 §7.4.2.2 MUST: a discovery session with a target ends an older one with the same name, ISID and portal group.
#[tokio::test]
async fn a_discovery_session_ends_the_one_that_it_repeats() {
    let (target, _map) = target(addresses(&["127.0.0.1:0", "[::1]:0"])).await.expect("free ports");
    let portals: Vec<_> = target.portals().iter().map(|portal| portal.address).collect();
    let log_in = async |address, config| Peer::log_in(address, config).await.expect("a login");
    let all = [(SEND_TARGETS, "All")];

    let mut old = log_in(portals[0], discovery()).await;
    let mut elsewhere = log_in(portals[1], discovery()).await;
    // With a target, through any portal of its group.
    let with_target = named_discovery(portals[0]).await;
    let with_target_too = named_discovery(portals[1]).await;
    assert!(is_closed(with_target).await);
    let mut normal = log_in(portals[0], login("one", Preferences::default())).await;
    assert!(is_closed(with_target_too).await, "by the session that it was about");
    let mut new = log_in(portals[0], discovery()).await;
    assert_eq!(old.receive().await, None);
    for peer in [&mut new, &mut elsewhere] {
        assert!(ask(peer, &all).await.is_ok());
    }
    assert_eq!(normal.ping(b"").await, "");
}

#[tokio::test]
async fn every_portal_leads_to_the_target_and_tells_of_all() {
    let (target, map) = target(addresses(&["127.0.0.1:0", "[::1]:0", "127.0.0.2:0"])).await.expect("free ports");
    let portals: Vec<_> = target.portals().iter().map(|portal| portal.address).collect();
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

/// A discovery session with the target.
async fn named_discovery(address: SocketAddr) -> TcpStream {
    let (mut login, mut request) = InitiatorLogin::start(discovery());
    let text = [&request.data[..], format!("TargetName={TARGET_NAME}\0").as_bytes()].concat();
    request = Pdu::new(*request.bhs.view::<LoginRequest>().expect("a login request"), text.into());
    let mut stream = TcpStream::connect(address).await.expect("the target listens");
    let (mut buffer, decoder) = (BytesMut::new(), PduDecoder::new(8192));
    loop {
        stream.write_all_buf(&mut request.encode(DigestConfig::default())).await.expect("it is open");
        match login.handle(&answer(&mut stream, &mut buffer, &decoder).await).expect("a login") {
            InitiatorStep::Send(next) => request = next,
            InitiatorStep::Complete(_) => return stream,
        }
    }
}

async fn is_closed(mut stream: TcpStream) -> bool {
    stream.read(&mut [0]).await.unwrap_or(0) == 0
}

async fn answer(stream: &mut TcpStream, buffer: &mut BytesMut, decoder: &PduDecoder) -> Pdu {
    loop {
        if let Some(pdu) = decoder.decode(buffer).expect("a PDU") {
            return pdu;
        }
        assert_ne!(stream.read_buf(buffer).await.expect("it is open"), 0, "an answer");
    }
}

/// The key in the first answer to a login.
async fn group_told_at(address: SocketAddr) -> String {
    let (_, request) = InitiatorLogin::start(login("two", Preferences::default()));
    let mut stream = TcpStream::connect(address).await.expect("the target listens");
    stream.write_all_buf(&mut request.encode(DigestConfig::default())).await.expect("it is open");
    let response = answer(&mut stream, &mut BytesMut::new(), &PduDecoder::new(8192)).await;
    let keys = TextKeys::parse(&response.data).expect("text");
    keys.get("TargetPortalGroupTag").expect("the key").to_owned()
}

#[tokio::test]
async fn a_portal_group_is_a_port_of_its_own() {
    let array = Array::on(&["127.0.0.1:0", "127.0.0.1:0,7", "127.0.0.2:0,7"], Limits::default()).await;
    let [first, second, third] = array.target.portals() else { panic!("three portals") };
    let mut peer = Peer::log_in(third.address, discovery()).await.expect("a login");
    let found = parse_targets(&ask(&mut peer, &[(SEND_TARGETS, "All")]).await.expect("an answer"));
    let told: Vec<_> = found[0].portals.iter().map(|portal| (portal.address.clone(), portal.group_tag)).collect();
    let expected = [(third, 7), (first, 1), (second, 7)].map(|(portal, tag)| (portal.address.to_string(), tag));
    assert_eq!(told, expected);
    drop(peer);

    for (portal, tag) in [(first, "1"), (second, "7"), (third, "7")] {
        assert_eq!(group_told_at(portal.address).await, tag);
    }

    // The same ISID makes a session with each group, and takes the place of the one with the same.
    let log_in = async |address| {
        let mut peer = Peer::log_in(address, login("one", Preferences::default())).await.expect("a login");
        assert_eq!(peer.run(Command::TestUnitReady, Bytes::new(), 0).await.status, Status::CHECK_CONDITION);
        peer
    };
    let mut one = log_in(first.address).await;
    let mut replaced = log_in(second.address).await;
    let mut other = log_in(third.address).await;
    assert!(replaced.receive().await.is_none(), "its session has been reinstated through another portal of its group");
    let mut names = Vec::new();
    for peer in [&mut one, &mut other] {
        let inquiry = Command::Inquiry { page: Some(page::DEVICE_IDENTIFICATION), allocation_len: 255 };
        let page = peer.run(inquiry, Bytes::new(), 255).await.data;
        let designators = DeviceIdentification::parse(&page).expect("the page").designators;
        let name = designators.into_iter().next_back().expect("the port's name comes last");
        names.push(String::from_utf8(name.bytes).expect("UTF-8"));
    }
    assert_eq!(names, [format!("{TARGET_NAME},t,0x0001"), format!("{TARGET_NAME},t,0x0007")]);
}

#[tokio::test]
async fn a_port_on_standby_sends_initiators_to_the_other() {
    let array = Array::on(&["127.0.0.1:0", "127.0.0.1:0,2"], Limits::default()).await;
    let mut peers = Vec::new();
    for portal in array.target.portals() {
        let mut peer = Peer::log_in(portal.address, login("one", Preferences::default())).await.expect("a login");
        assert_eq!(peer.run(Command::TestUnitReady, Bytes::new(), 0).await.status, Status::CHECK_CONDITION);
        peers.push(peer);
    }
    let [one, two] = &mut peers[..] else { panic!("two portals") };
    let list = SetTargetPortGroup::list_to_bytes(&[SetTargetPortGroup { group: 2, state: AccessState::STANDBY }]);
    let set = one.run(Command::SetTargetPortGroups { parameter_len: 8 }, list, 0).await;
    assert_eq!((set.status, set.sense), (Status::GOOD, None));
    for (key, code) in [
        (SenseKey::UNIT_ATTENTION, AdditionalSense::ASYMMETRIC_ACCESS_STATE_CHANGED),
        (SenseKey::NOT_READY, AdditionalSense::TARGET_PORT_IN_STANDBY),
    ] {
        assert_eq!(two.run(read(0, 1), Bytes::new(), 512).await.sense, Some(Sense::new(key, code)));
    }
    assert_eq!(one.run(read(0, 1), Bytes::new(), 512).await.status, Status::GOOD);
    let report = Command::ReportTargetPortGroups { extended: false, allocation_len: 255 };
    let groups = two.run(report, Bytes::new(), 255).await.data;
    let groups = TargetPortGroup::parse_list(&groups, false).expect("groups");
    let states: Vec<_> = groups.iter().map(|group| (group.group, group.state)).collect();
    assert_eq!(states, [(1, AccessState::ACTIVE_OPTIMIZED), (2, AccessState::STANDBY)]);
}
