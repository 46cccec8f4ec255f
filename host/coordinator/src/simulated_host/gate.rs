//! The gate that all writes of applications go through: what volsnap is on Windows.
//!
//! A hold closes the gate for some disks: new writes to them wait, and the hold is complete when the writes that had passed are
//! answered. A release opens it for all, at once and whatever else is under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lunshadow_vss::DeviceName;
use tokio::sync::Notify;

/// The gate of one host.
#[derive(Default)]
pub(super) struct WriteGate {
    state: Mutex<State>,
    changed: Notify,
}

/// How many writes are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GateCounts {
    /// Passed the gate and not yet answered.
    pub in_flight: usize,
    /// Wait for a release.
    pub waiting: usize,
    /// Had to wait for a release, since the host began.
    pub delayed: u64,
}

#[derive(Default)]
struct State {
    /// The hold that is wanted now; a release takes it away.
    wanted: Option<HoldTicket>,
    tickets: u64,
    held: BTreeSet<DeviceName>,
    in_flight: BTreeMap<DeviceName, usize>,
    waiting: usize,
    delayed: u64,
}

/// One attempt to hold writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HoldTicket(u64);

/// A write that has passed the gate, until it is answered.
pub(super) struct Passage<'a> {
    gate: &'a WriteGate,
    device: &'a DeviceName,
}

impl WriteGate {
    /// Waits until writes to `device` may pass.
    pub(super) async fn pass<'a>(&'a self, device: &'a DeviceName) -> Passage<'a> {
        let mut waits: Option<Waiting<'_>> = None;
        loop {
            // Made before the look at the state, so that no change is missed in between.
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                if !state.held.contains(device) {
                    *state.in_flight.entry(device.clone()).or_default() += 1;
                    drop(state);
                    drop(waits);
                    return Passage { gate: self, device };
                }
                if waits.is_none() {
                    state.waiting += 1;
                    state.delayed += 1;
                    waits = Some(Waiting { gate: self });
                }
            }
            changed.await;
        }
    }

    /// Begins an attempt to hold. Nothing is held by it yet.
    pub(super) fn begin_hold(&self) -> HoldTicket {
        let mut state = self.state();
        state.tickets += 1;
        let ticket = HoldTicket(state.tickets);
        state.wanted = Some(ticket);
        ticket
    }

    /// Closes the gate for `devices` and waits for the writes that have passed. `false` if a release came first: nothing is
    /// held then.
    pub(super) async fn hold(&self, ticket: HoldTicket, devices: &BTreeSet<DeviceName>) -> bool {
        {
            let mut state = self.state();
            if state.wanted != Some(ticket) {
                return false;
            }
            state.held.extend(devices.iter().cloned());
        }
        loop {
            let changed = self.changed.notified();
            {
                let state = self.state();
                if state.wanted != Some(ticket) {
                    return false;
                }
                if devices.iter().all(|device| !state.in_flight.contains_key(device)) {
                    return true;
                }
            }
            changed.await;
        }
    }

    /// Returns when a release has taken the attempt away.
    pub(super) async fn taken_away(&self, ticket: HoldTicket) {
        loop {
            let changed = self.changed.notified();
            if self.state().wanted != Some(ticket) {
                return;
            }
            changed.await;
        }
    }

    /// Opens the gate.
    pub(super) fn release(&self) {
        let mut state = self.state();
        state.wanted = None;
        state.held.clear();
        drop(state);
        self.changed.notify_waiters();
    }

    pub(super) fn counts(&self) -> GateCounts {
        let state = self.state();
        let in_flight = state.in_flight.values().sum();
        GateCounts { in_flight, waiting: state.waiting, delayed: state.delayed }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write that waits, until it passes or is given up.
struct Waiting<'a> {
    gate: &'a WriteGate,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gate.state().waiting -= 1;
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        if let Some(count) = state.in_flight.get_mut(self.device) {
            *count -= 1;
            if *count == 0 {
                state.in_flight.remove(self.device);
                // Only a hold waits for this, and only for a disk's last write.
                let is_awaited = state.wanted.is_some();
                drop(state);
                if is_awaited {
                    self.gate.changed.notify_waiters();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn device(name: &str) -> DeviceName {
        DeviceName(name.to_owned())
    }

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_hold_waits_for_passed_writes_and_makes_new_ones_wait() {
        let gate = WriteGate::default();
        let (held, other) = (device("held"), device("other"));
        let Poll::Ready(passed) = poll(pin!(gate.pass(&held))) else { panic!("an open gate") };
        let devices = BTreeSet::from([held.clone()]);
        let ticket = gate.begin_hold();
        let mut hold = pin!(gate.hold(ticket, &devices));
        assert!(poll(hold.as_mut()).is_pending());
        let mut late = pin!(gate.pass(&held));
        assert!(poll(late.as_mut()).is_pending());
        assert!(poll(pin!(gate.pass(&other))).is_ready(), "other disks are not held");
        drop(passed);
        assert_eq!(poll(hold.as_mut()), Poll::Ready(true));
        assert_eq!(gate.counts(), GateCounts { in_flight: 0, waiting: 1, delayed: 1 });
        gate.release();
        assert!(poll(late.as_mut()).is_ready());
        assert_eq!(gate.counts().waiting, 0);
    }

    #[test]
    fn a_release_ends_a_hold_at_any_stage_and_leaves_nothing_held() {
        let gate = WriteGate::default();
        let disk = device("disk");
        let devices = BTreeSet::from([disk.clone()]);
        // Before the gate is closed.
        let ticket = gate.begin_hold();
        gate.release();
        assert_eq!(poll(pin!(gate.hold(ticket, &devices))), Poll::Ready(false));
        assert!(poll(pin!(gate.pass(&disk))).is_ready());
        // While it waits for a write.
        let Poll::Ready(_passed) = poll(pin!(gate.pass(&disk))) else { panic!("an open gate") };
        let ticket = gate.begin_hold();
        let mut hold = pin!(gate.hold(ticket, &devices));
        let mut taken_away = pin!(gate.taken_away(ticket));
        assert!(poll(hold.as_mut()).is_pending());
        assert!(poll(taken_away.as_mut()).is_pending());
        gate.release();
        assert_eq!(poll(hold.as_mut()), Poll::Ready(false));
        assert!(poll(taken_away.as_mut()).is_ready());
        assert!(poll(pin!(gate.pass(&disk))).is_ready());
        // An old attempt cannot hold in the name of a new one.
        let _new = gate.begin_hold();
        assert_eq!(poll(pin!(gate.hold(ticket, &devices))), Poll::Ready(false));
    }

    #[test]
    fn a_write_that_is_given_up_does_not_count_as_waiting() {
        let gate = WriteGate::default();
        let disk = device("disk");
        let devices = BTreeSet::from([disk.clone()]);
        let ticket = gate.begin_hold();
        assert_eq!(poll(pin!(gate.hold(ticket, &devices))), Poll::Ready(true));
        {
            let mut write = pin!(gate.pass(&disk));
            assert!(poll(write.as_mut()).is_pending());
            assert_eq!(gate.counts().waiting, 1);
        }
        assert_eq!(gate.counts(), GateCounts { in_flight: 0, waiting: 0, delayed: 1 });
    }
}
