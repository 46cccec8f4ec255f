//! [`Array`] over HTTPS: one request each.

use std::time::Duration;

use lunshadow_control::api::{
    HOST, LUNS, LunsRequest, MAP, NOTE_USE, NoteUseRequest, OVERVIEW, OutcomeAnswer, OutcomesAnswer, PrepareRequest,
    RESOLVE, RESYNCS, ResolveAnswer, ResolveRequest, ResyncRequest, SETS, TargetsAnswer, UNMAP, WaitAnswer,
    WaitRequest,
};
use lunshadow_control::{
    HostOverview, HostRecord, LunId, LunQuery, LunRecord, Outcome, ProblemCode, ResyncId, ResyncPair, ResyncState,
    Secret, ShadowKind, ShadowSetId, ShadowTarget, ShadowUse,
};
use serde::Serialize;

use super::commit::HttpsCommitChannel;
use super::{Endpoint, Http, HttpsTimeouts, Verb};
use crate::{Array, ArrayError, CommitChannel, Preparation};

/// An array behind its control service.
#[derive(Debug)]
pub struct HttpsArray {
    http: Http,
}

impl HttpsArray {
    /// The array at `endpoint`, for the host that has this credential. Nothing is connected before the first request.
    #[must_use]
    pub fn new(endpoint: Endpoint, credential: Secret, timeouts: HttpsTimeouts) -> Self {
        Self { http: Http::new(endpoint, Some(credential), timeouts) }
    }

    /// Where the array is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.http.endpoint
    }

    fn act_on_set(&self, set: ShadowSetId, action: &str) -> Result<Outcome, ArrayError> {
        let answer: OutcomeAnswer = self.http.ask(Verb::Post, &set_path(set, action))?;
        Ok(answer.outcome)
    }

    fn act_on_luns(&self, path: &str, body: &impl Serialize, count: usize) -> Result<Vec<Outcome>, ArrayError> {
        let answer: OutcomesAnswer = self.http.send(Verb::Post, path, body, Duration::ZERO)?;
        as_many(answer.outcomes, count)
    }
}

/// The path of something that is done with a set. Ids are written without braces.
pub(super) fn set_path(set: ShadowSetId, action: &str) -> String {
    format!("{SETS}/{}/{action}", set.0)
}

fn resync_path(resync: ResyncId, action: &str) -> String {
    format!("{RESYNCS}/{resync}{action}")
}

fn wait_request(at_most: Duration) -> WaitRequest {
    WaitRequest { at_most_ms: u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX) }
}

/// An answer with another number of elements than the question would be read as one about other LUNs.
fn as_many<T>(answers: Vec<T>, count: usize) -> Result<Vec<T>, ArrayError> {
    if answers.len() == count {
        return Ok(answers);
    }
    let detail = format!("it answered {} of {count} questions about LUNs", answers.len());
    Err(ArrayError::Refused { code: ProblemCode::Internal, detail })
}

impl Array for HttpsArray {
    fn who_am_i(&self) -> Result<HostRecord, ArrayError> {
        self.http.ask(Verb::Get, HOST)
    }

    fn resolve(&self, queries: &[LunQuery]) -> Result<Vec<Option<LunRecord>>, ArrayError> {
        let request = ResolveRequest { queries: queries.to_vec() };
        let answer: ResolveAnswer = self.http.send(Verb::Post, RESOLVE, &request, Duration::ZERO)?;
        as_many(answer.luns, queries.len())
    }

    fn prepare(&self, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError> {
        self.prepare_as(ShadowKind::Sharing, set, luns)
    }

    fn prepare_as(&self, kind: ShadowKind, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError> {
        let request = PrepareRequest { luns: luns.to_vec(), kind };
        let answer: OutcomeAnswer = self.http.send(Verb::Post, &set_path(set, "prepare"), &request, Duration::ZERO)?;
        Ok(answer.outcome)
    }

    fn wait_prepared(&self, set: ShadowSetId, at_most: Duration) -> Result<Preparation, ArrayError> {
        let answer: WaitAnswer = self.http.send(Verb::Post, &set_path(set, "wait"), &wait_request(at_most), at_most)?;
        Ok(if answer.ready { Preparation::Ready } else { Preparation::Running })
    }

    fn open_commit_channel(&self, set: ShadowSetId) -> Result<Box<dyn CommitChannel>, ArrayError> {
        Ok(Box::new(HttpsCommitChannel::open(&self.http, set)?))
    }

    fn keep(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.act_on_set(set, "keep")
    }

    fn abort(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.act_on_set(set, "abort")
    }

    fn withdraw(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.act_on_set(set, "withdraw")
    }

    fn targets(&self, set: ShadowSetId) -> Result<Vec<ShadowTarget>, ArrayError> {
        let answer: TargetsAnswer = self.http.ask(Verb::Get, &set_path(set, "targets"))?;
        Ok(answer.targets)
    }

    fn map(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        self.act_on_luns(MAP, &LunsRequest { luns: luns.to_vec() }, luns.len())
    }

    fn unmap(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        self.act_on_luns(UNMAP, &LunsRequest { luns: luns.to_vec() }, luns.len())
    }

    fn release(&self, shadow: LunId) -> Result<Outcome, ArrayError> {
        let answer: OutcomeAnswer = self.http.ask(Verb::Post, &format!("{LUNS}/{shadow}/release"))?;
        Ok(answer.outcome)
    }

    fn note_use(&self, shadows: &[LunId], used: ShadowUse) -> Result<Vec<Outcome>, ArrayError> {
        self.act_on_luns(NOTE_USE, &NoteUseRequest { luns: shadows.to_vec(), used }, shadows.len())
    }

    fn start_resync(&self, resync: ResyncId, pairs: &[ResyncPair]) -> Result<ResyncState, ArrayError> {
        let request = ResyncRequest { pairs: pairs.to_vec() };
        self.http.send(Verb::Put, &resync_path(resync, ""), &request, Duration::ZERO)
    }

    fn resync_state(&self, resync: ResyncId, at_most: Duration) -> Result<ResyncState, ArrayError> {
        self.http.send(Verb::Post, &resync_path(resync, "/wait"), &wait_request(at_most), at_most)
    }

    fn cancel_resync(&self, resync: ResyncId) -> Result<ResyncState, ArrayError> {
        self.http.ask(Verb::Post, &resync_path(resync, "/cancel"))
    }

    fn overview(&self) -> Result<HostOverview, ArrayError> {
        self.http.ask(Verb::Get, OVERVIEW)
    }
}
