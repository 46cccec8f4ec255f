//! How the provider of a trial reaches the array: in this process, or as on a Windows host, over HTTPS after an enrolment.

use std::sync::Arc;

use anyhow::Context as _;
use lunshadow_array_client::{AdminClient, Array, Enrolment, HttpsArray, HttpsTimeouts, enrol};
use lunshadow_control::EnrolmentString;
use lunshadow_control::api::HostRequest;
use tokio::runtime::Runtime;

use super::stage::Stage;
use crate::control::{ControlService, found_beside};
use crate::in_process::InProcessArray;
use crate::report::ChannelReport;

/// How long the enrolment of the trial's host may take, in seconds.
const ENROL_WITHIN_S: u64 = 60;

/// The array, as the provider sees it.
pub(super) struct Channel {
    /// What the provider asks.
    pub array: Arc<dyn Array>,
    /// Which way its questions go.
    pub report: ChannelReport,
}

impl Channel {
    /// Opens the channel: over HTTPS if the stage has a control service. Blocks.
    ///
    /// # Errors
    /// If the host cannot be enrolled.
    pub(super) fn open(stage: &Stage, runtime: &Runtime) -> anyhow::Result<Self> {
        if let Some(control) = &stage.control {
            return Self::enrolled(stage, control);
        }
        let catalog = Arc::clone(&stage.storage.catalog);
        let array = InProcessArray::new(catalog, runtime.handle().clone(), stage.host);
        Ok(Self { array: Arc::new(array), report: ChannelReport::InProcess })
    }

    /// What an administrator and `lunshadow-provider config add` do between them.
    fn enrolled(stage: &Stage, control: &ControlService) -> anyhow::Result<Self> {
        let (listening, credential) = found_beside(&stage.folder)?;
        anyhow::ensure!(listening == control.listening(), "another control service runs for the same pool");
        let endpoint = listening.endpoint_here();
        let admin = AdminClient::new(endpoint.clone(), credential, HttpsTimeouts::default());
        let host = stage.storage.catalog.who_am_i(stage.host)?;
        let request =
            HostRequest { initiators: host.initiators, imports_from: Vec::new(), valid_for_s: ENROL_WITHIN_S };
        let issued = admin.put_host(&host.name, &request).context("the trial's host gets no enrolment string")?;
        let carried =
            EnrolmentString { address: endpoint.address, fingerprint: issued.fingerprint, token: issued.token }
                .to_string();

        let Enrolment { endpoint, credential, host } = enrol(&carried.parse()?, HttpsTimeouts::default())?;
        let report = ChannelReport::Https {
            address: endpoint.address.clone(),
            fingerprint: endpoint.fingerprint.to_string(),
            enrolled_as: host.name,
        };
        Ok(Self { array: Arc::new(HttpsArray::new(endpoint, credential, HttpsTimeouts::default())), report })
    }
}
