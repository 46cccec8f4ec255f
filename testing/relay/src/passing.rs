//! A request, and whom it goes to: the array, or the trouble that the array is to be in.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request, Response, StatusCode, Uri};
use lunshadow_control::api::{PROBLEM_MEDIA_TYPE, Problem, ResolveAnswer, WaitAnswer, WaitRequest};
use lunshadow_control::operations::Operation;
use lunshadow_control::{ProblemCode, ResyncState};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::condition::{Condition, HeldResync, Trouble};
use crate::relay::Upstream;

/// What the relay sends on and back.
pub(crate) type Answer = Response<Full<Bytes>>;

/// A request that has come as a whole, and can be sent more than once.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    pub(crate) async fn receive(request: Request<Incoming>) -> anyhow::Result<Self> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.context("a request broke off")?.to_bytes();
        Ok(Self { method: head.method, uri: head.uri, headers: head.headers, body })
    }

    pub(crate) fn request(&self) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(self.method.clone()).uri(self.uri.clone());
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&self.headers);
        }
        Ok(request.body(Full::new(self.body.clone()))?)
    }

    /// Which operation it is, and what its path names.
    fn operation(&self) -> Option<(Operation, &str)> {
        let of = |operation: &Operation| Some((*operation, named(operation.path(), self.uri.path())?));
        let is_meant = |operation: &&Operation| operation.method().name() == self.method.as_str();
        Operation::ALL.iter().filter(is_meant).find_map(of)
    }

    fn content<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body).context("the request is not what the API says")
    }

    /// For how long it waits.
    fn at_most(&self) -> anyhow::Result<Duration> {
        Ok(Duration::from_millis(self.content::<WaitRequest>()?.at_most_ms))
    }
}

/// What stands in a path at the place of the one parameter that its pattern has; nothing, if it has none. `None` for another path.
fn named<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let mut name = "";
    let mut parts = path.split('/');
    for wanted in pattern.split('/') {
        let part = parts.next()?;
        if wanted.starts_with('{') {
            name = part;
        } else if wanted != part {
            return None;
        }
    }
    parts.next().is_none().then_some(name)
}

/// Has a request answered.
pub(crate) async fn answer(asked: &Asked, array: &Upstream, trouble: &Trouble) -> anyhow::Result<Answer> {
    let Some((operation, name)) = asked.operation() else { return array.ask(asked).await };
    match (operation, trouble.condition()) {
        (Operation::Prepare | Operation::WaitPrepared | Operation::StartResync, Condition::Full) => {
            problem(ProblemCode::OutOfSpace)
        }
        (Operation::Resolve, Condition::Full) => without_room(&array.ask(asked).await?).await,
        (Operation::WaitPrepared, Condition::Preparing) => {
            let is_over = trouble.wait_at_most(asked.at_most()?, |state| {
                state.condition != Condition::Preparing || state.aborted.contains(name)
            });
            if is_over.await { array.ask(asked).await } else { json(&WaitAnswer { ready: false }) }
        }
        (Operation::Abort, _) => {
            let answer = array.ask(asked).await?;
            trouble.change(|state| {
                state.aborted.insert(name.to_owned());
            });
            Ok(answer)
        }
        (Operation::Commit, Condition::CommitTakes(time)) => {
            let answer = array.ask(asked).await?;
            tokio::time::sleep(time).await;
            Ok(answer)
        }
        (Operation::Release, Condition::Deleting) => {
            trouble.wait_until(|state| state.condition != Condition::Deleting).await;
            array.ask(asked).await
        }
        (Operation::StartResync, Condition::Resyncing) => {
            let waiting = || HeldResync::Waiting(Box::new(asked.clone()));
            trouble.change(|state| {
                state.resyncs.entry(name.to_owned()).or_insert_with(waiting);
            });
            held_resync(asked, name, Duration::ZERO, array, trouble).await
        }
        (Operation::StartResync, _) => held_resync(asked, name, Duration::ZERO, array, trouble).await,
        (Operation::WaitResync, _) => held_resync(asked, name, asked.at_most()?, array, trouble).await,
        (Operation::CancelResync, _) => {
            trouble.change(|state| {
                state.resyncs.entry(name.to_owned()).and_modify(|resync| *resync = HeldResync::Cancelled);
            });
            held_resync(asked, name, Duration::ZERO, array, trouble).await
        }
        _ => array.ask(asked).await,
    }
}

/// How a resync stands, if it was held back. Once resyncs come to their end, the array begins it.
async fn held_resync(
    asked: &Asked,
    name: &str,
    at_most: Duration,
    array: &Upstream,
    trouble: &Trouble,
) -> anyhow::Result<Answer> {
    let held = |resync: Option<&HeldResync>| matches!(resync, Some(HeldResync::Waiting(_)));
    let goes_on = trouble
        .wait_at_most(at_most, |state| state.condition != Condition::Resyncing || !held(state.resyncs.get(name)));
    let goes_on = goes_on.await;
    match trouble.look(|state| state.resyncs.get(name).cloned()) {
        Some(HeldResync::Waiting(_)) if !goes_on => json(&ResyncState::Running),
        Some(HeldResync::Waiting(start)) => {
            // Who else waits for it may do the same: the array takes the repetition for what it is.
            let begun = array.ask(&start).await?;
            trouble.change(|state| drop(state.resyncs.remove(name)));
            if begun.status().is_success() { array.ask(asked).await } else { Ok(begun) }
        }
        Some(HeldResync::Cancelled) => json(&ResyncState::Cancelled),
        None => array.ask(asked).await,
    }
}

/// The LUNs that were found, none of which can have a shadow LUN.
async fn without_room(answer: &Answer) -> anyhow::Result<Answer> {
    if !answer.status().is_success() {
        return Ok(answer.clone());
    }
    let body = answer.body().clone().collect().await?.to_bytes();
    let mut found: ResolveAnswer = serde_json::from_slice(&body).context("the array answers what its API says")?;
    found.luns.iter_mut().flatten().for_each(|lun| lun.can_shadow = false);
    json(&found)
}

fn json(content: &impl Serialize) -> anyhow::Result<Answer> {
    of_type("application/json", StatusCode::OK, content)
}

fn problem(code: ProblemCode) -> anyhow::Result<Answer> {
    let problem = Problem::new(code, "whoever tests has asked for it");
    of_type(PROBLEM_MEDIA_TYPE, StatusCode::from_u16(problem.status)?, &problem)
}

fn of_type(media_type: &str, status: StatusCode, content: &impl Serialize) -> anyhow::Result<Answer> {
    let body = Bytes::from(serde_json::to_vec(content)?);
    let answer = Response::builder().status(status).header(CONTENT_TYPE, media_type);
    Ok(answer.header(CONTENT_LENGTH, body.len()).body(Full::new(body))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_what_it_is_about() {
        assert_eq!(named("/v1/sets/{set}/wait", "/v1/sets/7/wait"), Some("7"));
        assert_eq!(named("/v1/host", "/v1/host"), Some(""));
        for path in ["/v1/sets/7", "/v1/sets/7/wait/on", "/v1/sets/7/commit", "/v2/sets/7/wait", ""] {
            assert_eq!(named("/v1/sets/{set}/wait", path), None, "{path}");
        }
    }
}
