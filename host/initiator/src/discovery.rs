//! Which targets a portal has.

use lunshadow_control::InitiatorName;
use lunshadow_iscsi::discovery::SendTargets;
use tokio::net::ToSocketAddrs;

pub use lunshadow_iscsi::discovery::TargetRecord as DiscoveredTarget;

use crate::error::InitiatorError;
use crate::session::{Session, SessionConfig};

/// Asks a portal for all targets that `initiator_name` may see, in a discovery session.
///
/// # Errors
/// See [`InitiatorError`].
pub async fn discover(
    portal: impl ToSocketAddrs,
    initiator_name: &InitiatorName,
) -> Result<Vec<DiscoveredTarget>, InitiatorError> {
    let session = Session::connect(portal, SessionConfig::discovery(initiator_name.clone())).await?;
    let targets = session.send_targets(&SendTargets::All).await?;
    session.logout().await?;
    Ok(targets)
}
