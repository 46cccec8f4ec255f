//! Answers that wait until the initiator has acknowledged all that came before them (RFC 7143 11.6.1).

use std::collections::VecDeque;

use lunshadow_iscsi::pdu::{Tag, TaskResponse};
use lunshadow_iscsi::serial::SerialNumber;

use crate::tasks::Slot;

/// What an initiator has acknowledged, and which answers wait for more of that.
pub(super) struct Fence {
    /// The last ExpStatSN.
    expected: SerialNumber,
    waiting: VecDeque<Fenced>,
}

/// An answer to a task management function.
pub(super) struct Fenced {
    pub(super) itt: Tag,
    pub(super) response: TaskResponse,
    /// The StatSN that the initiator has to expect before.
    pub(super) from: SerialNumber,
    /// The function's place in the window.
    pub(super) slot: Option<Slot>,
}

impl Fence {
    /// For a connection whose next answer has this number.
    pub(super) fn new(next_stat_sn: SerialNumber) -> Self {
        Self { expected: next_stat_sn.minus(1), waiting: VecDeque::new() }
    }

    /// The initiator has said what it expects next, in a request that may be older than others.
    pub(super) fn acknowledge(&mut self, exp_stat_sn: SerialNumber) {
        if self.expected.precedes(exp_stat_sn) {
            self.expected = exp_stat_sn;
        }
    }

    /// Takes an answer. It is the next one to [go](Self::next) if everything before it is acknowledged already.
    pub(super) fn enter(&mut self, fenced: Fenced) {
        self.waiting.push_back(fenced);
    }

    /// An answer that may go.
    pub(super) fn next(&mut self) -> Option<Fenced> {
        let is_acknowledged = |fenced: &Fenced| !self.expected.precedes(fenced.from);
        let at = self.waiting.iter().position(is_acknowledged)?;
        self.waiting.remove(at)
    }

    /// An answer that would wait if the connection did not end.
    pub(super) fn last(&mut self) -> Option<Fenced> {
        self.waiting.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_when_all_before_it_is_acknowledged() {
        let mut fence = Fence::new(SerialNumber(0));
        for (tag, from) in [(1, u32::MAX), (2, 0), (3, 2)] {
            let (itt, from) = (Tag::new(tag), SerialNumber(from));
            fence.enter(Fenced { itt, response: TaskResponse::FUNCTION_COMPLETE, from, slot: None });
        }
        let gone =
            |fence: &mut Fence| std::iter::from_fn(|| fence.next()).map(|fenced| fenced.itt.get()).collect::<Vec<_>>();
        assert_eq!(gone(&mut fence), [1], "the login was acknowledged but for its last answer");
        fence.acknowledge(SerialNumber(1));
        assert_eq!(gone(&mut fence), [2]);
        fence.acknowledge(SerialNumber(0));
        assert!(gone(&mut fence).is_empty(), "an older request says nothing new");
        fence.acknowledge(SerialNumber(2));
        assert_eq!(gone(&mut fence), [3]);
        assert!(fence.is_empty() && fence.last().is_none());
    }
}
