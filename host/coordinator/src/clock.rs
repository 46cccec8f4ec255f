//! Time as the coordinator sees it: a clock that also rings alarms.
//!
//! The hold and freeze limits are alarms, since they must take effect while a provider is still busy. Tests use
//! [`ManualClock`], which stands still until it is advanced and then rings what is due on the advancing thread.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// What an alarm does when it rings. It runs on a thread that is not the one that set it.
pub type Ring = Box<dyn FnOnce() + Send>;

/// A source of time.
pub trait Clock: Send + Sync {
    /// The time since the clock's origin. Never goes back.
    fn now(&self) -> Duration;

    /// The date, for the creation time of shadow copies.
    fn date(&self) -> SystemTime;

    /// Calls `ring` once `after` has passed, unless the alarm is dropped before. A ring may still be under way when the drop
    /// returns, so it has to look for itself whether it still applies.
    fn alarm(&self, after: Duration, ring: Ring) -> Alarm;
}

/// An alarm that was set. Dropping it disarms it.
#[must_use = "an alarm is disarmed when it is dropped"]
pub struct Alarm {
    _disarm: Box<dyn Send>,
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alarm")
    }
}

/// The machine's clock. Every alarm waits on a thread of its own, so that no other alarm can delay it.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose origin is now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn date(&self) -> SystemTime {
        SystemTime::now()
    }

    fn alarm(&self, after: Duration, ring: Ring) -> Alarm {
        // Nothing is ever sent: the waiting thread learns by the sender's end that the alarm was disarmed.
        let (armed, disarmed) = mpsc::channel::<()>();
        let wait = move || {
            if disarmed.recv_timeout(after) == Err(RecvTimeoutError::Timeout) {
                ring();
            }
        };
        std::thread::Builder::new()
            .name("alarm".to_owned())
            .spawn(wait)
            .expect("a coordinator that cannot start a thread cannot keep any limit");
        Alarm { _disarm: Box::new(armed) }
    }
}

/// A clock that stands still until it is told otherwise.
#[derive(Debug, Default)]
pub struct ManualClock {
    hands: Mutex<Hands>,
}

#[derive(Default)]
struct Hands {
    now: Duration,
    alarms: Vec<ManualAlarm>,
}

struct ManualAlarm {
    due: Duration,
    armed: Arc<AtomicBool>,
    ring: Ring,
}

impl fmt::Debug for Hands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hands").field("now", &self.now).field("alarms", &self.alarms.len()).finish()
    }
}

impl ManualClock {
    /// A clock at its origin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `by` pass. Alarms that fall due ring in the order of their times, each at its own time.
    pub fn advance(&self, by: Duration) {
        let until = self.hands().now + by;
        while let Some(alarm) = self.take_due(until) {
            if alarm.armed.load(Ordering::SeqCst) {
                (alarm.ring)();
            }
        }
        let mut hands = self.hands();
        hands.now = hands.now.max(until);
    }

    fn take_due(&self, until: Duration) -> Option<ManualAlarm> {
        let mut hands = self.hands();
        let index = (0..hands.alarms.len())
            .filter(|&index| hands.alarms[index].due <= until)
            .min_by_key(|&index| hands.alarms[index].due)?;
        let alarm = hands.alarms.remove(index);
        hands.now = hands.now.max(alarm.due);
        Some(alarm)
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Disarm(Arc<AtomicBool>);

impl Drop for Disarm {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        self.hands().now
    }

    fn date(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.now()
    }

    fn alarm(&self, after: Duration, ring: Ring) -> Alarm {
        let armed = Arc::new(AtomicBool::new(true));
        let mut hands = self.hands();
        let due = hands.now + after;
        hands.alarms.push(ManualAlarm { due, armed: Arc::clone(&armed), ring });
        Alarm { _disarm: Box::new(Disarm(armed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_alarms_ring_in_order_at_their_time_and_not_after_a_drop() {
        let clock = Arc::new(ManualClock::new());
        let rung = Arc::new(Mutex::new(Vec::new()));
        let note = |name: &'static str| -> Ring {
            let (rung, clock) = (Arc::clone(&rung), Arc::clone(&clock));
            Box::new(move || rung.lock().unwrap().push((name, clock.now())))
        };
        let _late = clock.alarm(Duration::from_secs(3), note("late"));
        let _early = clock.alarm(Duration::from_secs(1), note("early"));
        let dropped = clock.alarm(Duration::from_secs(2), note("dropped"));
        let _never = clock.alarm(Duration::from_secs(9), note("never"));
        drop(dropped);
        clock.advance(Duration::from_secs(5));
        assert_eq!(*rung.lock().unwrap(), [("early", Duration::from_secs(1)), ("late", Duration::from_secs(3))]);
        assert_eq!(clock.now(), Duration::from_secs(5));
    }

    #[test]
    fn a_system_alarm_rings_on_another_thread_and_a_dropped_one_does_not() {
        let clock = SystemClock::new();
        let (rung, rings) = mpsc::channel();
        let also = rung.clone();
        let dropped =
            clock.alarm(Duration::from_secs(3600), Box::new(move || also.send("dropped".to_owned()).unwrap()));
        let ring = move || rung.send(std::thread::current().name().unwrap_or_default().to_owned()).unwrap();
        let kept = clock.alarm(Duration::from_millis(1), Box::new(ring));
        assert_eq!(rings.recv_timeout(Duration::from_secs(30)), Ok("alarm".to_owned()));
        drop(dropped);
        drop(kept);
        // Both rings are gone now, so the channel ends instead of timing out.
        assert!(matches!(rings.recv_timeout(Duration::from_secs(30)), Err(RecvTimeoutError::Disconnected)));
    }
}
