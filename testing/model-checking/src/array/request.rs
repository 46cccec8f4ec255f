//! What hosts ask of the array, and what its answer means to them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_catalog::{Catalog, CatalogError};
use lunshadow_control::{HostId, LunId, Outcome, ProblemCode, ShadowSetId};

use super::pool::ModelPool;

/// How long a commit may take.
const COMMIT_WITHIN: Duration = Duration::from_secs(5);

/// What a host asks about a set. The same can be asked again at any time, as by a host that got no answer, or by a network that repeats itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    /// To prepare the first LUN of the set.
    PrepareFirst,
    /// To prepare all of them.
    PrepareAll,
    /// To arm it.
    Arm,
    /// To commit it.
    Commit,
    /// To keep it.
    Keep,
    /// To abort it.
    Abort,
    /// To withdraw it.
    Withdraw,
    /// To map its shadow LUNs to the host that made it.
    Map,
    /// To map them to the other host, which is asked by that host.
    MapElsewhere,
    /// To unmap them.
    Unmap,
    /// To release the first of them.
    ReleaseFirst,
    /// To release all of them, one by one.
    ReleaseAll,
}

impl Request {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::PrepareFirst,
        Self::PrepareAll,
        Self::Arm,
        Self::Commit,
        Self::Keep,
        Self::Abort,
        Self::Withdraw,
        Self::Map,
        Self::MapElsewhere,
        Self::Unmap,
        Self::ReleaseFirst,
        Self::ReleaseAll,
    ];

    /// The life of a set without mappings.
    pub const LIFE: [Self; 6] =
        [Self::PrepareAll, Self::Arm, Self::Commit, Self::Keep, Self::Abort, Self::ReleaseFirst];

    /// Whether it can end the set or take shadow LUNs from it.
    pub(crate) const fn may_end(self) -> bool {
        matches!(self, Self::Abort | Self::Withdraw | Self::ReleaseFirst | Self::ReleaseAll)
    }

    /// Whether it can take shadow LUNs from a set that is kept.
    pub(crate) const fn may_end_kept(self) -> bool {
        matches!(self, Self::Withdraw | Self::ReleaseFirst | Self::ReleaseAll)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PrepareFirst => "prepare its first LUN",
            Self::PrepareAll => "prepare all its LUNs",
            Self::Arm => "arm it",
            Self::Commit => "commit it",
            Self::Keep => "keep it",
            Self::Abort => "abort it",
            Self::Withdraw => "withdraw it",
            Self::Map => "map its shadow LUNs",
            Self::MapElsewhere => "map its shadow LUNs to the other host",
            Self::Unmap => "unmap its shadow LUNs",
            Self::ReleaseFirst => "release its first shadow LUN",
            Self::ReleaseAll => "release its shadow LUNs",
        })
    }
}

/// Who asks, about what.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) host: HostId,
    pub(crate) other: HostId,
    pub(crate) set: ShadowSetId,
    pub(crate) luns: Vec<LunId>,
}

/// What the array answered.
pub(crate) type Answer = Result<Outcome, CatalogError>;

/// Puts a request to the array.
pub(crate) async fn ask(catalog: Arc<Catalog<ModelPool>>, subject: Subject, request: Request) -> Answer {
    let Subject { host, other, set, luns } = subject;
    // A host knows the shadow LUNs that it was told.
    let shadows = || -> Result<Vec<LunId>, CatalogError> {
        Ok(catalog.targets(host, set)?.into_iter().map(|target| target.shadow).collect())
    };
    let all_so = |outcomes: Vec<Outcome>| match outcomes.contains(&Outcome::Done) {
        true => Outcome::Done,
        false => Outcome::AlreadySo,
    };
    match request {
        Request::PrepareFirst => catalog.prepare(host, set, luns.get(..1).unwrap_or_default()).await,
        Request::PrepareAll => catalog.prepare(host, set, &luns).await,
        Request::Arm => catalog.arm(host, set, Some(COMMIT_WITHIN)).await,
        Request::Commit => catalog.commit(host, set).await,
        Request::Keep => catalog.keep(host, set).await,
        Request::Abort => catalog.abort(host, set).await,
        Request::Withdraw => catalog.withdraw(host, set).await,
        Request::Map => catalog.map(host, &shadows()?).await.map(all_so),
        Request::MapElsewhere => catalog.map(other, &shadows()?).await.map(all_so),
        Request::Unmap => catalog.unmap(host, &shadows()?).await.map(all_so),
        Request::ReleaseFirst | Request::ReleaseAll => {
            let at_most = if request == Request::ReleaseAll { usize::MAX } else { 1 };
            let mut outcome = Outcome::AlreadySo;
            for shadow in shadows()?.into_iter().take(at_most) {
                if catalog.release(host, shadow).await? == Outcome::Done {
                    outcome = Outcome::Done;
                }
            }
            Ok(outcome)
        }
    }
}

/// Whether the answer tells the host that the set is over for good.
pub(crate) fn tells_end(request: Request, answer: &Answer) -> bool {
    match (request, answer) {
        (Request::Abort | Request::Withdraw, Ok(outcome)) => *outcome == Outcome::Done,
        (Request::Commit, Err(error)) => !matches!(error.code(), ProblemCode::WrongState | ProblemCode::UnknownSet),
        (Request::Keep, Err(error)) => error.code() == ProblemCode::SetAborted,
        _ => false,
    }
}
