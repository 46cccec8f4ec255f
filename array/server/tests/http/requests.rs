//! Every operation of the API asks who it is; what is no request gets a problem.

use lunshadow_control::Secret;
use lunshadow_control::operations::{Asker, Method, Operation};
use lunshadow_server::Limits;
use tokio::io::AsyncWriteExt as _;

use crate::rig::{Rig, answer, request};

const SET: &str = "00000000-0000-0000-0000-000000000007";

fn method(operation: Operation) -> &'static str {
    match operation.method() {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
    }
}

/// A path with something well-formed in place of its parameters.
fn path(operation: Operation) -> String {
    let path = operation.path().replace("{set}", SET).replace("{resync}", SET);
    path.replace("/v1/luns/{lun}", "/v1/luns/00000000000000000000000000000abc")
        .replace("{lun}", "data")
        .replace("{host}", "sql")
}

#[tokio::test]
async fn every_operation_asks_who_it_is_before_it_looks_at_anything_else() {
    let rig = Rig::new(Limits::default()).await;
    let invented = Secret::new("0".repeat(64));
    for operation in Operation::ALL {
        let (method, path) = (method(*operation), path(*operation));
        let (wrong, allowed) = match operation.asker() {
            Asker::Anybody => {
                let answer = rig.ask(method, &path, None, "{}").await;
                assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid-request"), "{operation:?}");
                continue;
            }
            Asker::Host => (&rig.administrator, &rig.host),
            Asker::Administrator => (&rig.host, &rig.administrator),
        };
        for nobody in [None, Some(&invented)] {
            let answer = rig.ask(method, &path, nobody, "no JSON").await;
            assert_eq!((answer.status, answer.problem().as_str()), (401, "not-authenticated"), "{operation:?}");
            assert!(answer.head.contains("www-authenticate: bearer"), "{operation:?}");
        }
        let answer = rig.ask(method, &path, Some(wrong), "no JSON").await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "not-allowed"), "{operation:?}");
        let answer = rig.ask(method, &path, Some(allowed), "no JSON").await;
        assert!(![401, 403].contains(&answer.status), "{operation:?}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_request_of_the_api_is_told_in_its_words() {
    let rig = Rig::new(Limits::default()).await;
    let host = Some(&rig.host);
    let long = " ".repeat(lunshadow_control::api::REQUEST_BYTES_MAX + 1);
    let prepare = format!("/v1/sets/{SET}/prepare");
    for (method, path, body, status) in [
        ("GET", "/", "", 404),
        ("GET", "/v1/unheard-of", "", 404),
        ("DELETE", "/v1/host", "", 405),
        ("POST", prepare.as_str(), "", 400),
        ("POST", &prepare, "{\"luns\":[\"abc\"]}", 400),
        ("POST", &prepare, "{\"luns\":[],\"force\":true}", 400),
        ("POST", &prepare, &long, 413),
        ("POST", "/v1/sets/seven/prepare", "{\"luns\":[]}", 400),
        ("POST", "/v1/luns/abc/release", "", 400),
        ("PUT", "/v1/resyncs/seven", "{\"pairs\":[]}", 400),
    ] {
        let answer = rig.ask(method, path, host, body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, "invalid-request"), "{method} {path}");
    }
    let administrator = Some(&rig.administrator);
    for (method, path, body) in [
        ("PUT", "/v1/admin/hosts/a%20b", "{\"initiators\":[],\"valid_for_s\":1}"),
        ("PUT", "/v1/admin/hosts/a", "{\"initiators\":[\"host\"],\"valid_for_s\":1}"),
        ("PUT", "/v1/admin/luns/odd", "{\"len_bytes\":1000}"),
        ("PUT", "/v1/admin/luns/data/hosts/nobody", ""),
    ] {
        let answer = rig.ask(method, path, administrator, body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid-request"), "{method} {path}");
    }
}

#[tokio::test]
async fn the_scheme_of_a_credential_is_known_in_any_case() {
    let rig = Rig::new(Limits::default()).await;
    let as_usual = rig.ask("GET", "/v1/host", Some(&rig.host), "").await;
    assert!(as_usual.status == 200 && as_usual.body.contains("\"name\":\"host\""), "{as_usual:?}");
    for (scheme, status) in [("bearer", 200), ("BEARER", 200), ("Basic", 401), ("", 401)] {
        let request = request("GET", "/v1/host", Some(&rig.host), "").replace("Bearer", scheme);
        let mut stream = rig.connect().await;
        stream.write_all(request.as_bytes()).await.expect("it is sent");
        assert_eq!(answer(stream).await.status, status, "{scheme:?}");
    }
}
