//! Single requests: what is sent, what answers mean, what is sent again.

use std::time::Duration;

use lunshadow_array_client::{
    AdminClient, Array as _, ArrayError, EnrolError, HttpsArray, HttpsTimeouts, Preparation, enrol,
};
use lunshadow_control::api::HostRequest;
use lunshadow_control::{
    EnrolmentString, Fingerprint, LunId, LunQuery, Outcome, ProblemCode, ResyncId, ResyncPair, ResyncState, Secret,
    ShadowSetId, ShadowUse,
};

use crate::server::{Reply, Server, json};

const SET: ShadowSetId = ShadowSetId(uuid::Uuid::from_u128(7));
const LUN: LunId = LunId::from_u128(0xabc);
const OUTCOME: &str = r#"{"outcome":"done"}"#;

fn said(body: &str) -> Reply {
    Reply::Json(200, body.to_owned())
}

fn unreachable_detail<T: std::fmt::Debug>(answer: Result<T, ArrayError>) -> String {
    let error = answer.expect_err("it succeeded").to_string();
    error.strip_prefix("the array cannot be reached: ").expect("no answer of an array").to_owned()
}

#[test]
fn requests_carry_the_credential_and_say_what_they_are() {
    let server = Server::with_replies(vec![said(OUTCOME)]);
    assert_eq!(server.array().prepare(SET, &[LUN]), Ok(Outcome::Done));
    let asked = &server.asked()[0];
    assert_eq!(asked.line, "POST /v1/sets/00000000-0000-0000-0000-000000000007/prepare");
    assert_eq!(asked.authorization.as_deref(), Some("Bearer c0ffee"));
    assert_eq!(asked.body, r#"{"luns":["00000000000000000000000000000abc"]}"#);
}

#[test]
fn every_request_has_its_path() {
    let server = Server::start(|asked| {
        said(match asked.line.rsplit('/').next().unwrap_or_default() {
            "map" | "unmap" | "note-use" => r#"{"outcomes":["already-so"]}"#,
            "resolve" => r#"{"luns":[null]}"#,
            "targets" => r#"{"targets":[]}"#,
            "wait" if asked.line.contains("/sets/") => r#"{"ready":false}"#,
            _ if asked.line.contains("/resyncs/") => r#"{"state":"running"}"#,
            _ => OUTCOME,
        })
    });
    let array = server.array();
    let resync = ResyncId(uuid::Uuid::from_u128(9));
    let query = LunQuery { serial: Some("x".into()), designators: Vec::new() };
    assert_eq!(array.resolve(&[query]), Ok(vec![None]));
    assert_eq!(array.wait_prepared(SET, Duration::from_millis(250)), Ok(Preparation::Running));
    assert_eq!(array.keep(SET), Ok(Outcome::Done));
    assert_eq!(array.abort(SET), Ok(Outcome::Done));
    assert_eq!(array.withdraw(SET), Ok(Outcome::Done));
    assert_eq!(array.targets(SET), Ok(Vec::new()));
    assert_eq!(array.map(&[LUN]), Ok(vec![Outcome::AlreadySo]));
    assert_eq!(array.unmap(&[LUN]), Ok(vec![Outcome::AlreadySo]));
    assert_eq!(array.release(LUN), Ok(Outcome::Done));
    assert_eq!(array.note_use(&[LUN], ShadowUse::ReadWrite), Ok(vec![Outcome::AlreadySo]));
    assert_eq!(array.start_resync(resync, &[ResyncPair { shadow: LUN, target: LUN }]), Ok(ResyncState::Running));
    assert_eq!(array.resync_state(resync, Duration::ZERO), Ok(ResyncState::Running));
    assert_eq!(array.cancel_resync(resync), Ok(ResyncState::Running));
    let (set, resync) = (format!("/v1/sets/{}", SET.0), format!("/v1/resyncs/{resync}"));
    let expected = [
        "POST /v1/luns/resolve".to_owned(),
        format!("POST {set}/wait"),
        format!("POST {set}/keep"),
        format!("POST {set}/abort"),
        format!("POST {set}/withdraw"),
        format!("GET {set}/targets"),
        "POST /v1/luns/map".to_owned(),
        "POST /v1/luns/unmap".to_owned(),
        format!("POST /v1/luns/{LUN}/release"),
        "POST /v1/luns/note-use".to_owned(),
        format!("PUT {resync}"),
        format!("POST {resync}/wait"),
        format!("POST {resync}/cancel"),
    ];
    assert_eq!(server.lines(), expected);
    assert!(server.asked().iter().all(|asked| asked.connection == 0), "one connection serves them all");
}

#[test]
fn a_problem_is_a_refusal() {
    let problem = r#"{"type":"urn:lunshadow:problem:out-of-space","status":507,"code":"out-of-space","detail":"full"}"#;
    let server = Server::with_replies(vec![Reply::Json(507, problem.to_owned())]);
    let refused = ArrayError::Refused { code: ProblemCode::OutOfSpace, detail: "full".into() };
    assert_eq!(server.array().keep(SET), Err(refused));
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn an_answer_about_another_number_of_luns_is_a_fault_of_the_array() {
    let server = Server::with_replies(vec![said(r#"{"outcomes":[]}"#)]);
    let error = server.array().map(&[LUN]).expect_err("it was taken");
    assert_eq!(error.code(), Some(ProblemCode::Internal));
}

#[test]
fn another_certificate_is_refused_and_both_are_named() {
    let (server, other) = (Server::with_replies(vec![said(OUTCOME)]), Server::with_replies(Vec::new()));
    let mut endpoint = server.endpoint();
    endpoint.fingerprint = other.endpoint().fingerprint;
    let array = HttpsArray::new(endpoint.clone(), Secret::new("c0ffee"), HttpsTimeouts::default());
    let detail = unreachable_detail(array.keep(SET));
    for fingerprint in [endpoint.fingerprint, server.endpoint().fingerprint] {
        assert!(detail.contains(&fingerprint.to_string()), "{detail}");
    }
    let opened = array.open_commit_channel(SET).map(drop);
    assert!(unreachable_detail(opened).contains("enrol this host anew"));
    assert_eq!(server.lines(), Vec::<String>::new(), "no credential was sent");
}

#[test]
fn an_answer_that_is_cut_anywhere_is_asked_for_again() {
    let answer = json(200, OUTCOME);
    for cut in 0..answer.len() {
        let server = Server::with_replies(vec![Reply::RawThenClose(answer[..cut].to_vec()), said(OUTCOME)]);
        assert_eq!(server.array().keep(SET), Ok(Outcome::Done), "cut at {cut}");
        let connections: Vec<_> = server.asked().iter().map(|asked| asked.connection).collect();
        assert_eq!(connections, [0, 1], "cut at {cut}");
    }
}

#[test]
fn a_request_is_sent_twice_at_most() {
    let server = Server::with_replies(vec![Reply::Close]);
    assert!(unreachable_detail(server.array().keep(SET)).starts_with("127.0.0.1:"));
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn a_kept_connection_that_has_died_is_no_failure() {
    let server = Server::with_replies(vec![Reply::JsonThenClose(200, OUTCOME.to_owned())]);
    let array = server.array();
    for _ in 0..5 {
        assert_eq!(array.keep(SET), Ok(Outcome::Done));
    }
}

#[test]
fn silence_ends_with_the_time_out_and_is_not_asked_again() {
    let server = Server::with_replies(vec![Reply::Silence]);
    let timeouts = HttpsTimeouts { request: Duration::from_millis(100), ..HttpsTimeouts::default() };
    let array = HttpsArray::new(server.endpoint(), Secret::new("c0ffee"), timeouts);
    assert!(unreachable_detail(array.keep(SET)).contains("no answer came in time"));
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn what_other_servers_say_is_told_from_what_an_array_says() {
    let html =
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<h1>502</h1>\r".to_vec();
    let server = Server::with_replies(vec![Reply::Raw(html)]);
    assert!(unreachable_detail(server.array().keep(SET)).contains("HTTP status 502"));
    let moved = b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec();
    let server = Server::with_replies(vec![Reply::Raw(moved)]);
    assert!(unreachable_detail(server.array().keep(SET)).contains("HTTP status 301"), "redirections are not followed");
}

#[test]
fn chunked_answers_and_hints_before_the_answer_are_read() {
    let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12\r\n{OUTCOME}\r\n0\r\n\r\n");
    let server = Server::with_replies(vec![Reply::Raw(chunked.into_bytes())]);
    assert_eq!(server.array().keep(SET), Ok(Outcome::Done));
}

#[test]
fn an_answer_without_end_is_given_up() {
    let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    endless.resize(5 << 20, b' ');
    let server = Server::with_replies(vec![Reply::RawThenClose(endless)]);
    assert!(matches!(server.array().keep(SET), Err(ArrayError::Unreachable { .. })));
}

#[test]
fn nobody_there_is_said_at_once() {
    let endpoint =
        lunshadow_array_client::Endpoint { address: "127.0.0.1:1".into(), fingerprint: Fingerprint([0; 32]) };
    let array = HttpsArray::new(endpoint, Secret::new("c0ffee"), HttpsTimeouts::default());
    assert!(unreachable_detail(array.who_am_i()).starts_with("127.0.0.1:1: "));
}

#[test]
fn enrolment_exchanges_the_token_for_a_credential() {
    let host = r#"{"host":"00000000-0000-0000-0000-000000000001","name":"sql","initiators":[]}"#;
    let server = Server::with_replies(vec![said(&format!(r#"{{"host":{host},"credential":"s3cret"}}"#))]);
    let string = EnrolmentString {
        address: server.endpoint().address,
        fingerprint: server.endpoint().fingerprint,
        token: Secret::new("once"),
    };
    let enrolment = enrol(&string, HttpsTimeouts::default()).expect("it is taken");
    assert_eq!((enrolment.host.name.as_str(), enrolment.credential.expose()), ("sql", "s3cret"));
    assert_eq!(enrolment.endpoint, server.endpoint());
    let asked = &server.asked()[0];
    assert_eq!((asked.line.as_str(), asked.body.as_str()), ("POST /v1/enrol", r#"{"token":"once"}"#));
    assert_eq!(asked.authorization, None);
    let wrong = EnrolmentString { fingerprint: Fingerprint([1; 32]), ..string };
    assert!(matches!(enrol(&wrong, HttpsTimeouts::default()), Err(EnrolError::Unreachable { .. })));
    assert_eq!(server.asked().len(), 1, "the token went to nobody else");
}

#[test]
fn an_administrators_names_stay_in_their_place() {
    let server = Server::with_replies(vec![said(r#"{"number":3,"outcome":"done"}"#), said(OUTCOME)]);
    let admin = AdminClient::new(server.endpoint(), Secret::new("root"), HttpsTimeouts::default());
    assert_eq!(admin.map_lun("data", "sql/../x").map(|assigned| assigned.number), Ok(3));
    assert_eq!(admin.remove_host("sql"), Ok(Outcome::Done));
    assert_eq!(server.lines(), ["PUT /v1/admin/luns/data/hosts/sql%2F..%2Fx", "DELETE /v1/admin/hosts/sql"]);
    let host = HostRequest { initiators: Vec::new(), imports_from: Vec::new(), valid_for_s: 60 };
    assert_eq!(admin.put_host("sql", &host).expect_err("no enrolment").code(), Some(ProblemCode::Internal));
}
