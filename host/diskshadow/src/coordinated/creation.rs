//! A creation by a requester.

use lunshadow_coordinator::{Coordinator, CreationFailure, RequestError, Requester, VolumeName};
use lunshadow_vss::{Context, HResult, ProviderId};

use super::failure;
use crate::vss::{CreatedSet, CreationOrder, VssFailure};

/// Whether a volume could be in a set of this context.
pub(super) fn check(
    coordinator: &Coordinator,
    volume: &VolumeName,
    context: Context,
    provider: Option<ProviderId>,
) -> Result<(), VssFailure> {
    let requester = coordinator.requester();
    let supported = requester.set_context(context).and_then(|()| requester.is_volume_supported(volume, provider));
    supported.map_err(|error| refused(&error))
}

pub(super) fn create(requester: &Requester, order: &CreationOrder) -> Result<CreatedSet, VssFailure> {
    requester.set_context(order.context).map_err(|error| refused(&error))?;
    let set = requester.start_snapshot_set().map_err(|error| refused(&error))?;
    for (volume, provider) in &order.volumes {
        let added = requester.add_to_snapshot_set(&VolumeName(volume.clone()), *provider);
        if let Err(error) = added {
            requester.abort_backup();
            return Err(refused(&error));
        }
    }
    let copies = requester.do_snapshot_set().map_err(|error| failed(&error))?;
    let document = requester.document().map(|document| document.to_xml());
    Ok(CreatedSet { set, shadows: copies.iter().map(|copy| copy.snapshot).collect(), document })
}

fn refused(error: &RequestError) -> VssFailure {
    let client_accessible = |context: &Context| context.contains(Context::CLIENT_ACCESSIBLE);
    match error {
        RequestError::UnsupportedContext(context) if client_accessible(context) => VssFailure {
            code: HResult::VSS_E_UNSUPPORTED_CONTEXT,
            detail:
                "no provider of this host makes client-accessible shadow copies; `set context persistent` or `volatile`"
                    .to_owned(),
        },
        error => failure(error.code(), error),
    }
}

fn failed(error: &CreationFailure) -> VssFailure {
    let mut failure = failure(error.code(), error);
    let serials: Vec<_> = error.unreclaimed.iter().filter_map(|lun| lun.serial_number.as_deref()).collect();
    if !serials.is_empty() {
        failure.detail = format!("{}; the array may still have the shadow LUNs {}", failure.detail, serials.join(", "));
    }
    failure
}
