//! Whole sequences, as a coordinator that plays VSS drives them, in each of its orders (section 4.0 of the contract).

use std::sync::Arc;
use std::time::Duration;

use lunshadow_coordinator::{Coordinator, Deletion, FinalOrder, LocateArray, ProviderRegistration, Settings, Timeline};
use lunshadow_vss::{Context, ProviderId};
use serde::Serialize;
use uuid::Uuid;

use crate::bed::TestBed;
use crate::broken::Breakage;
use crate::finding::{Checked, Setback, demand, held};
use crate::lab::Lab;
use crate::recorder::Sequence;
use crate::statements::Number;

/// The statement that is judged by them.
pub(crate) const NUMBER: Number = Number(92);

/// For how long disks are waited for: they arrive at once or not at all.
const ARRIVAL: Duration = Duration::from_secs(10);

/// One order, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Order {
    /// Which.
    pub name: &'static str,
    /// Why the creation, the import or the deletion failed, if it did.
    pub failure: Option<String>,
    /// What happened.
    pub timeline: Timeline,
    /// The provider's side of it.
    #[serde(skip)]
    pub(crate) sequence: Sequence,
}

const ORDERS: [(&str, FinalOrder, LocateArray); 4] = [
    ("import before the final calls", FinalOrder::Diagram, LocateArray::PerVolume),
    ("import before the final calls, each LUN located once", FinalOrder::Diagram, LocateArray::Deduplicated),
    ("final calls before the import", FinalOrder::Text, LocateArray::PerVolume),
    ("final calls before the import, each LUN located once", FinalOrder::Text, LocateArray::Deduplicated),
];

/// Runs all orders.
pub(crate) fn run(bed: &dyn TestBed, breakage: impl Fn() -> Breakage) -> Result<Vec<Order>, Setback> {
    let mut orders = Vec::new();
    for (name, final_order, locate_array) in ORDERS {
        bed.clean_up()?;
        let breakage = breakage();
        let lab = Lab::open(bed, &breakage)?;
        let settings = Settings { final_order, locate_array, arrival_timeout: ARRIVAL, ..Settings::default() };
        let (failure, timeline) = drive(&lab, settings)?;
        orders.push(Order { name, failure, timeline, sequence: lab.recorder.sequence() });
    }
    Ok(orders)
}

/// Creates a set of all volumes, imports and deletes it. Answers with what failed.
fn drive(lab: &Lab<'_>, settings: Settings) -> Result<(Option<String>, Timeline), Setback> {
    let below = lab.host.below_vss();
    let below = below.ok_or_else(|| Setback("the test bed has no host for a coordinator".to_owned()))?;
    let coordinator = Coordinator::new(below.platform, below.clock, settings);
    let registration = ProviderRegistration {
        id: ProviderId(Uuid::new_v4()),
        name: "provider".to_owned(),
        provider: Arc::clone(&lab.provider),
    };
    coordinator.register_provider(registration).map_err(|error| Setback(error.to_string()))?;
    let requester = coordinator.requester();
    let created = (|| {
        requester.set_context(Context::CTX_BACKUP).map_err(|error| error.to_string())?;
        let set = requester.start_snapshot_set().map_err(|error| error.to_string())?;
        for volume in &below.volumes {
            requester.add_to_snapshot_set(volume, None).map_err(|error| error.to_string())?;
        }
        requester.do_snapshot_set().map_err(|failure| failure.to_string())?;
        requester.delete_snapshots(Deletion::Set(set)).map(drop).map_err(|failure| failure.to_string())
    })();
    Ok((created.err(), coordinator.timeline()))
}

/// What the orders say of the statement: the first one is what the others are compared with.
pub(crate) fn judge(orders: &[Order]) -> Checked {
    let Some((first, others)) = orders.split_first() else {
        return Err(Setback("no order was run".to_owned()));
    };
    if let Some(failure) = &first.failure {
        return Err(Setback(format!("with the {}: {failure}", first.name)));
    }
    for order in others {
        demand!(order.failure.is_none(), "with the {}: {}", order.name, order.failure.as_deref().unwrap_or_default());
    }
    held(format!("sets were created, imported and deleted in {} orders", orders.len()))
}
