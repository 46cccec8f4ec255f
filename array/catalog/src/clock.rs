//! The time that leases run by.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

/// A point in time: how long after the beginning of its clock. Comparable within one clock only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Duration);

impl Moment {
    /// The moment that is `later` after this one.
    #[must_use]
    pub fn after(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

/// A clock that never goes back. Leases do not run by the time of day, which administrators and NTP may set.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Moment;

    /// The time of day, in milliseconds since 1970: for what people read, and for what has to expire while the array is off.
    fn unix_ms(&self) -> u64;

    /// Ends when `at` has come; at once if it has passed.
    fn sleep_until(&self, at: Moment) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The machine's monotonic clock, as the async runtime sees it.
#[derive(Debug)]
pub struct SystemClock {
    began: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { began: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment(self.began.elapsed())
    }

    fn unix_ms(&self) -> u64 {
        // A clock that stands before 1970 is not set at all.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep_until(&self, at: Moment) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(at.0.saturating_sub(self.now().0)))
    }
}

/// A clock that stands still until it is told to go on, for tests.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<Moment>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self { now: watch::Sender::new(Moment(Duration::ZERO)) }
    }
}

impl ManualClock {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = now.after(by));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        *self.now.borrow()
    }

    /// The clock begins on 2026-01-01.
    fn unix_ms(&self) -> u64 {
        1_767_225_600_000 + u64::try_from(self.now().0.as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep_until(&self, at: Moment) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut now = self.now.subscribe();
        Box::pin(async move {
            // The sender is `self`, which outlives this future; so the wait cannot fail.
            let _ = now.wait_for(|now| *now >= at).await;
        })
    }
}
