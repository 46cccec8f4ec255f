//! The faults of resyncs.

use std::sync::Arc;
use std::time::Duration;

use lunshadow_vss::{Async, AsyncStatus, HResult, LunInformation};

use super::{BrokenProvider, Fault};
use crate::bed::TestBed;
use crate::lab::serial;

impl BrokenProvider {
    pub(super) fn resync(
        &self,
        shadows: &[LunInformation],
        targets: &[LunInformation],
    ) -> Result<Box<dyn Async>, HResult> {
        if self.is(Fault::ResyncsOneOnly) && shadows.len() > 1 {
            return self.veto();
        }
        let oldest = |target: &LunInformation| {
            let memory = self.memory.lock();
            let oldest = memory.announced.iter().find(|it| serial(&it.source) == serial(target));
            oldest.map(|announced| announced.genuine.clone())
        };
        let from: Vec<LunInformation> = shadows
            .iter()
            .zip(targets)
            .map(|(shadow, target)| {
                let other = self.is(Fault::ResyncsFromTheOldest).then(|| oldest(target)).flatten();
                other.unwrap_or_else(|| shadow.clone())
            })
            .collect();
        // Arrays of different lengths are the sound provider's to refuse.
        let from = if shadows.len() == targets.len() { &from } else { shadows };
        let operation = match self.inner().resync_luns(from, targets) {
            Err(HResult::VSS_E_INSUFFICIENT_STORAGE) if self.is(Fault::ResyncHidesTheShortage) => {
                return Err(HResult::VSS_E_PROVIDER_VETO);
            }
            Err(code @ HResult::VSS_E_INSUFFICIENT_STORAGE) if self.is(Fault::ResyncFindsTheShortage) => {
                return Ok(Box::new(Failed(code)));
            }
            answer => answer?,
        };
        if self.is(Fault::AbandonsSilently) {
            let operation: Arc<dyn Async> = operation.into();
            self.memory.lock().abandoned.push(Box::new(Kept(Arc::clone(&operation))));
            return Ok(Box::new(Kept(operation)));
        }
        let used_up = if self.is(Fault::ResyncUsesUp) { shadows.to_vec() } else { Vec::new() };
        let inner = self.inner();
        let end = Box::new(move || {
            for lun in &used_up {
                // What does not work here is found by whoever looks at the array.
                let _ = inner.on_lun_empty(None, Some(lun));
            }
        });
        Ok(Box::new(BrokenAsync { fault: self.fault, operation, bed: Arc::clone(&self.bed), end }))
    }
}

/// An operation that has failed.
struct Failed(HResult);

impl Async for Failed {
    fn query_status(&self) -> AsyncStatus {
        AsyncStatus::Failed(self.0)
    }

    fn cancel(&self) -> AsyncStatus {
        self.query_status()
    }

    fn wait(&self, _at_most: Option<Duration>) -> AsyncStatus {
        self.query_status()
    }
}

/// An operation that somebody else holds as well.
struct Kept(Arc<dyn Async>);

impl Async for Kept {
    fn query_status(&self) -> AsyncStatus {
        self.0.query_status()
    }

    fn cancel(&self) -> AsyncStatus {
        self.0.cancel()
    }

    fn wait(&self, at_most: Option<Duration>) -> AsyncStatus {
        self.0.wait(at_most)
    }
}

struct BrokenAsync {
    fault: Fault,
    operation: Box<dyn Async>,
    bed: Arc<dyn TestBed>,
    /// What is done when it has finished.
    end: Box<dyn Fn() + Send + Sync>,
}

impl BrokenAsync {
    fn hiding_failure(&self, status: AsyncStatus) -> AsyncStatus {
        match status {
            AsyncStatus::Failed(_) if self.fault == Fault::HidesResyncFailures => AsyncStatus::Finished,
            status => status,
        }
    }
}

impl Async for BrokenAsync {
    fn query_status(&self) -> AsyncStatus {
        match self.operation.query_status() {
            AsyncStatus::Finished if self.fault == Fault::NeverFinished => AsyncStatus::Pending,
            status => self.hiding_failure(status),
        }
    }

    fn cancel(&self) -> AsyncStatus {
        if self.fault == Fault::IgnoresCancel { self.query_status() } else { self.operation.cancel() }
    }

    fn wait(&self, at_most: Option<Duration>) -> AsyncStatus {
        if self.fault == Fault::WaitsAnyway && at_most == Some(Duration::ZERO) {
            self.bed.pass(Duration::from_secs(3));
        }
        let status = self.operation.wait(at_most);
        if status == AsyncStatus::Finished {
            (self.end)();
        }
        self.hiding_failure(status)
    }
}
