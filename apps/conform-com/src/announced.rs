//! What a provider has announced, so that it can be deleted through it where nobody else lists the objects of its array.

use std::sync::Arc;

use lunshadow_vss::{HResult, HardwareProvider, Interceptor, LunInformation, Method};
use parking_lot::Mutex;

/// The shadow LUNs that were announced since somebody took them.
#[derive(Clone, Default)]
pub(crate) struct Announced(Arc<Mutex<Vec<LunInformation>>>);

impl Announced {
    /// The provider, whose announcements are noted from now on.
    pub(crate) fn by(&self, provider: Arc<dyn HardwareProvider>) -> Arc<dyn HardwareProvider> {
        Arc::new(Noted { provider, announced: self.clone() })
    }

    /// Has a provider delete all of them. One that is gone already is none of our business, nor is one that it refuses to delete: statements are about
    /// that.
    pub(crate) fn delete(&self, provider: &dyn HardwareProvider) {
        for lun in std::mem::take(&mut *self.0.lock()) {
            let _ = provider.on_lun_empty(None, Some(&lun));
        }
    }

    pub(crate) fn are_none(&self) -> bool {
        self.0.lock().is_empty()
    }
}

struct Noted {
    provider: Arc<dyn HardwareProvider>,
    announced: Announced,
}

impl Interceptor for Noted {
    type Provider = dyn HardwareProvider;

    fn provider(&self) -> &Self::Provider {
        &*self.provider
    }

    fn around<T>(&self, _method: Method, call: impl FnOnce() -> Result<T, HResult>) -> Result<T, HResult> {
        call()
    }

    fn around_targets(
        &self,
        call: impl FnOnce() -> Result<Vec<LunInformation>, HResult>,
    ) -> Result<Vec<LunInformation>, HResult> {
        call().inspect(|targets| self.announced.0.lock().extend_from_slice(targets))
    }

    fn around_fill_in(&self, call: impl FnOnce() -> (HResult, bool)) -> (HResult, bool) {
        call()
    }
}
