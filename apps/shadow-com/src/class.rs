//! The class of a provider, and the registration that it gets.

use std::sync::Arc;

use anyhow::Context as _;
use lunshadow_coordinator::ProviderRegistration;
use lunshadow_vss::{HardwareProvider, ProviderId};
use uuid::Uuid;

/// How VSS knows a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VssName {
    /// The id by which shadow copies name it.
    pub id: ProviderId,
    /// What lists call it.
    pub name: String,
}

/// The class of a provider.
pub trait Class {
    /// An object of the class, in the process that serves it or in a new one.
    ///
    /// # Errors
    /// If COM cannot make one.
    fn create(&self) -> anyhow::Result<Arc<dyn HardwareProvider>>;

    /// How VSS knows the class; `None` if it is not registered there.
    ///
    /// # Errors
    /// If VSS cannot be asked.
    fn vss_name(&self) -> anyhow::Result<Option<VssName>>;
}

/// The provider of a class, under the id that it has at VSS, or that it is given.
///
/// # Errors
/// If it has none, or there is no object of the class.
pub(crate) fn registration(
    class: &dyn Class,
    clsid: Uuid,
    given: Option<Uuid>,
) -> anyhow::Result<ProviderRegistration> {
    let clsid = clsid.braced();
    let VssName { id, name } = match given {
        Some(id) => VssName { id: ProviderId(id), name: format!("the provider of the class {clsid}") },
        None => class
            .vss_name()
            .context("cannot ask VSS for the id of the provider; give it with --provider")?
            .with_context(|| {
                format!("no provider that is registered with VSS has the class {clsid}; give its id with --provider")
            })?,
    };
    Ok(ProviderRegistration { id, name, provider: class.create()? })
}
