//! Which of two ways to a medium is the faster one here.

use std::time::{Duration, Instant};

/// Rounds of each way, in turn, so that what disturbs the machine disturbs both.
const ROUNDS: usize = 5;
/// No more than this is spent on all of them.
const AT_MOST: Duration = Duration::from_millis(500);

/// The median times of two ways to do the same. `None` if one of them failed.
pub(super) fn compare(
    mut first: impl FnMut() -> bool,
    mut second: impl FnMut() -> bool,
) -> Option<(Duration, Duration)> {
    let begin = now();
    let (mut first_times, mut second_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        first_times.push(timed(&mut first)?);
        second_times.push(timed(&mut second)?);
        if begin.elapsed() > AT_MOST {
            break;
        }
    }
    Some((median(first_times), median(second_times)))
}

fn timed(work: &mut impl FnMut() -> bool) -> Option<Duration> {
    let begin = now();
    work().then(|| begin.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[expect(clippy::disallowed_methods, reason = "it is the machine that is measured, and only when somebody asks for it")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_are_gone_in_turn() {
        let turns = std::cell::RefCell::new(Vec::new());
        let turn = |way: u8| {
            turns.borrow_mut().push(way);
            true
        };
        assert!(compare(|| turn(1), || turn(2)).is_some());
        let turns = turns.take();
        assert!(turns.len() <= 2 * ROUNDS && turns.chunks(2).all(|pair| pair == [1, 2]));
        assert_eq!(compare(|| true, || false), None);
        assert_eq!(median([3, 1, 2].map(Duration::from_secs).to_vec()), Duration::from_secs(2));
    }
}
