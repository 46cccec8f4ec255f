//! Waiting without sleep, for a moment.
//!
//! An initiator that sends one request after the other waits for each answer. If the thread sleeps meanwhile, so does the processor often enough, and to
//! wake both takes longer than a small command does. So a connection looks again and again for a while, and lets others on its thread go on in between.
//! Where that was in vain it is tried less often, so that an initiator with something to ask now and then costs next to nothing.

use std::time::Duration;

use tokio::time::Instant;

use crate::connection_threads::{Awake, ThreadPlace};

/// With more commands under way than this, there is always something to do.
const COMMANDS_MAX: usize = 2;
/// After so many vain attempts in a row, the pauses grow no more.
const VAIN_MAX: u32 = 6;

/// Whether a connection waits without sleep.
pub(super) struct Attention {
    place: Option<ThreadPlace>,
    at_most: Duration,
    waiting: Option<Waiting>,
    /// How many attempts in a row were in vain.
    vain: u32,
    /// How many events are left to sleep for.
    pause: u32,
}

struct Waiting {
    until: Instant,
    _awake: Awake,
}

impl Attention {
    /// For a connection that has a thread, or has none and sleeps.
    pub(super) fn new(place: Option<ThreadPlace>) -> Self {
        let at_most = place.as_ref().map_or(Duration::ZERO, ThreadPlace::busy_poll);
        Self { place, at_most, waiting: None, vain: 0, pause: 0 }
    }

    /// Something has come that was waited for.
    pub(super) fn heard(&mut self, now: Instant) {
        let until = now + self.at_most;
        if let Some(waiting) = &mut self.waiting {
            waiting.until = until;
            self.vain = 0;
        } else if self.pause > 0 {
            self.pause -= 1;
        } else if !self.at_most.is_zero() {
            let awake = self.place.as_ref().and_then(ThreadPlace::stay_awake);
            self.waiting = awake.map(|awake| Waiting { until, _awake: awake });
        }
    }

    /// Whether to go on without sleep, with so many commands under way.
    pub(super) fn holds(&mut self, now: impl FnOnce() -> Instant, commands: usize) -> bool {
        let Some(waiting) = &self.waiting else { return false };
        if commands > COMMANDS_MAX {
            self.waiting = None;
        } else if now() >= waiting.until {
            self.waiting = None;
            self.vain = (self.vain + 1).min(VAIN_MAX);
            self.pause = 1 << self.vain;
        }
        self.waiting.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConnectionThreads;

    const AT_MOST: Duration = Duration::from_micros(150);
    const MOMENT: Duration = Duration::from_micros(1);

    fn attention(at_most: Duration) -> Attention {
        Attention::new(Some(ConnectionThreads::start(at_most).expect("threads").place()))
    }

    #[test]
    fn it_lasts_from_event_to_event() {
        let mut attention = attention(AT_MOST);
        let mut now = Instant::now();
        assert!(!attention.holds(|| now, 0), "nothing has come yet");
        for _ in 0..10 {
            attention.heard(now);
            assert!(attention.holds(|| now + AT_MOST - MOMENT, 2));
            now += AT_MOST - MOMENT;
        }
        assert!(!attention.holds(|| now, 3), "there is enough to do");
        attention.heard(now);
        assert!(attention.holds(|| now, 0), "that was no vain attempt");
    }

    #[test]
    fn what_is_in_vain_becomes_rare() {
        let mut attention = attention(AT_MOST);
        let mut now = Instant::now();
        let mut attempts = 0;
        let event = |attention: &mut Attention, now: &mut Instant| {
            attention.heard(*now);
            let holds = attention.holds(|| *now, 1);
            *now += AT_MOST;
            attention.holds(|| *now, 1);
            holds
        };
        for _ in 0..1000 {
            attempts += u32::from(event(&mut attention, &mut now));
        }
        assert!((15..25).contains(&attempts), "{attempts}");
        // One that is not in vain changes that.
        while !event(&mut attention, &mut now) {}
        for _ in 0..1 << VAIN_MAX {
            attention.heard(now);
        }
        attention.heard(now);
        attention.heard(now);
        assert!(!attention.holds(|| now + AT_MOST, 1));
        assert_eq!((attention.vain, attention.pause), (1, 2));
    }

    #[test]
    fn without_a_thread_or_time_it_sleeps() {
        for mut attention in [Attention::new(None), attention(Duration::ZERO)] {
            attention.heard(Instant::now());
            assert!(!attention.holds(Instant::now, 0));
        }
    }
}
