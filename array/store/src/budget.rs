//! How much of the time background work may take while requests are under way.
//!
//! Background work goes in steps. After a step that took a time `t`, the next one waits until `t` is no more than the configured
//! share of what has passed, as long as there are requests. Nobody is to wait for work that delays nobody: when no request
//! is under way, or when somebody waits for what the work brings, the next step comes at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Requests count as under way for so long after the last one was seen: one client that waits for each answer leaves short gaps.
const LINGER: Duration = Duration::from_millis(20);

/// The requests to LUNs, as background work sees them.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A request that is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Request<'a>(&'a Requests);

impl Requests {
    pub(crate) fn begin(&self) -> Request<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Request(self)
    }

    /// How many are under way, more or less.
    pub(crate) fn under_way(&self) -> u64 {
        let ended = self.ended.load(Ordering::Relaxed);
        self.begun.load(Ordering::Relaxed).saturating_sub(ended)
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// What one kind of background work may take.
#[derive(Debug)]
pub(crate) struct Budget {
    percent: u32,
    /// The next step comes then, if requests are under way all the time.
    not_before: Instant,
    /// Requests count as under way until then.
    busy_until: Instant,
    /// How many requests had begun at the last look.
    seen: u64,
}

impl Budget {
    /// A budget of so many per cent of the time, 1 to 100.
    pub(crate) fn new(percent: u8, now: Instant) -> Self {
        Self { percent: u32::from(percent).clamp(1, 100), not_before: now, busy_until: now, seen: 0 }
    }

    /// A step has ended that took so long.
    pub(crate) fn spend(&mut self, now: Instant, step: Duration) {
        self.not_before = now + step * (100 - self.percent) / self.percent;
    }

    /// How long to wait before it is asked again; `None` if the next step may begin.
    pub(crate) fn wait(&mut self, now: Instant, requests: &Requests, is_wanted: bool) -> Option<Duration> {
        // The ends are looked at first, so that a request between the two looks counts as under way.
        let ended = requests.ended.load(Ordering::Acquire);
        let begun = requests.begun.load(Ordering::Acquire);
        if begun != ended || begun != self.seen {
            self.busy_until = now + LINGER;
        }
        self.seen = begun;
        let until = self.not_before.min(self.busy_until);
        (!is_wanted && until > now).then(|| until - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes steps of changing length for a minute of a clock that nobody waits for; the time in steps, and how many there were.
    fn work(percent: u8, is_wanted: bool, request_each: Option<Duration>) -> (Duration, u32) {
        let begin = Instant::now();
        let requests = Requests::default();
        let mut budget = Budget::new(percent, begin);
        let (mut now, mut next_request, mut spent, mut steps) = (begin, begin, Duration::ZERO, 0_u32);
        while now < begin + Duration::from_secs(60) {
            if let Some(each) = request_each.filter(|_| next_request <= now) {
                drop(requests.begin());
                next_request = now + each;
            }
            match budget.wait(now, &requests, is_wanted) {
                // Something else may wake the waiter sooner.
                Some(rest) => now += rest.min(Duration::from_millis(3)),
                None => {
                    let step = Duration::from_micros(u64::from(steps % 17) * 150 + 10);
                    now += step;
                    spent += step;
                    steps += 1;
                    budget.spend(now, step);
                }
            }
        }
        (spent, steps)
    }

    #[test]
    fn work_keeps_to_its_share_while_there_are_requests() {
        for percent in [1, 10, 50] {
            let (spent, steps) = work(percent, false, Some(Duration::from_millis(10)));
            let allowed = Duration::from_secs(60) * u32::from(percent) / 100;
            assert!(spent <= allowed + Duration::from_millis(3), "{spent:?} of {allowed:?} in {steps} steps");
            assert!(spent >= allowed * 9 / 10, "{spent:?} of {allowed:?} in {steps} steps: it need not be slower");
        }
    }

    #[test]
    fn nobody_waits_for_an_idle_pool_or_for_space() {
        let minute = Duration::from_secs(60);
        assert!(work(1, false, None).0 >= minute, "idle");
        assert!(work(1, true, Some(Duration::from_millis(10))).0 >= minute, "somebody waits for space");
        let (spent, _) = work(1, false, Some(Duration::from_secs(1)));
        assert!(spent >= minute * 9 / 10, "{spent:?}: a request a second is next to nothing");
    }

    #[test]
    fn a_request_that_is_under_way_counts_however_long_it_takes() {
        let begin = Instant::now();
        let requests = Requests::default();
        let mut budget = Budget::new(50, begin);
        let request = requests.begin();
        budget.spend(begin, Duration::from_secs(10));
        let late = begin + Duration::from_secs(9);
        assert!(budget.wait(begin, &requests, false).is_some());
        assert!(budget.wait(late, &requests, false).is_some(), "it is still under way");
        drop(request);
        assert_eq!(budget.wait(late + LINGER, &requests, false), None, "it has ended");
    }
}
