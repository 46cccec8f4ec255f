//! A provider that does what another one does, unless a fault is planted in the method.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lunshadow_provider::Provider;
use lunshadow_vss::{HResult, Interceptor, Method};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// How a method fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// It panics, before the real method is called.
    Panic,
    /// It answers this code, legal or not.
    Code(u32),
    /// It takes this long, and then does its work.
    DelayMs(u64),
}

/// The real provider behind faults.
pub struct FaultyProvider {
    inner: Provider,
    faults: Mutex<HashMap<&'static str, Fault>>,
    delayed: AtomicUsize,
}

impl FaultyProvider {
    /// No faults yet.
    #[must_use]
    pub fn new(inner: Provider) -> Self {
        Self { inner, faults: Mutex::default(), delayed: AtomicUsize::new(0) }
    }

    /// Lets a method fail from now on.
    ///
    /// # Errors
    /// If there is no such method.
    pub fn plant(&self, method: &str, fault: Fault) -> Result<(), String> {
        let method = Method::ALL.iter().find(|known| known.name() == method).ok_or(format!("no method {method}"))?;
        self.faults.lock().insert(method.name(), fault);
        Ok(())
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.faults.lock().clear();
    }

    /// How many calls are being delayed.
    pub(super) fn delayed(&self) -> usize {
        self.delayed.load(Ordering::SeqCst)
    }

    /// What the product does about a panic.
    pub(super) fn record_panic(&self, method: &str) {
        self.inner.record_panic(method);
    }

    #[expect(clippy::panic, reason = "a test asked for it")]
    fn enter(&self, method: Method) -> Result<(), HResult> {
        let fault = self.faults.lock().get(method.name()).copied();
        match fault {
            None => Ok(()),
            Some(Fault::Panic) => panic!("planted in {method}"),
            Some(Fault::Code(bits)) => Err(HResult::from_bits(bits)),
            Some(Fault::DelayMs(delay_ms)) => {
                self.delayed.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(delay_ms));
                self.delayed.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        }
    }
}

impl Interceptor for FaultyProvider {
    type Provider = Provider;

    fn provider(&self) -> &Provider {
        &self.inner
    }

    fn around<T>(&self, method: Method, call: impl FnOnce() -> Result<T, HResult>) -> Result<T, HResult> {
        self.enter(method)?;
        call()
    }

    /// A provider that is wrong twice: the answer must be `false` all the same.
    fn not_filled_in(&self, code: HResult) -> (HResult, bool) {
        (code, true)
    }
}
