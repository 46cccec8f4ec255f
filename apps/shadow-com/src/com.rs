//! The class, through COM.

use std::sync::Arc;

use anyhow::Context as _;
use lunshadow_vss::{HardwareProvider, ProviderId};
use lunshadow_vss_com::{RemoteProvider, VssAdmin};
use uuid::Uuid;

use crate::class::{Class, VssName};

/// A class that is registered on this machine.
pub struct RegisteredClass(pub Uuid);

impl Class for RegisteredClass {
    fn create(&self) -> anyhow::Result<Arc<dyn HardwareProvider>> {
        let made = RemoteProvider::create(self.0);
        Ok(Arc::new(made.with_context(|| format!("COM makes no object of the class {}", self.0.braced()))?))
    }

    fn vss_name(&self) -> anyhow::Result<Option<VssName>> {
        let all = VssAdmin::connect()?.providers()?;
        let ours = all.into_iter().find(|provider| provider.class == self.0);
        Ok(ours.map(|ours| VssName { id: ProviderId(ours.provider), name: ours.name }))
    }
}
