//! Command and status numbering of both ends (RFC 7143 4.2.2).

use std::collections::BTreeMap;

use crate::serial::SerialNumber;

/// The target's command window: puts commands in the order of their CmdSN and says how far the initiator may send ahead.
///
/// The window moves on as commands are [released](Self::release), so it bounds the commands that a session has under way.
/// INVARIANT: MaxCmdSN never goes back.
#[derive(Clone, Debug)]
pub struct CmdSnWindow<T> {
    exp_cmd_sn: SerialNumber,
    max_cmd_sn: SerialNumber,
    /// Commands that came before one with a lower number, by their distance from `origin`; `None` for those that are not to come any more.
    held: BTreeMap<u32, Option<T>>,
    origin: SerialNumber,
}

/// What became of a command that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CmdSnVerdict<T> {
    /// It was expected, and is received. The one behind it [comes next](CmdSnWindow::take_next), if it waits already.
    Ready(T),
    /// A command with a lower number is missing; it waits for that one.
    Held,
    /// It is outside the window or came before: it is to be dropped without a word (RFC 7143 4.2.2.1).
    Dropped,
}

impl<T> CmdSnWindow<T> {
    /// A window of `depth` commands that begins with `first`.
    #[must_use]
    pub const fn new(first: SerialNumber, depth: u32) -> Self {
        Self { exp_cmd_sn: first, max_cmd_sn: first.plus(depth).minus(1), held: BTreeMap::new(), origin: first }
    }

    /// The number expected next, as responses carry it.
    #[must_use]
    pub const fn exp_cmd_sn(&self) -> SerialNumber {
        self.exp_cmd_sn
    }

    /// The last number that is taken for now, as responses carry it.
    #[must_use]
    pub const fn max_cmd_sn(&self) -> SerialNumber {
        self.max_cmd_sn
    }

    /// Takes a command that is not immediate (those bypass the window).
    // RFC 7143 §4.2.2.1 MUST: a request that is not immediate and lies outside the window, or came before, is ignored without a word.
    pub fn accept(&mut self, cmd_sn: SerialNumber, command: T) -> CmdSnVerdict<T> {
        let Some(ahead) = self.exp_cmd_sn.distance_to(cmd_sn) else { return CmdSnVerdict::Dropped };
        if cmd_sn.distance_to(self.max_cmd_sn).is_none() {
            return CmdSnVerdict::Dropped;
        }
        if ahead > 0 {
            let place = self.place(cmd_sn);
            if self.held.contains_key(&place) {
                return CmdSnVerdict::Dropped;
            }
            self.held.insert(place, Some(command));
            return CmdSnVerdict::Held;
        }
        // RFC 7143 §4.2.2.1 MUST NOT: the CmdSNs that are acknowledged have holes.
        self.exp_cmd_sn = self.exp_cmd_sn.next();
        CmdSnVerdict::Ready(command)
    }

    /// The command whose turn it is, if it waits already; it is received then.
    pub fn take_next(&mut self) -> Option<T> {
        self.skip_aborted();
        let next = self.held.remove(&self.place(self.exp_cmd_sn))?;
        self.exp_cmd_sn = self.exp_cmd_sn.next();
        next
    }

    /// Takes back that the command which came last out of [`accept`](Self::accept) or [`take_next`](Self::take_next) was received, because it was
    /// rejected: its number is expected again.
    // RFC 7143 §7.3 MUST NOT: the CmdSN of a request that is rejected counts as received.
    pub const fn take_back(&mut self) {
        self.exp_cmd_sn = self.exp_cmd_sn.minus(1);
    }

    /// Counts a command as received that was aborted before it could run, because it has not come or waits for one with a lower number
    /// (RFC 7143 11.6.1). Whether its number is one that is still expected, below that of the `request` that aborts it.
    // RFC 7143 §7.11 MUST: the command that an abort is about counts as received if it has not come, and the function is complete.
    pub fn pass_over(&mut self, cmd_sn: SerialNumber, request: SerialNumber) -> bool {
        let is_expected = self.exp_cmd_sn.distance_to(cmd_sn).is_some()
            && cmd_sn.precedes(request)
            && cmd_sn.distance_to(self.max_cmd_sn).is_some();
        if is_expected {
            self.held.insert(self.place(cmd_sn), None);
            self.skip_aborted();
        }
        is_expected
    }

    fn skip_aborted(&mut self) {
        while let Some(None) = self.held.get(&self.place(self.exp_cmd_sn)) {
            self.held.remove(&self.place(self.exp_cmd_sn));
            self.exp_cmd_sn = self.exp_cmd_sn.next();
            // Nobody will release its place.
            self.release();
        }
    }

    const fn place(&self, cmd_sn: SerialNumber) -> u32 {
        cmd_sn.0.wrapping_sub(self.origin.0)
    }

    /// Notes that a command that this window made ready is done, which lets the initiator send one more.
    // RFC 7143 §4.2.2.1 MUST NOT: MaxCmdSN is less than ExpCmdSN - 1.
    pub const fn release(&mut self) {
        self.max_cmd_sn = self.max_cmd_sn.next();
    }
}

/// The initiator's view of the target's command window.
#[derive(Clone, Debug)]
pub struct CommandWindow {
    next: SerialNumber,
    exp_cmd_sn: SerialNumber,
    max_cmd_sn: SerialNumber,
}

impl CommandWindow {
    /// The window after a login.
    #[must_use]
    pub const fn new(first_cmd_sn: SerialNumber, max_cmd_sn: SerialNumber) -> Self {
        Self { next: first_cmd_sn, exp_cmd_sn: first_cmd_sn, max_cmd_sn }
    }

    /// The number of the next command, if the window is open; it is then taken.
    pub fn take(&mut self) -> Option<SerialNumber> {
        self.is_open().then(|| self.next.take())
    }

    /// Whether a command may be sent now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.next.distance_to(self.max_cmd_sn).is_some()
    }

    /// The number that an immediate request carries: the next command's, which it does not take.
    #[must_use]
    pub const fn next_cmd_sn(&self) -> SerialNumber {
        self.next
    }

    /// The number that the target expects next, as far as it has said.
    #[must_use]
    pub const fn exp_cmd_sn(&self) -> SerialNumber {
        self.exp_cmd_sn
    }

    /// Takes ExpCmdSN and MaxCmdSN of any target PDU (RFC 7143 4.2.2.1): values that go back are old, and a pair that
    /// contradicts itself is not looked at.
    pub fn update(&mut self, exp_cmd_sn: SerialNumber, max_cmd_sn: SerialNumber) {
        if max_cmd_sn.precedes(exp_cmd_sn.minus(1)) {
            return;
        }
        if self.exp_cmd_sn.precedes(exp_cmd_sn) {
            self.exp_cmd_sn = exp_cmd_sn;
        }
        if self.max_cmd_sn.precedes(max_cmd_sn) {
            self.max_cmd_sn = max_cmd_sn;
        }
    }
}

/// The initiator's check of StatSN: with ErrorRecoveryLevel 0 a gap means that a response was lost for good.
#[derive(Clone, Debug)]
pub struct StatSnTracker {
    expected: SerialNumber,
}

/// A response whose StatSN is not the one expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("StatSN {received} came where {expected} was expected")]
pub struct StatSnGap {
    /// The number that was expected.
    pub expected: SerialNumber,
    /// The number that came.
    pub received: SerialNumber,
}

impl StatSnTracker {
    /// Expects `next` first.
    #[must_use]
    pub const fn new(next: SerialNumber) -> Self {
        Self { expected: next }
    }

    /// What requests carry as ExpStatSN.
    #[must_use]
    pub const fn exp_stat_sn(&self) -> SerialNumber {
        self.expected
    }

    /// Takes the StatSN of a PDU that [consumes](crate::pdu::Bhs::consumes_stat_sn) one.
    ///
    /// # Errors
    /// [`StatSnGap`] if it is not the one expected.
    pub fn take(&mut self, received: SerialNumber) -> Result<(), StatSnGap> {
        if received != self.expected {
            return Err(StatSnGap { expected: self.expected, received });
        }
        self.expected = self.expected.next();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::SerialNumber as Sn;

    // RFC 7143 §4.2.2.1 MUST: a request that is not immediate and lies outside the window, or came before, is ignored without a word.
    // RFC 7143 §4.2.2.1 MUST: commands reach SCSI in the order of their CmdSN.
    // RFC 7143 §4.2.2.1 MUST NOT: the CmdSNs that are acknowledged have holes.
    #[test]
    fn commands_come_out_in_order() {
        let first = Sn(u32::MAX - 1);
        let mut window = CmdSnWindow::new(first, 4);
        assert_eq!(window.max_cmd_sn(), Sn(1));
        assert_eq!(window.accept(first.plus(2), "c"), CmdSnVerdict::Held);
        assert_eq!(window.accept(first.plus(2), "again"), CmdSnVerdict::Dropped);
        assert_eq!(window.accept(first.plus(1), "b"), CmdSnVerdict::Held);
        assert_eq!(window.accept(first.plus(4), "too high"), CmdSnVerdict::Dropped);
        assert_eq!(window.take_next(), None);
        assert_eq!(window.accept(first, "a"), CmdSnVerdict::Ready("a"));
        assert_eq!([window.take_next(), window.take_next(), window.take_next()], [Some("b"), Some("c"), None]);
        assert_eq!(window.exp_cmd_sn(), Sn(1));
        assert_eq!(window.accept(first, "too low"), CmdSnVerdict::Dropped);
    }

    // RFC 7143 §4.2.2.1 MUST NOT: MaxCmdSN is less than ExpCmdSN - 1.
    #[test]
    fn the_window_moves_as_commands_end() {
        let mut window = CmdSnWindow::new(Sn(10), 2);
        assert_eq!(window.accept(Sn(10), ()), CmdSnVerdict::Ready(()));
        assert_eq!(window.accept(Sn(11), ()), CmdSnVerdict::Ready(()));
        assert_eq!(window.accept(Sn(12), ()), CmdSnVerdict::Dropped, "two are under way");
        assert_eq!(window.max_cmd_sn(), window.exp_cmd_sn().minus(1), "closed, and no further");
        window.release();
        assert_eq!(window.max_cmd_sn(), Sn(12));
        assert_eq!(window.accept(Sn(12), ()), CmdSnVerdict::Ready(()));
    }

    // RFC 7143 §7.11 MUST: the command that an abort is about counts as received if it has not come, and the function is complete.
    #[test]
    fn a_command_that_is_aborted_before_it_comes_leaves_no_gap() {
        let mut window = CmdSnWindow::new(Sn(u32::MAX), 4);
        assert_eq!(window.accept(Sn(0), "second"), CmdSnVerdict::Held);
        assert_eq!(window.accept(Sn(1), "third"), CmdSnVerdict::Held);
        for (cmd_sn, request) in [(Sn(u32::MAX - 1), Sn(2)), (Sn(2), Sn(2)), (Sn(3), Sn(9))] {
            assert!(!window.pass_over(cmd_sn, request), "{cmd_sn}");
        }
        // One that waits, then the one that it waits for.
        assert!(window.pass_over(Sn(0), Sn(2)) && window.take_next().is_none());
        assert!(window.pass_over(Sn(u32::MAX), Sn(2)));
        assert_eq!(window.exp_cmd_sn(), Sn(1));
        assert_eq!((window.take_next(), window.exp_cmd_sn(), window.max_cmd_sn()), (Some("third"), Sn(2), Sn(4)));
        assert_eq!(window.accept(Sn(u32::MAX), "late"), CmdSnVerdict::Dropped);
    }

    // RFC 7143 §7.3 MUST NOT: the CmdSN of a request that is rejected counts as received.
    #[test]
    fn a_command_that_is_rejected_leaves_a_gap() {
        let mut window = CmdSnWindow::new(Sn(7), 4);
        assert_eq!(window.accept(Sn(8), "next"), CmdSnVerdict::Held);
        assert_eq!(window.accept(Sn(7), "rejected"), CmdSnVerdict::Ready("rejected"));
        window.take_back();
        assert_eq!((window.take_next(), window.exp_cmd_sn(), window.max_cmd_sn()), (None, Sn(7), Sn(10)));
        assert_eq!(window.accept(Sn(7), "better"), CmdSnVerdict::Ready("better"));
        assert_eq!(window.take_next(), Some("next"));
    }

    #[test]
    fn the_initiator_sends_within_the_window() {
        let mut window = CommandWindow::new(Sn(u32::MAX), Sn(0));
        assert_eq!((window.take(), window.take(), window.take()), (Some(Sn(u32::MAX)), Some(Sn(0)), None));
        window.update(Sn(1), Sn(u32::MAX));
        assert_eq!(window.take(), None, "a pair that contradicts itself");
        window.update(Sn(1), Sn(0));
        assert_eq!((window.take(), window.exp_cmd_sn()), (None, Sn(1)));
        window.update(Sn(1), Sn(1));
        window.update(Sn(0), Sn(0));
        assert_eq!(window.take(), Some(Sn(1)), "older values do not close the window");
        assert!(!window.is_open());
    }

    #[test]
    fn a_lost_response_is_noticed() {
        let mut tracker = StatSnTracker::new(Sn(u32::MAX));
        assert_eq!(tracker.take(Sn(u32::MAX)), Ok(()));
        assert_eq!(tracker.take(Sn(1)), Err(StatSnGap { expected: Sn(0), received: Sn(1) }));
        assert_eq!(tracker.exp_stat_sn(), Sn(0));
    }
}
