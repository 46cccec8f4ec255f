//! Sets over two providers, as a coordinator that plays VSS drives them: what fails in the other one ends ours.

use std::sync::Arc;

use lunshadow_coordinator::{Coordinator, ProviderRegistration, Settings, StandInFault, StandInProvider};
use lunshadow_vss::{Context, HResult, HardwareProvider, Method, ProviderId};
use uuid::Uuid;

use super::Group;
use crate::bed::BelowVss;
use crate::finding::{Checked, Setback, demand, held};
use crate::lab::Lab;

pub(super) const CHECKS: Group = &[(123, anothers_failure_leaves_nothing)];

/// Where the other provider fails. A volume that cannot be added ends no set, and from `PostCommitSnapshots` on the copies are somebody's (P-116).
const FAILS_IN: [Method; 3] = [Method::EndPrepareSnapshots, Method::PreCommitSnapshots, Method::CommitSnapshots];

fn anothers_failure_leaves_nothing(lab: &mut Lab<'_>) -> Checked {
    for method in FAILS_IN {
        // Who is called first is a step further.
        for is_first in [true, false] {
            let before = lab.ledger()?;
            let below = lab.host.below_vss();
            let below = below.ok_or_else(|| Setback("the test bed has no host for a coordinator".to_owned()))?;
            fail_in(method, Arc::clone(&lab.provider), is_first, below)?;
            let after = lab.ledger()?;
            demand!(after == before, "after another provider's {method} had failed there remained {after:?}");
        }
    }
    let steps = FAILS_IN.map(Method::name).join(", ");
    held(format!(
        "nothing remained of sets of which another provider, before this one and behind it, had failed in {steps}"
    ))
}

/// Has a set be created over the provider and another one that fails there.
fn fail_in(method: Method, ours: Arc<dyn HardwareProvider>, is_first: bool, below: BelowVss) -> Result<(), Setback> {
    let [first, second, ..] = &below.volumes[..] else {
        return Err(Setback("the test bed has no two volumes".to_owned()));
    };
    let (volumes, other) = ([first.clone(), second.clone()], StandInProvider::taking_all());
    other.fail_in(method, StandInFault::Answer(HResult::VSS_E_PROVIDER_VETO));
    let coordinator = Coordinator::new(below.platform, below.clock, Settings::default());
    let mut providers: [(&str, Arc<dyn HardwareProvider>); 2] = [("provider", ours), ("other", Arc::new(other))];
    if !is_first {
        providers.reverse();
    }
    let mut ids = Vec::new();
    for (name, provider) in providers {
        let id = ProviderId(Uuid::new_v4());
        let registration = ProviderRegistration { id, name: name.to_owned(), provider };
        coordinator.register_provider(registration).map_err(|error| Setback(error.to_string()))?;
        ids.push(id);
    }
    let requester = coordinator.requester();
    let created = (|| {
        requester.set_context(Context::CTX_BACKUP).map_err(|error| (error.code(), error.to_string()))?;
        requester.start_snapshot_set().map_err(|error| (error.code(), error.to_string()))?;
        for (volume, id) in volumes.iter().zip(ids) {
            let added = requester.add_to_snapshot_set(volume, Some(id));
            added.map_err(|error| (error.code(), error.to_string()))?;
        }
        requester.do_snapshot_set().map(drop).map_err(|failure| (failure.code(), failure.to_string()))
    })();
    // With the requester the set ends, if it has not ended.
    drop(requester);
    match created {
        Err((HResult::VSS_E_PROVIDER_VETO, _)) => Ok(()),
        Err((_, failure)) => Err(Setback(format!("the set came to another end than that of {method}: {failure}"))),
        Ok(()) => Err(Setback(format!("the set was created although {method} of the other provider had failed"))),
    }
}
