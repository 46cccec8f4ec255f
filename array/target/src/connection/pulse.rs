//! Whether an initiator is still there: silence, the question, the answer that does not come.

use std::time::Duration;

use tokio::time::Instant;

use crate::Limits;

/// When an initiator was heard of, and what is to be done about its silence.
pub(super) struct Pulse {
    probe_after: Duration,
    answer_time: Duration,
    heard: Instant,
    asked: Option<Instant>,
    /// When the commands that wait for data are looked at next.
    look_at_data: Instant,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// The initiator is to be asked whether it is there.
    Question,
    /// It has not answered.
    Burial,
}

impl Pulse {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        let Limits { probe_after, answer_time, .. } = *limits;
        let look_at_data = now + answer_time / 2;
        Self { probe_after, answer_time, heard: now, asked: None, look_at_data }
    }

    /// The initiator has sent something, whatever it was. Whether [`next`](Self::next) is sooner now.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        self.heard = now;
        self.asked.take().is_some()
    }

    /// When there is something to do next, if nothing is heard.
    pub(super) fn next(&self) -> Instant {
        let about_silence = self.asked.map_or(self.heard + self.probe_after, |asked| asked + self.answer_time);
        about_silence.min(self.look_at_data)
    }

    /// What to do about the silence.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        match self.asked {
            Some(asked) if now >= asked + self.answer_time => Due::Burial,
            None if now >= self.heard + self.probe_after => {
                // From when it can be sent: until then it was the target that kept the initiator waiting.
                self.asked = Some(now);
                Due::Question
            }
            _ => Due::Nothing,
        }
    }

    /// The initiator is to be asked something, silent or not. False if it has not answered the last question.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        self.asked.replace(self.asked.unwrap_or(now)).is_none()
    }

    /// Whether it is time to look at commands that wait for data; so it is twice within the time that the data may take.
    pub(super) fn looks_at_data(&mut self, now: Instant) -> bool {
        let looks = now >= self.look_at_data;
        if looks {
            self.look_at_data = now + self.answer_time / 2;
        }
        looks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_asked_about_and_then_the_end() {
        let seconds = Duration::from_secs;
        let limits = Limits { probe_after: seconds(10), answer_time: seconds(30), ..Limits::default() };
        let mut pulse = Pulse::new(&limits, Instant::now());
        assert_eq!(pulse.due(Instant::now()), Due::Nothing);
        for _ in 0..3 {
            assert!(pulse.next() <= Instant::now() + seconds(10));
            tokio::time::advance(seconds(10)).await;
            assert_eq!(pulse.due(Instant::now()), Due::Question);
            assert_eq!(pulse.due(Instant::now()), Due::Nothing, "it has been asked");
            tokio::time::advance(seconds(29)).await;
            assert_eq!(pulse.due(Instant::now()), Due::Nothing);
            assert!(pulse.heard(Instant::now()) && !pulse.heard(Instant::now()));
        }
        tokio::time::advance(seconds(10)).await;
        assert_eq!(pulse.due(Instant::now()), Due::Question);
        tokio::time::advance(seconds(30)).await;
        assert_eq!(pulse.due(Instant::now()), Due::Burial);
        pulse.heard(Instant::now());
        assert!(pulse.ask(Instant::now()));
        tokio::time::advance(seconds(20)).await;
        assert!(!pulse.ask(Instant::now()), "the first question counts");
        tokio::time::advance(seconds(10)).await;
        assert_eq!(pulse.due(Instant::now()), Due::Burial);
    }

    #[tokio::test(start_paused = true)]
    async fn data_is_looked_at_twice_within_its_time() {
        let limits = Limits { answer_time: Duration::from_secs(30), ..Limits::default() };
        let mut pulse = Pulse::new(&limits, Instant::now());
        let mut looks = 0;
        for _ in 0..60 {
            tokio::time::advance(Duration::from_secs(1)).await;
            looks += u32::from(pulse.looks_at_data(Instant::now()));
        }
        assert_eq!(looks, 4);
    }
}
