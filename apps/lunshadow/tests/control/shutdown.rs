//! The service ends in order: initiators are asked to log out.

use anyhow::ensure;
use lunshadow::array::TARGET_NAME;
use lunshadow_initiator::{ConnectionError, Disk, DiskError, InitiatorError, Session};
use lunshadow_scsi::LunAddress;
use tokio::runtime::Runtime;

use crate::service::{Service, initiator};

#[test]
fn initiators_are_asked_to_log_out_before_the_service_ends() -> anyhow::Result<()> {
    let mut service = Service::start()?;
    service.add_host("sql")?;
    service.lun_of("sql", "data")?;
    let runtime = Runtime::new()?;
    let session = runtime.block_on(Session::login(service.portal, &initiator("sql").parse()?, TARGET_NAME))?;
    let disk = Disk::new(session, LunAddress::peripheral(1));
    runtime.block_on(disk.flush())?;
    // The session answers for itself meanwhile.
    service.stop()?;
    let refused = runtime.block_on(disk.flush());
    let asked = matches!(
        refused,
        Err(DiskError::Session(InitiatorError::ConnectionLost(
            ConnectionError::LogoutRequested | ConnectionError::LoggedOut
        )))
    );
    ensure!(asked, "{refused:?}");
    Ok(())
}
