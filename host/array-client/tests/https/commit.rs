//! The commit's own connection: nothing is opened in the commit, and a lost one is replaced once, within the deadline.

use std::time::{Duration, Instant};

use lunshadow_array_client::{Array as _, ArrayError, CommitChannel};
use lunshadow_control::{ProblemCode, ShadowSetId};

use crate::server::{Reply, Server, json};

const SET: ShadowSetId = ShadowSetId(uuid::Uuid::from_u128(7));
const OUTCOME: &str = r#"{"outcome":"done"}"#;
const LONG: Duration = Duration::from_secs(5);

/// A server that says yes to everything before the commit, then gives these replies in turn.
fn server(commits: Vec<Reply>) -> Server {
    let mut commits = commits.into_iter();
    Server::start(move |asked| {
        let yes = Reply::Json(200, OUTCOME.to_owned());
        if asked.line.ends_with("/commit") { commits.next().unwrap_or(yes) } else { yes }
    })
}

fn armed(server: &Server, commit_at_most: Duration) -> Box<dyn CommitChannel> {
    let mut channel = server.array().open_commit_channel(SET).expect("the set can be armed");
    channel.arm(commit_at_most).expect("the set is armed");
    channel
}

/// Which connection each commit came on.
fn commits(server: &Server) -> Vec<usize> {
    let asked = server.asked().into_iter();
    asked.filter(|asked| asked.line.ends_with("/commit")).map(|asked| asked.connection).collect()
}

#[test]
fn opening_arming_and_committing_use_one_connection() {
    let server = server(Vec::new());
    assert_eq!(armed(&server, LONG).commit(), Ok(()));
    let set = format!("POST /v1/sets/{}", SET.0);
    assert_eq!(server.lines(), [format!("{set}/open"), format!("{set}/arm"), format!("{set}/commit")]);
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.connection == 0 && asked.authorization.as_deref() == Some("Bearer c0ffee")));
    assert_eq!(asked[1].body, r#"{"commit_at_most_ms":5000}"#);
}

#[test]
fn a_set_that_cannot_be_armed_is_told_when_the_channel_opens() {
    let problem = r#"{"type":"","status":410,"code":"set-aborted","detail":"gone"}"#;
    let server = Server::with_replies(vec![Reply::Json(410, problem.to_owned())]);
    let error = server.array().open_commit_channel(SET).map(drop).expect_err("it was opened");
    assert_eq!(error.code(), Some(ProblemCode::SetAborted));
}

#[test]
fn a_commit_whose_connection_is_lost_anywhere_is_repeated_once_with_the_same_set() {
    let answer = json(200, OUTCOME);
    for cut in (0..answer.len()).step_by(7) {
        let server = server(vec![Reply::RawThenClose(answer[..cut].to_vec())]);
        assert_eq!(armed(&server, LONG).commit(), Ok(()), "cut at {cut}");
        assert_eq!(commits(&server), [0, 1], "cut at {cut}");
    }
}

#[test]
fn a_commit_that_is_lost_twice_is_not_sent_a_third_time() {
    let server = server(vec![Reply::Close, Reply::Close]);
    assert!(matches!(armed(&server, LONG).commit(), Err(ArrayError::Unreachable { .. })));
    assert_eq!(commits(&server), [0, 1]);
}

#[test]
fn nothing_is_repeated_after_the_deadline() {
    let at_most = Duration::from_millis(150);
    let server = server(vec![Reply::Silence]);
    let mut channel = armed(&server, at_most);
    let began = Instant::now();
    assert!(matches!(channel.commit(), Err(ArrayError::Unreachable { .. })));
    assert!(began.elapsed() >= at_most, "the array's answer was waited for");
    assert_eq!(commits(&server), [0]);
}

#[test]
fn a_connection_that_is_lost_after_the_deadline_is_not_replaced() {
    let at_most = Duration::from_millis(100);
    let began = Instant::now();
    let server = Server::start(move |asked| {
        if asked.line.ends_with("/commit") {
            // Held beyond the deadline, as by an array that is stuck; the test's clock is the one that counts.
            while began.elapsed() < Duration::from_millis(100) * 3 {
                std::thread::yield_now();
            }
            return Reply::Close;
        }
        Reply::Json(200, OUTCOME.to_owned())
    });
    let mut channel = armed(&server, at_most);
    assert!(matches!(channel.commit(), Err(ArrayError::Unreachable { .. })));
    assert_eq!(commits(&server).len(), 1);
}

#[test]
fn the_arrays_own_refusal_is_not_repeated() {
    let problem = r#"{"type":"","status":504,"code":"deadline-passed","detail":"late"}"#;
    let server = server(vec![Reply::Json(504, problem.to_owned())]);
    let refused = ArrayError::Refused { code: ProblemCode::DeadlinePassed, detail: "late".into() };
    assert_eq!(armed(&server, LONG).commit(), Err(refused));
    assert_eq!(commits(&server), [0]);
}

#[test]
fn what_is_not_http_is_not_taken_for_success() {
    for bytes in [&b"220 mail ready\r\n"[..], b"HTTP/1.1 200 OK\r\n\r\n"] {
        let server = server(vec![Reply::RawThenClose(bytes.to_vec()), Reply::RawThenClose(bytes.to_vec())]);
        assert!(matches!(armed(&server, LONG).commit(), Err(ArrayError::Unreachable { .. })));
    }
}
