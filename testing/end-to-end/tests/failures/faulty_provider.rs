//! The provider, with faults between it and VSS.

use std::sync::Arc;

use lunshadow_provider::Provider;
use lunshadow_vss::{HResult, Interceptor, Method};

use crate::plan::Plan;

pub(crate) struct FaultyProvider {
    pub(crate) provider: Provider,
    pub(crate) plan: Arc<Plan<Method, HResult>>,
}

impl Interceptor for FaultyProvider {
    type Provider = Provider;

    fn provider(&self) -> &Provider {
        &self.provider
    }

    fn around<T>(&self, method: Method, call: impl FnOnce() -> Result<T, HResult>) -> Result<T, HResult> {
        self.plan.run(&method, call)
    }

    fn around_action(&self, method: Method, call: impl FnOnce() -> Result<(), HResult>) -> Result<(), HResult> {
        self.plan.run_unit(&method, call)
    }
}
