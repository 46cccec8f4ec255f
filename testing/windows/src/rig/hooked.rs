//! A provider with a test between it and VSS: before and after each call.

use std::sync::Arc;

use lunshadow_vss::{HResult, HardwareProvider, Interceptor, Method};

/// Where in a call the test is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The provider has not been called.
    Before,
    /// It has answered with success.
    After,
}

/// The test's part. An error is what VSS hears; before the call, the provider hears nothing.
pub type Hook = Arc<dyn Fn(When, Method) -> Result<(), HResult> + Send + Sync>;

/// The provider and the test.
#[derive(Clone)]
pub struct Hooked {
    /// The provider.
    pub provider: Arc<dyn HardwareProvider>,
    /// The test.
    pub hook: Hook,
}

impl Interceptor for Hooked {
    type Provider = dyn HardwareProvider;

    fn provider(&self) -> &Self::Provider {
        &*self.provider
    }

    fn around<T>(&self, method: Method, call: impl FnOnce() -> Result<T, HResult>) -> Result<T, HResult> {
        (self.hook)(When::Before, method)?;
        let answer = call()?;
        (self.hook)(When::After, method)?;
        Ok(answer)
    }
}
