//! Logins with CHAP: both ends against each other, and the target against initiators that get around it.

use std::num::NonZeroU16;

use bytes::Bytes;
use lunshadow_iscsi::login::{
    Admission, Authentication, CHAP_CHALLENGE_BYTES, ChapChallenge, ChapCredential, ChapError, ChapSecret,
    InitiatorChap, InitiatorLogin, InitiatorLoginConfig, InitiatorStep, LoginError, LoginPath, LoginStatus,
    TargetLogin, TargetLoginConfig, TargetStep,
};
use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_iscsi::pdu::{FINAL, Isid, LoginRequest, LoginResponse, Pdu, Stage, Tag};
use lunshadow_iscsi::serial::SerialNumber;
use lunshadow_iscsi::text::TextKeys;

const HOST_SECRET: &str = "the host's secret";
const ARRAY_SECRET: &str = "the array's secret";

fn credential(name: &str, secret: &str) -> ChapCredential {
    ChapCredential { name: name.to_owned(), secret: ChapSecret::new(secret).expect("long enough") }
}

const fn challenge(byte: u8) -> ChapChallenge {
    ChapChallenge { identifier: byte, bytes: [byte; CHAP_CHALLENGE_BYTES] }
}

fn target_wants(target: Option<ChapCredential>) -> Authentication {
    Authentication::Chap { initiator: credential("host", HOST_SECRET), target, challenge: challenge(3) }
}

fn new_target() -> TargetLogin {
    TargetLogin::new(TargetLoginConfig {
        preferences: Preferences::default(),
        command_window: 8,
        first_stat_sn: SerialNumber(0),
    })
}

/// The target's next step; whoever asks is let in if it proves what is asked.
fn step(target: &mut TargetLogin, request: &Pdu, authentication: &Authentication) -> TargetStep {
    match target.handle(request).expect("a login request") {
        TargetStep::Admit(_) => target.admit(Admission {
            tsih: NonZeroU16::MIN,
            portal_group_tag: 1,
            target_alias: None,
            authentication: authentication.clone(),
        }),
        step => step,
    }
}

/// How a login ended.
#[derive(Debug, PartialEq)]
enum End {
    Complete,
    TargetRefused(LoginStatus),
    InitiatorGaveUp(LoginError),
}

fn log_in(chap: Option<InitiatorChap>, path: LoginPath, authentication: &Authentication) -> End {
    let (mut initiator, mut request) = InitiatorLogin::start(InitiatorLoginConfig {
        initiator_name: "iqn.2026-11.org.example:host".to_owned(),
        initiator_alias: None,
        target_name: Some("iqn.2026-11.org.example:array".to_owned()),
        isid: Isid::random_type([1, 2, 3], 4),
        path,
        chap,
        preferences: Preferences::default(),
        first_cmd_sn: SerialNumber(1),
    });
    let mut target = new_target();
    loop {
        let response = match step(&mut target, &request, authentication) {
            TargetStep::Send(response) | TargetStep::Complete { response, .. } => response,
            TargetStep::Refused { status, .. } => return End::TargetRefused(status),
            TargetStep::Admit(_) => unreachable!("it asks once"),
        };
        match initiator.handle(&response) {
            Ok(InitiatorStep::Send(next)) => request = next,
            Ok(InitiatorStep::Complete(_)) => return End::Complete,
            Err(error) => return End::InitiatorGaveUp(error),
        }
    }
}

fn with_secret(secret: &str) -> Option<InitiatorChap> {
    Some(InitiatorChap { own: credential("host", secret), target: None })
}

#[test]
fn whoever_knows_the_secret_is_let_in() {
    for path in [LoginPath::SecurityThenOperational, LoginPath::SecurityOnly] {
        assert_eq!(log_in(with_secret(HOST_SECRET), path, &target_wants(None)), End::Complete);
    }
}

#[test]
fn nobody_else_is() {
    let refused = End::TargetRefused(LoginStatus::AUTHENTICATION_FAILURE);
    let path = LoginPath::SecurityThenOperational;
    assert_eq!(log_in(with_secret("another secret"), path, &target_wants(None)), refused);
    let another = InitiatorChap { own: credential("another", HOST_SECRET), target: None };
    assert_eq!(log_in(Some(another), path, &target_wants(None)), refused);
    for path in [LoginPath::SecurityThenOperational, LoginPath::OperationalOnly, LoginPath::SecurityOnly] {
        assert_eq!(log_in(None, path, &target_wants(None)), refused, "{path:?}: without authentication");
    }
}

// RFC 7143 §12.1.3 MUST: an initiator that wants the target to prove itself gets CHAP_N and CHAP_R, or is refused.
// RFC 7143 §12.1 MUST: CHAP is there, for both directions.
#[test]
fn the_target_proves_itself_too() {
    let both = |array_secret: &str| {
        let target = (credential("array", array_secret), challenge(9));
        Some(InitiatorChap { own: credential("host", HOST_SECRET), target: Some(target) })
    };
    let path = LoginPath::SecurityThenOperational;
    let own = target_wants(Some(credential("array", ARRAY_SECRET)));
    assert_eq!(log_in(both(ARRAY_SECRET), path, &own), End::Complete);
    let wrong = End::InitiatorGaveUp(LoginError::NotAuthenticated(ChapError::Wrong));
    assert_eq!(log_in(both("another secret"), path, &own), wrong);
    // A target without a secret of its own cannot.
    let refused = End::TargetRefused(LoginStatus::AUTHENTICATION_FAILURE);
    assert_eq!(log_in(both(ARRAY_SECRET), path, &target_wants(None)), refused);
}

#[test]
fn an_initiator_that_wants_authentication_does_not_go_on_without() {
    // The target has nothing to ask, and the initiator offers nothing but CHAP.
    let end = log_in(with_secret(HOST_SECRET), LoginPath::SecurityThenOperational, &Authentication::None);
    assert_eq!(end, End::TargetRefused(LoginStatus::AUTHENTICATION_FAILURE));
    // A target that skips what was asked of it.
    let target = Some((credential("array", ARRAY_SECRET), challenge(9)));
    let (mut initiator, _) = InitiatorLogin::start(InitiatorLoginConfig {
        initiator_name: "iqn.2026-11.org.example:host".to_owned(),
        initiator_alias: None,
        target_name: None,
        isid: Isid::random_type([1, 2, 3], 4),
        path: LoginPath::SecurityThenOperational,
        chap: Some(InitiatorChap { own: credential("host", HOST_SECRET), target }),
        preferences: Preferences::default(),
        first_cmd_sn: SerialNumber(1),
    });
    let header = LoginResponse {
        flags: FINAL | Stage::OPERATIONAL.0,
        isid: Isid::random_type([1, 2, 3], 4),
        itt: Tag::new(0),
        ..LoginResponse::default()
    };
    let text = [("AuthMethod", "CHAP")].into_iter().collect::<TextKeys>().encode();
    let error = initiator.handle(&Pdu::new(header, text)).expect_err("it leaves the stage too early");
    assert!(matches!(error, LoginError::InvalidResponse { .. }), "{error}");
}

/// Requests of the security stage with these keys, each of which asks for the operational stage, and how the last one is answered.
fn answers(texts: &[&[(&str, &str)]]) -> Result<TextKeys, LoginStatus> {
    let own = target_wants(Some(credential("array", ARRAY_SECRET)));
    let mut target = new_target();
    let mut last = TextKeys::default();
    for (number, text) in texts.iter().enumerate() {
        let mut keys = TextKeys::default();
        if number == 0 {
            keys.push("InitiatorName", "iqn.2026-11.org.example:host");
            keys.push("SessionType", "Discovery");
        }
        text.iter().for_each(|(name, value)| keys.push(name, *value));
        let mut header = LoginRequest { flags: FINAL | Stage::OPERATIONAL.0, ..LoginRequest::default() };
        header.operation = header.operation.immediate();
        match step(&mut target, &Pdu::new(header, keys.encode()), &own) {
            TargetStep::Send(response) => {
                let flags = response.bhs.view::<LoginResponse>().expect("a login response").flags;
                assert_eq!(flags & FINAL, 0, "nobody has proved anything after {texts:?}");
                last = TextKeys::parse(&response.data).expect("sound text");
            }
            TargetStep::Refused { status, .. } => return Err(status),
            other => unreachable!("{other:?}"),
        }
    }
    Ok(last)
}

/// The proof of the host's secret, computed with another program.
const RIGHT_RESPONSE: &str = "0x44f259b0b6620d82bcf68f85321dac54";
const METHOD: &[(&str, &str)] = &[("AuthMethod", "CHAP,None")];
const ALGORITHM: &[(&str, &str)] = &[("CHAP_A", "5")];

// RFC 7143 §6.3.2 MUST: of the methods that are offered, the first is chosen that the initiator may use.
// RFC 7143 §12.1.3 MUST: an offer of CHAP algorithms is answered with one of them and a challenge, or refused with the status authentication failure.
#[test]
fn the_target_goes_one_step_at_a_time() {
    let keys = answers(&[METHOD]).expect("a method");
    assert_eq!(keys.iter().collect::<Vec<_>>(), [("TargetPortalGroupTag", "1"), ("AuthMethod", "CHAP")]);
    let keys = answers(&[METHOD, ALGORITHM]).expect("a challenge");
    assert_eq!((keys.get("CHAP_A"), keys.get("CHAP_I")), (Some("5"), Some("3")));
    assert_eq!(keys.get("CHAP_C"), Some(format!("0x{}", "03".repeat(CHAP_CHALLENGE_BYTES)).as_str()));
}

// RFC 7143 §6.3.2 MUST: a security negotiation that fails ends with the Login Response for it.
// RFC 7143 §9.2 MUST: security keys that are not those of the step are refused with the status initiator error or missing parameter.
// RFC 7143 §12.1.3 MUST NOT: a CHAP challenge is longer than 1024 bytes.
// RFC 7143 §12.1.3 MUST: an offer of CHAP algorithms is answered with one of them and a challenge, or refused with the status authentication failure.
#[test]
fn short_cuts_and_detours_are_refused() {
    let wrong: &[(&str, &str)] = &[("CHAP_N", "host"), ("CHAP_R", "0x00")];
    let failure = Err(LoginStatus::AUTHENTICATION_FAILURE);
    let error = Err(LoginStatus::INITIATOR_ERROR);
    let check = |texts: &[&[(&str, &str)]], expected: &Result<TextKeys, LoginStatus>| {
        assert_eq!(&answers(texts), expected, "{texts:?}");
    };
    check(&[&[("AuthMethod", "None")]], &failure);
    check(&[&[("AuthMethod", "KRB5,SRP")]], &failure);
    check(&[METHOD, &[("CHAP_A", "6,8")]], &failure);
    check(&[METHOD, ALGORITHM, wrong], &failure);
    // Reflection with a response left out.
    let missing = Err(LoginStatus::MISSING_PARAMETER);
    check(&[METHOD, ALGORITHM, &[("CHAP_N", "host")]], &missing);
    check(&[METHOD, ALGORITHM, &[("CHAP_N", "host"), ("CHAP_I", "3"), ("CHAP_C", "0x01")]], &missing);
    check(&[METHOD, ALGORITHM, &[("CHAP_R", "0x00")]], &missing);
    check(&[METHOD, ALGORITHM, &[]], &missing);
    check(&[METHOD, ALGORITHM, &[("CHAP_N", "host"), ("CHAP_R", "no number")]], &error);
    check(&[METHOD, ALGORITHM, ALGORITHM], &error);
    check(&[METHOD, &[]], &missing);
    check(&[METHOD, &[("CHAP_A", "5"), ("CHAP_N", "host")]], &error);
    let right = ("CHAP_R", RIGHT_RESPONSE);
    let too_long = format!("0x{}", "05".repeat(1025));
    check(&[METHOD, ALGORITHM, &[("CHAP_N", "host"), right, ("CHAP_I", "5"), ("CHAP_C", &too_long)]], &error);
    check(&[METHOD, ALGORITHM, &[("CHAP_N", "host"), right, ("CHAP_I", "5")]], &missing);
    check(&[METHOD, ALGORITHM, METHOD], &error);
    check(&[METHOD, METHOD], &error);
    check(&[ALGORITHM], &error);
    check(&[METHOD, wrong], &error);
    check(&[&[("AuthMethod", "CHAP"), ("CHAP_A", "5")]], &error);
}

// RFC 7143 §9.2.1 MUST: a CHAP response that this end would give itself, for both have one secret, is no proof.
#[test]
fn one_secret_for_both_directions_proves_nothing() {
    let own = target_wants(Some(credential("array", HOST_SECRET)));
    let refused = End::TargetRefused(LoginStatus::AUTHENTICATION_FAILURE);
    assert_eq!(log_in(with_secret(HOST_SECRET), LoginPath::SecurityThenOperational, &own), refused);
}

// RFC 7143 §12.1.3 MUST: a wrong CHAP response is refused with the status authentication failure.
#[test]
fn a_wrong_response_ends_the_login() {
    let mut target = new_target();
    let own = target_wants(None);
    let keys: TextKeys =
        [("InitiatorName", "iqn.2026-11.org.example:host"), ("SessionType", "Discovery"), ("AuthMethod", "CHAP")]
            .into_iter()
            .collect();
    let request = |text: Bytes| {
        let mut header = LoginRequest::default();
        header.operation = header.operation.immediate();
        Pdu::new(header, text)
    };
    assert!(matches!(step(&mut target, &request(keys.encode()), &own), TargetStep::Send(_)));
    let next = |pairs: &[(&str, &str)]| request(pairs.iter().copied().collect::<TextKeys>().encode());
    assert!(matches!(step(&mut target, &next(ALGORITHM), &own), TargetStep::Send(_)));
    let wrong = step(&mut target, &next(&[("CHAP_N", "host"), ("CHAP_R", "0b")]), &own);
    let TargetStep::Refused { response, status } = wrong else { unreachable!("{wrong:?}") };
    assert_eq!(status, LoginStatus::AUTHENTICATION_FAILURE);
    assert!(response.data.is_empty(), "it says no more than that");
}
