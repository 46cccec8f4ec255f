//! A clock that can be made to jump, so that what takes long need not be waited for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use lunshadow_coordinator::{Alarm, Clock, Ring, SystemClock};

/// How a test bed's time goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// As the machine's does, and what was jumped over.
    Measured,
    /// By jumps alone: a busy machine makes no call slow.
    Simulated,
}

/// A clock that jumps. An alarm rings when its time has passed on the machine's clock; whoever looks at this one sees a jump at once.
#[derive(Debug)]
pub(super) struct JumpingClock {
    machine: SystemClock,
    timing: Timing,
    jumped_us: AtomicU64,
}

impl JumpingClock {
    pub(super) fn new(timing: Timing) -> Self {
        Self { machine: SystemClock::new(), timing, jumped_us: AtomicU64::new(0) }
    }

    pub(super) fn jump(&self, by: Duration) {
        let by_us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.jumped_us.fetch_add(by_us, Ordering::SeqCst);
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Duration {
        let measured = match self.timing {
            Timing::Measured => self.machine.now(),
            Timing::Simulated => Duration::ZERO,
        };
        measured + Duration::from_micros(self.jumped_us.load(Ordering::SeqCst))
    }

    fn date(&self) -> SystemTime {
        self.machine.date()
    }

    fn alarm(&self, after: Duration, ring: Ring) -> Alarm {
        self.machine.alarm(after, ring)
    }
}
