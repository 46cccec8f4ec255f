//! Logins: both ends against each other, and the target against initiators that break the rules.

use std::num::NonZeroU16;

use bytes::Bytes;
use lunshadow_iscsi::login::{
    Admission, Authentication, InitiatorLogin, InitiatorLoginConfig, InitiatorStep, LoginError, LoginPath, LoginStatus,
    NegotiatedSession, SessionKind, TargetLogin, TargetLoginConfig, TargetStep,
};
use lunshadow_iscsi::negotiation::{Digest, NegotiationError, Preferences, SessionParameters};
use lunshadow_iscsi::pdu::{CONTINUE, FINAL, Isid, LoginRequest, LoginResponse, NopOut, Pdu, Stage, Tag};
use lunshadow_iscsi::serial::SerialNumber;
use lunshadow_iscsi::text::TextKeys;
use proptest::prelude::*;

const INITIATOR: &str = "iqn.2026-11.org.example:host";
const TARGET: &str = "iqn.2026-11.org.example:array";

fn target_config(preferences: Preferences) -> TargetLoginConfig {
    TargetLoginConfig { preferences, command_window: 64, first_stat_sn: SerialNumber(u32::MAX) }
}

fn initiator_config(preferences: Preferences) -> InitiatorLoginConfig {
    InitiatorLoginConfig {
        initiator_name: INITIATOR.to_owned(),
        initiator_alias: Some("simulated host".to_owned()),
        target_name: Some(TARGET.to_owned()),
        isid: Isid::random_type([1, 2, 3], 4),
        path: LoginPath::SecurityThenOperational,
        chap: None,
        preferences,
        first_cmd_sn: SerialNumber(u32::MAX),
    }
}

fn admission() -> Admission {
    Admission {
        tsih: NonZeroU16::new(7).expect("not zero"),
        portal_group_tag: 1,
        target_alias: Some("an array".to_owned()),
        authentication: Authentication::None,
    }
}

/// Admits whoever asks.
fn answer(target: &mut TargetLogin, request: &Pdu) -> TargetStep {
    match target.handle(request).expect("a login request") {
        TargetStep::Admit(_) => target.admit(admission()),
        step => step,
    }
}

/// Runs a login to its end at both ends.
fn log_in(initiator: InitiatorLoginConfig, target: TargetLoginConfig) -> (NegotiatedSession, NegotiatedSession) {
    let mut target = TargetLogin::new(target);
    let (mut initiator, mut request) = InitiatorLogin::start(initiator);
    loop {
        let (response, at_target) = match answer(&mut target, &request) {
            TargetStep::Send(response) => (response, None),
            TargetStep::Complete { response, session } => {
                let flags = |pdu: &Pdu| pdu.bhs.flags & (FINAL | 3);
                assert_eq!((flags(&request), flags(&response)), (FINAL | 3, FINAL | 3), "both name the last stage");
                (response, Some(session))
            }
            other => unreachable!("the login should go on or be complete: {other:?}"),
        };
        assert!(response.data.len() <= 8192);
        let header = response.bhs.view::<LoginResponse>().expect("a login response");
        assert_eq!(header.version_active, 0, "there is one version");
        match (initiator.handle(&response).expect("a sound response"), at_target) {
            (InitiatorStep::Send(next), None) => request = next,
            (InitiatorStep::Complete(at_initiator), Some(at_target)) => return (*at_initiator, *at_target),
            (step, at_target) => unreachable!("the ends part: {step:?}, {at_target:?}"),
        }
    }
}

// RFC 7143 §6.3 MUST: the last request and the last response of a login name the full feature phase as the next stage.
// RFC 7143 §11.13.2 MUST: all Login Responses of a login have the same Version-active.
// RFC 7143 §11.13.3 MUST: the last Login Response of a new session has a TSIH that is not 0, and no other has it.
// RFC 7143 §11.12.8 MUST: ExpCmdSN begins with the CmdSN of the first Login Request.
#[test]
fn both_ends_agree_on_a_plain_session() {
    let (at_initiator, at_target) =
        log_in(initiator_config(Preferences::default()), target_config(Preferences::default()));
    assert_eq!(at_initiator, at_target);
    let NegotiatedSession { identity, parameters, first_cmd_sn, max_cmd_sn, next_stat_sn } = at_target;
    assert_eq!((identity.initiator_name.as_str(), identity.target_name.as_deref()), (INITIATOR, Some(TARGET)));
    assert_eq!((identity.tsih, identity.kind), (7, SessionKind::Normal));
    assert_eq!(identity.initiator_alias.as_deref(), Some("simulated host"));
    assert_eq!(first_cmd_sn, SerialNumber(u32::MAX));
    assert_eq!(max_cmd_sn, SerialNumber(62), "64 commands, over the wrap");
    assert_eq!(next_stat_sn, SerialNumber(1), "two responses, over the wrap");
    let expected = SessionParameters {
        initial_r2t: false,
        immediate_data: true,
        initiator_max_recv_data_segment_length: 262_144,
        target_max_recv_data_segment_length: 262_144,
        max_burst_length: 1 << 20,
        first_burst_length: 262_144,
        default_time2wait: 2,
        default_time2retain: 0,
        max_outstanding_r2t: 8,
        ..SessionParameters::default()
    };
    assert_eq!(parameters, expected);
}

#[test]
fn a_login_without_operational_stage_keeps_the_defaults() {
    let config = InitiatorLoginConfig { path: LoginPath::SecurityOnly, ..initiator_config(Preferences::default()) };
    let (at_initiator, at_target) = log_in(config, target_config(Preferences::default()));
    assert_eq!(at_initiator, at_target);
    assert_eq!(at_target.parameters, SessionParameters::default());
}

// RFC 7143 §6.2.1 MUST: a list of values is answered with the first one that this end supports.
#[test]
fn digests_are_chosen_in_the_order_of_the_offer() {
    let check = |offer: &[Digest], supported: &[Digest], expected: Digest| {
        let own = Preferences { header_digests: offer.to_vec(), ..Preferences::default() };
        let theirs = Preferences { header_digests: supported.to_vec(), ..Preferences::default() };
        let (at_initiator, at_target) = log_in(initiator_config(own), target_config(theirs));
        assert_eq!(at_initiator.parameters.header_digest, expected);
        assert_eq!(at_target.parameters.header_digest, expected);
        assert_eq!(at_target.parameters.digests().header, expected == Digest::Crc32c);
    };
    check(&[Digest::Crc32c, Digest::None], &[Digest::None, Digest::Crc32c], Digest::Crc32c);
    check(&[Digest::None, Digest::Crc32c], &[Digest::Crc32c, Digest::None], Digest::None);
    check(&[Digest::Crc32c, Digest::None], &[Digest::None], Digest::None);
    check(&[Digest::Crc32c], &[Digest::None], Digest::None);
}

/// A request as an initiator with its own ideas writes it.
#[derive(Clone)]
struct Raw {
    header: LoginRequest,
    text: Vec<u8>,
}

/// A request from `stage` to `next` (the same stage: no transit) with `pairs`, each ended by a zero byte.
fn raw(stage: Stage, next: Stage, pairs: &[&str]) -> Raw {
    let transit = if stage == next { 0 } else { FINAL | next.0 };
    let mut header = LoginRequest {
        flags: transit | stage.0 << 2,
        isid: Isid([0x80, 1, 2, 3, 0, 4]),
        itt: Tag::new(9),
        cmd_sn: 5.into(),
        ..LoginRequest::default()
    };
    header.operation = header.operation.immediate();
    Raw { header, text: pairs.iter().flat_map(|pair| [pair.as_bytes(), b"\0"]).flatten().copied().collect() }
}

impl Raw {
    fn with(mut self, change: impl FnOnce(&mut LoginRequest)) -> Self {
        change(&mut self.header);
        self
    }

    fn pdu(&self) -> Pdu {
        Pdu::new(self.header, Bytes::from(self.text.clone()))
    }
}

const WHO: [&str; 2] = ["InitiatorName=iqn.2026-11.org.example:host", "TargetName=iqn.2026-11.org.example:array"];

fn first_and(more: &[&'static str]) -> Vec<&'static str> {
    WHO.into_iter().chain(more.iter().copied()).collect()
}

/// Sends `requests` one after the other; answers the last step.
fn last_step(requests: &[Raw]) -> TargetStep {
    let mut target = TargetLogin::new(target_config(Preferences::default()));
    let mut steps = requests.iter().map(|request| answer(&mut target, &request.pdu()));
    let first = steps.next().expect("at least one request");
    steps.fold(first, |before, step| {
        assert!(matches!(before, TargetStep::Send(_)), "{before:?}");
        step
    })
}

fn sent_keys(step: &TargetStep) -> TextKeys {
    match step {
        TargetStep::Send(response) | TargetStep::Complete { response, .. } => {
            TextKeys::parse(&response.data).expect("sound text")
        }
        other => unreachable!("the login should go on or be complete: {other:?}"),
    }
}

// RFC 7143 §11.13.3 MUST: the last Login Response of a new session has a TSIH that is not 0, and no other has it.
// RFC 7143 §6.3.1 MUST: the first Login Response after a whole text has the TargetPortalGroupTag, in sessions of both kinds.
// RFC 7143 §6.3 MUST NOT: a Login Response goes to a later stage than the request asks for.
// RFC 7143 §11.12.8 MUST: ExpCmdSN begins with the CmdSN of the first Login Request.
// RFC 7143 §11.13.6 MUST NOT: a Login Response has the T bit if its request has not.
#[test]
fn the_first_response_names_the_portal_group_and_the_method() {
    let step = last_step(&[raw(Stage::SECURITY, Stage::OPERATIONAL, &first_and(&["AuthMethod=CHAP,None"]))]);
    let keys = sent_keys(&step);
    let expected = [("TargetPortalGroupTag", "1"), ("TargetAlias", "an array"), ("AuthMethod", "None")];
    assert_eq!(keys.iter().collect::<Vec<_>>(), expected);
    let TargetStep::Send(response) = step else { panic!("the login goes on") };
    let header = response.bhs.view::<LoginResponse>().expect("a login response");
    assert_eq!(header.flags, FINAL | 1, "from security to operational");
    assert_eq!((header.tsih.get(), header.exp_cmd_sn.get(), header.max_cmd_sn.get()), (0, 5, 68));
    assert_eq!((header.itt, header.status), (Tag::new(9), LoginStatus::SUCCESS));
    let stays = raw(Stage::SECURITY, Stage::OPERATIONAL, &first_and(&["AuthMethod=None"])).with(|h| h.flags &= !FINAL);
    let TargetStep::Send(response) = last_step(&[stays]) else { panic!("the login goes on") };
    assert_eq!(response.bhs.flags & FINAL, 0, "nobody asked for the next stage");
}

// RFC 7143 §6.2.2 MUST: a simple value is answered with the value that the key's rule makes of both.
// RFC 7143 §6.2 MUST: a key that is not known is answered with NotUnderstood.
// RFC 7143 §6.2.1 MUST: a value of a list that is not known is passed over.
// RFC 7143 §6.2.2 MUST: an offer that is not admissible is answered with Reject.
// RFC 7143 §13.24 MUST: iSCSIProtocolLevel is answered with 1.
// RFC 7143 §13.25 MUST NOT: an obsolete key is answered with NotUnderstood.
// RFC 7143 §13.25 MUST: IFMarkInt and OFMarkInt are answered with Reject.
// RFC 7143 §13.26.2 MUST NOT: what a session does depends on X#NodeArchitecture.
// RFC 7143 §13.14 MUST NOT: FirstBurstLength is more than MaxBurstLength.
// RFC 7143 §7.4.1 MUST: an ErrorRecoveryLevel is answered with 0, in a discovery session too.
#[test]
fn each_offer_gets_the_answer_that_the_rfc_demands() {
    let check = |offers: &[&'static str], expected: &[(&str, &str)]| {
        let step = last_step(&[raw(Stage::OPERATIONAL, Stage::FULL_FEATURE, &first_and(offers))]);
        let keys = sent_keys(&step);
        for &(key, value) in expected {
            assert_eq!(keys.get(key), Some(value), "{key} in {keys:?}");
        }
        // Apart from the answers: portal group, alias, and the target's own length.
        assert_eq!(keys.iter().count(), expected.len() + 3, "{keys:?}");
    };
    check(&["MaxConnections=8", "ErrorRecoveryLevel=2"], &[("MaxConnections", "1"), ("ErrorRecoveryLevel", "0")]);
    check(&["InitialR2T=Yes", "ImmediateData=No"], &[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    check(&["InitialR2T=No", "ImmediateData=Yes"], &[("InitialR2T", "No"), ("ImmediateData", "Yes")]);
    check(
        &["DataPDUInOrder=No", "DataSequenceInOrder=No"],
        &[("DataPDUInOrder", "Yes"), ("DataSequenceInOrder", "Yes")],
    );
    check(
        &["MaxBurstLength=0x10000", "FirstBurstLength=16777215"],
        &[("MaxBurstLength", "65536"), ("FirstBurstLength", "65536")],
    );
    check(
        &["FirstBurstLength=16777215", "MaxBurstLength=512"],
        &[("MaxBurstLength", "512"), ("FirstBurstLength", "512")],
    );
    check(&["DefaultTime2Wait=0", "DefaultTime2Retain=0"], &[("DefaultTime2Wait", "2"), ("DefaultTime2Retain", "0")]);
    check(&["MaxOutstandingR2T=65535"], &[("MaxOutstandingR2T", "8")]);
    check(&["HeaderDigest=CRC32C", "DataDigest=MD5"], &[("HeaderDigest", "CRC32C"), ("DataDigest", "Reject")]);
    check(&["HeaderDigest=Y-org.example.sum,CRC32C,None"], &[("HeaderDigest", "CRC32C")]);
    check(&["MaxRecvDataSegmentLength=512", "X#NodeArchitecture=an-os/1,a-cpu"], &[]);
    check(&["iSCSIProtocolLevel=1"], &[("iSCSIProtocolLevel", "1")]);
    check(&["iSCSIProtocolLevel=2"], &[("iSCSIProtocolLevel", "1")]);
    check(&["iSCSIProtocolLevel=32"], &[("iSCSIProtocolLevel", "Reject")]);
    check(
        &["MaxBurstLength=511", "MaxOutstandingR2T=0"],
        &[("MaxBurstLength", "Reject"), ("MaxOutstandingR2T", "Reject")],
    );
    check(&["InitialR2T=yes", "DefaultTime2Wait=4000"], &[("InitialR2T", "Reject"), ("DefaultTime2Wait", "Reject")]);
    check(
        &["IFMarker=No", "OFMarker=Yes", "IFMarkInt=1~2", "OFMarkInt=2048"],
        &[("IFMarker", "No"), ("OFMarker", "Reject"), ("IFMarkInt", "Reject"), ("OFMarkInt", "Reject")],
    );
    check(&["TaskReporting=FastAbort,RFC3720"], &[("TaskReporting", "RFC3720")]);
    check(
        &["X-org.example.key=1", "Another=2"],
        &[("X-org.example.key", "NotUnderstood"), ("Another", "NotUnderstood")],
    );
}

// RFC 7143 §6.3.1 MUST: the first Login Response after a whole text has the TargetPortalGroupTag, in sessions of both kinds.
// RFC 7143 §13.21 MUST: ErrorRecoveryLevel is 0 in a discovery session.
// RFC 7143 §7.4.1 MUST: an ErrorRecoveryLevel is answered with 0, in a discovery session too.
#[test]
fn data_keys_are_irrelevant_in_discovery() {
    let who = [
        "InitiatorName=iqn.2026-11.org.example:host",
        "SessionType=Discovery",
        "MaxBurstLength=65536",
        "HeaderDigest=None",
        "ErrorRecoveryLevel=2",
    ];
    let step = last_step(&[raw(Stage::OPERATIONAL, Stage::FULL_FEATURE, &who)]);
    let keys = sent_keys(&step);
    assert_eq!((keys.get("MaxBurstLength"), keys.get("HeaderDigest")), (Some("Irrelevant"), Some("None")));
    assert_eq!((keys.get("TargetPortalGroupTag"), keys.get("ErrorRecoveryLevel")), (Some("1"), Some("0")));
    let TargetStep::Complete { session, .. } = step else { panic!("the login is over") };
    assert_eq!((session.identity.kind, session.identity.target_name), (SessionKind::Discovery, None));
}

// RFC 7143 §7.12 MUST: a negotiation that fails during the login ends it with a status, and the connection with it.
#[test]
fn what_is_wrong_gets_its_status() {
    let check = |requests: &[Raw], expected: LoginStatus| match last_step(requests) {
        TargetStep::Refused { response, status } => {
            assert_eq!(status, expected);
            let header = response.bhs.view::<LoginResponse>().expect("a login response");
            assert_eq!((header.status, header.flags & (FINAL | CONTINUE), header.itt), (expected, 0, Tag::new(9)));
        }
        other => panic!("{expected:?} was expected: {other:?}"),
    };
    let operational = |pairs: &[&str]| raw(Stage::OPERATIONAL, Stage::FULL_FEATURE, pairs);
    check(&[operational(&WHO[1..])], LoginStatus::MISSING_PARAMETER);
    check(&[operational(&WHO[..1])], LoginStatus::MISSING_PARAMETER);
    check(&[operational(&first_and(&["SessionType=Other"]))], LoginStatus::SESSION_TYPE_NOT_SUPPORTED);
    check(&[operational(&["InitiatorName=host", WHO[1]])], LoginStatus::INITIATOR_ERROR);
    check(&[operational(&[WHO[0], "TargetName=array"])], LoginStatus::TARGET_NOT_FOUND);
    check(&[operational(&first_and(&["MaxBurstLength=512", "MaxBurstLength=512"]))], LoginStatus::INITIATOR_ERROR);
    check(&[operational(&first_and(&["AuthMethod=None"]))], LoginStatus::INITIATOR_ERROR);
    check(&[operational(&WHO).with(|h| h.version_min = 1)], LoginStatus::UNSUPPORTED_VERSION);
    check(&[operational(&WHO).with(|h| h.flags |= CONTINUE)], LoginStatus::INITIATOR_ERROR);
    let chap_only = raw(Stage::SECURITY, Stage::OPERATIONAL, &first_and(&["AuthMethod=CHAP"]));
    check(&[chap_only], LoginStatus::AUTHENTICATION_FAILURE);

    let security = raw(Stage::SECURITY, Stage::OPERATIONAL, &first_and(&["AuthMethod=None"]));
    let then = |second: Raw, expected| check(&[security.clone(), second], expected);
    then(raw(Stage::SECURITY, Stage::OPERATIONAL, &[]), LoginStatus::INITIATOR_ERROR);
    then(operational(&["InitiatorName=iqn.2026-11.org.example:other"]), LoginStatus::INITIATOR_ERROR);
    then(operational(&[]).with(|h| h.isid = Isid::default()), LoginStatus::INITIATOR_ERROR);
    then(operational(&[]).with(|h| h.cid = 3.into()), LoginStatus::INITIATOR_ERROR);
    then(operational(&[]).with(|h| h.flags = FINAL | 1 << 2 | 2), LoginStatus::INITIATOR_ERROR);
    let endless: Vec<_> = std::iter::once(security.clone())
        .chain((0..64).map(|_| raw(Stage::OPERATIONAL, Stage::OPERATIONAL, &[])))
        .collect();
    check(&endless, LoginStatus::INITIATOR_ERROR);
}

fn is_refused(step: &TargetStep) -> bool {
    matches!(step, TargetStep::Refused { status: LoginStatus::INITIATOR_ERROR, .. })
}

// RFC 7143 §6.2 MUST NOT: Reject, Irrelevant or NotUnderstood is offered, which ends the negotiation.
// RFC 7143 §6.2 MUST NOT: a key of the RFC is answered with NotUnderstood.
#[test]
fn what_an_initiator_never_says_in_a_login_ends_it() {
    for offer in [
        "MaxBurstLength=Reject",
        "HeaderDigest=Irrelevant",
        "X-org.example.key=NotUnderstood",
        "SendTargets=All",
        "TargetAlias=mine",
        "TargetAddress=192.0.2.1:3260,1",
        "TargetPortalGroupTag=1",
    ] {
        let step = last_step(&[raw(Stage::OPERATIONAL, Stage::FULL_FEATURE, &first_and(&[offer]))]);
        assert!(is_refused(&step), "{offer}: {step:?}");
    }
}

// RFC 7143 §6.3 MUST: a key that comes twice ends the login with the status initiator error.
#[test]
fn who_logs_in_may_be_said_late_but_once() {
    let then = |first: &[&'static str], later: &[&str]| {
        let security = raw(Stage::SECURITY, Stage::OPERATIONAL, &first_and(first));
        last_step(&[security, raw(Stage::OPERATIONAL, Stage::FULL_FEATURE, later)])
    };
    let step = then(&[], &["InitiatorAlias=late", "SessionType=Normal"]);
    let TargetStep::Complete { session, .. } = step else { panic!("{step:?}") };
    assert_eq!(session.identity.initiator_alias.as_deref(), Some("late"));
    for (first, later) in [
        ("InitiatorAlias=early", "InitiatorAlias=late"),
        ("SessionType=Normal", "SessionType=Normal"),
        ("AuthMethod=None", "SessionType=Discovery"),
        ("AuthMethod=None", WHO[0]),
        ("AuthMethod=None", WHO[1]),
        ("X#NodeArchitecture=one", "X#NodeArchitecture=two"),
    ] {
        let step = then(&[first], &[later]);
        assert!(is_refused(&step), "{first}, then {later}: {step:?}");
    }
}

// RFC 7143 §4.2.7.1 MUST: names of up to 223 bytes are taken.
#[test]
fn names_have_a_limit() {
    let with_name_of = |bytes: usize| {
        let name = format!("InitiatorName=iqn.2026-11.org.example:{:x<1$}", "", bytes - 24);
        last_step(&[raw(Stage::OPERATIONAL, Stage::FULL_FEATURE, &[&name, WHO[1]])])
    };
    let step = with_name_of(223);
    let TargetStep::Complete { session, .. } = step else { panic!("{step:?}") };
    assert_eq!(session.identity.initiator_name.len(), 223);
    assert!(is_refused(&with_name_of(224)));
}

// RFC 7143 §6.3 MUST: a key that comes twice ends the login with the status initiator error.
#[test]
fn a_key_is_not_negotiated_twice_in_one_login() {
    let first = raw(Stage::OPERATIONAL, Stage::OPERATIONAL, &first_and(&["MaxBurstLength=512"]));
    let again = raw(Stage::OPERATIONAL, Stage::FULL_FEATURE, &["MaxBurstLength=512"]);
    let step = last_step(&[first, again]);
    assert!(is_refused(&step), "{step:?}");
}

#[test]
fn the_caller_turns_initiators_away() {
    let mut target = TargetLogin::new(target_config(Preferences::default()));
    let request = raw(Stage::OPERATIONAL, Stage::FULL_FEATURE, &WHO).with(|h| h.tsih = 44.into()).pdu();
    let TargetStep::Admit(identity) = target.handle(&request).expect("a login request") else {
        panic!("the caller was not asked");
    };
    assert_eq!((identity.initiator_name.as_str(), identity.tsih), (INITIATOR, 44));
    let step = target.refuse(LoginStatus::AUTHORIZATION_FAILURE);
    let TargetStep::Refused { response, .. } = step else { panic!("{step:?}") };

    let (mut initiator, _) = InitiatorLogin::start(initiator_config(Preferences::default()));
    let refused = initiator.handle(&response).expect_err("a refusal");
    assert_eq!(refused, LoginError::Refused { status: LoginStatus::AUTHORIZATION_FAILURE });
    assert_eq!(refused.to_string(), "the target refused the login: authorization failure (0202h)");
}

// RFC 7143 §4.2.4 MUST: a connection that does not begin with a Login Request is closed at once.
// RFC 7143 §4.2.4 MUST: anything but a Login Request during the login is refused with the status for it, and the connection is closed.
#[test]
fn something_else_than_a_login_is_no_login() {
    let nop = Pdu::bare(NopOut::default());
    let mut target = TargetLogin::new(target_config(Preferences::default()));
    assert!(target.handle(&nop).is_err(), "nothing to answer to");
    let first = raw(Stage::SECURITY, Stage::OPERATIONAL, &WHO).pdu();
    assert!(matches!(answer(&mut target, &first), TargetStep::Send(_)));
    let step = target.handle(&nop).expect("there is a login to answer to");
    assert!(matches!(step, TargetStep::Refused { status: LoginStatus::INVALID_DURING_LOGIN, .. }), "{step:?}");
}

// RFC 7143 §6.2 MUST: a request with the C bit is answered without data.
// RFC 7143 §11.13.7 MUST: a Login Response with the C bit has no T bit.
#[test]
fn long_text_goes_on_in_further_pdus() {
    // Unknown keys come back longer than they went: 500 of them take more than one response.
    let unknown: Vec<_> = (0..500).map(|i| format!("X-{i}=1")).collect();
    let mut request = raw(Stage::OPERATIONAL, Stage::FULL_FEATURE, &first_and(&[]));
    request.text.extend(unknown.iter().flat_map(|pair| [pair.as_bytes(), b"\0"]).flatten());
    let mut target = TargetLogin::new(target_config(Preferences::default()));
    let (first_half, second_half) = request.text.split_at(1000);
    let part = |text: &[u8], flags: u8| Raw { text: text.to_vec(), ..request.clone() }.with(|h| h.flags = flags).pdu();

    let TargetStep::Send(acknowledged) = answer(&mut target, &part(first_half, CONTINUE | 1 << 2)) else {
        panic!("half a text was taken for a whole one");
    };
    assert!(acknowledged.data.is_empty() && acknowledged.bhs.flags & (FINAL | CONTINUE) == 0);
    let whole = part(second_half, FINAL | 1 << 2 | 3);
    let TargetStep::Send(response) = answer(&mut target, &whole) else { panic!("the answer does not fit one PDU") };
    assert_eq!((response.bhs.flags & (FINAL | CONTINUE), response.data.len()), (CONTINUE, 8192));
    let mut text = response.data.to_vec();
    let TargetStep::Complete { response, .. } = answer(&mut target, &part(&[], FINAL | 1 << 2 | 3)) else {
        panic!("the rest ends the login");
    };
    text.extend_from_slice(&response.data);
    let keys = TextKeys::parse(&text).expect("the portions join");
    assert_eq!(keys.iter().filter(|&(_, value)| value == "NotUnderstood").count(), 500);
}

/// Lets a target answer the operational stage with `pairs`; answers what the initiator makes of it.
fn initiator_takes(preferences: Preferences, pairs: &[(&str, &str)]) -> Result<InitiatorStep, LoginError> {
    let config = InitiatorLoginConfig { path: LoginPath::OperationalOnly, ..initiator_config(preferences) };
    let (mut initiator, request) = InitiatorLogin::start(config);
    let offered = TextKeys::parse(&request.data).expect("sound text");
    let known = ["InitiatorName", "InitiatorAlias", "TargetName", "SessionType", "MaxRecvDataSegmentLength"];
    let unmentioned =
        offered.iter().filter(|(key, _)| !known.contains(key) && pairs.iter().all(|(given, _)| given != key));
    let text: TextKeys = unmentioned.chain(pairs.iter().copied()).collect();
    let header = LoginResponse {
        flags: FINAL | 1 << 2 | 3,
        isid: Isid::random_type([1, 2, 3], 4),
        tsih: 1.into(),
        itt: Tag::new(0),
        ..LoginResponse::default()
    };
    initiator.handle(&Pdu::new(header, text.encode()))
}

#[test]
fn an_initiator_holds_the_target_to_its_offers() {
    let own = Preferences {
        initial_r2t: true,
        immediate_data: false,
        header_digests: vec![Digest::None],
        data_digests: vec![Digest::None],
        ..Preferences::default()
    };
    let complete = initiator_takes(own.clone(), &[("MaxRecvDataSegmentLength", "4096"), ("MaxBurstLength", "Reject")]);
    let Ok(InitiatorStep::Complete(session)) = complete else { panic!("{complete:?}") };
    assert_eq!(session.parameters.target_max_recv_data_segment_length, 4096);
    assert_eq!(session.parameters.max_burst_length, 262_144, "a rejected key keeps its default");
    let wrong = [
        ("InitialR2T", "No"),
        ("ImmediateData", "Yes"),
        ("HeaderDigest", "CRC32C"),
        ("MaxBurstLength", "1048577"),
        ("DefaultTime2Wait", "1"),
        ("MaxOutstandingR2T", "0"),
        ("ErrorRecoveryLevel", "1"),
    ];
    for (key, value) in wrong {
        let refused = initiator_takes(own.clone(), &[(key, value)]).expect_err(key);
        let LoginError::Negotiation(NegotiationError::NotOffered { key: named, answer, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((named.as_str(), answer.as_str()), (key, value));
    }
    let garbled = initiator_takes(own.clone(), &[("MaxBurstLength", "many")]).expect_err("not a number");
    assert!(matches!(garbled, LoginError::Negotiation(NegotiationError::InvalidAnswer { .. })), "{garbled:?}");
    let asks_back = initiator_takes(own, &[("IFMarker", "No")]).expect_err("an offer that cannot be answered any more");
    assert!(matches!(asks_back, LoginError::InvalidResponse { .. }), "{asks_back:?}");
}

#[test]
fn a_redirection_says_where_to() {
    let (mut initiator, _) = InitiatorLogin::start(initiator_config(Preferences::default()));
    let header = LoginResponse { status: LoginStatus::MOVED_TEMPORARILY, ..LoginResponse::default() };
    let moved = Pdu::new(header, Bytes::from_static(b"TargetAddress=192.0.2.9:3260,1\0"));
    let expected =
        LoginError::Redirected { status: LoginStatus::MOVED_TEMPORARILY, address: "192.0.2.9:3260,1".to_owned() };
    assert_eq!(initiator.handle(&moved).expect_err("a redirection"), expected);
}

fn any_digests() -> impl Strategy<Value = Vec<Digest>> {
    prop_oneof![
        Just(vec![Digest::None]),
        Just(vec![Digest::Crc32c]),
        Just(vec![Digest::None, Digest::Crc32c]),
        Just(vec![Digest::Crc32c, Digest::None]),
    ]
}

fn any_preferences() -> impl Strategy<Value = Preferences> {
    let length = || 512_u32..1 << 24;
    let digests = (any_digests(), any_digests());
    let lengths = (length(), length(), length());
    let numbers = (0_u32..=3600, 0_u32..=3600, 1_u32..=65_535);
    (digests, any::<(bool, bool)>(), lengths, numbers).prop_map(|(digests, booleans, lengths, numbers)| Preferences {
        header_digests: digests.0,
        data_digests: digests.1,
        initial_r2t: booleans.0,
        immediate_data: booleans.1,
        max_recv_data_segment_length: lengths.0,
        max_burst_length: lengths.1,
        first_burst_length: lengths.2,
        default_time2wait: numbers.0,
        default_time2retain: numbers.1,
        max_outstanding_r2t: numbers.2,
    })
}

proptest! {
    #[test]
    fn both_ends_agree_whatever_they_prefer(
        own in any_preferences(),
        theirs in any_preferences(),
        discovery: bool,
        path in prop_oneof![Just(LoginPath::SecurityThenOperational), Just(LoginPath::OperationalOnly), Just(LoginPath::SecurityOnly)],
    ) {
        let target_name = (!discovery).then(|| TARGET.to_owned());
        let config = InitiatorLoginConfig { target_name, path, ..initiator_config(own.clone()) };
        let (at_initiator, at_target) = log_in(config, target_config(theirs.clone()));
        prop_assert_eq!(&at_initiator, &at_target);
        let agreed = at_target.parameters;
        prop_assert!(agreed.first_burst_length <= agreed.max_burst_length);
        prop_assert!(agreed.data_pdu_in_order && agreed.data_sequence_in_order);
        prop_assert_eq!((agreed.max_connections, agreed.error_recovery_level), (1, 0));
        if path != LoginPath::SecurityOnly {
            prop_assert_eq!(agreed.initiator_max_recv_data_segment_length, own.max_recv_data_segment_length);
            prop_assert_eq!(agreed.target_max_recv_data_segment_length, theirs.max_recv_data_segment_length);
        }
        if path != LoginPath::SecurityOnly && !discovery {
            prop_assert_eq!(agreed.max_burst_length, own.max_burst_length.min(theirs.max_burst_length));
            prop_assert_eq!(agreed.initial_r2t, own.initial_r2t || theirs.initial_r2t);
            prop_assert_eq!(agreed.immediate_data, own.immediate_data && theirs.immediate_data);
            let first_burst = own.first_burst_length.min(theirs.first_burst_length).min(agreed.max_burst_length);
            prop_assert_eq!(agreed.first_burst_length, first_burst);
        }
    }

    #[test]
    fn no_login_pdu_makes_either_end_panic(
        pdus in proptest::collection::vec((any::<u8>(), 0_u8..2, proptest::collection::vec(any::<u8>(), 0..60), any::<bool>()), 1..6),
    ) {
        let mut target = TargetLogin::new(target_config(Preferences::default()));
        let (mut initiator, _) = InitiatorLogin::start(initiator_config(Preferences::default()));
        for (flags, version_min, text, with_names) in pdus {
            let mut request = raw(Stage::SECURITY, Stage::SECURITY, if with_names { &WHO } else { &[] });
            request.text.extend_from_slice(&text);
            let request = request.with(|h| { h.flags = flags; h.version_min = version_min; });
            let step = answer(&mut target, &request.pdu());
            prop_assert!(!matches!(step, TargetStep::Admit(_)));
            let header = LoginResponse { flags, isid: Isid::random_type([1, 2, 3], 4), itt: Tag::new(0), tsih: 1.into(), ..LoginResponse::default() };
            if let Ok(InitiatorStep::Complete(session)) = initiator.handle(&Pdu::new(header, Bytes::from(text))) {
                prop_assert_eq!(session.identity.tsih, 1);
            }
        }
    }
}
