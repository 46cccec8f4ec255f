//! How many connections there may be, and whose.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lunshadow_iscsi::pdu::Isid;
use lunshadow_lun::InitiatorName;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::{Limits, PortalGroup};

/// The connections that are logging in.
pub(crate) struct LoginPlaces {
    limit: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    /// In the order in which they came. A sender is only ever dropped.
    places: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The place of one connection, which is free when this is dropped.
pub(crate) struct LoginPlace {
    places: Arc<LoginPlaces>,
    number: u64,
    lost: oneshot::Receiver<()>,
}

impl LoginPlaces {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { limit: limits.logins.max(1), waiting: Mutex::default() }
    }

    /// Takes a place; if there is none left, that of the oldest connection.
    pub(crate) fn take(self: &Arc<Self>) -> LoginPlace {
        let mut waiting = self.waiting.lock();
        while waiting.places.len() >= self.limit {
            waiting.places.pop_first();
        }
        let (kept, lost) = oneshot::channel();
        let number = waiting.next;
        waiting.next += 1;
        waiting.places.insert(number, kept);
        LoginPlace { places: self.clone(), number, lost }
    }
}

impl LoginPlace {
    /// Resolves when a newer connection has taken the place.
    pub(crate) async fn lost(&mut self) {
        let _ = (&mut self.lost).await;
    }
}

impl Drop for LoginPlace {
    fn drop(&mut self) {
        self.places.waiting.lock().places.remove(&self.number);
    }
}

/// The sessions that there are, and what each of them may hold.
#[derive(Debug)]
pub(crate) struct SessionPlaces {
    limits: Limits,
    taken: Mutex<Taken>,
    share_bytes: watch::Sender<u32>,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    /// How often each place of an initiator is taken: a session and the one that takes its place have one together.
    by_initiator: HashMap<InitiatorName, HashMap<Seat, usize>>,
}

/// What distinguishes the sessions of an initiator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Seat {
    Normal(Isid, PortalGroup),
    /// Each has a number of its own.
    Discovery(u16),
}

/// The place of one session, which is free when this is dropped.
pub(crate) struct SessionPlace {
    places: Arc<SessionPlaces>,
    initiator: InitiatorName,
    seat: Seat,
}

impl SessionPlaces {
    pub(crate) fn new(limits: Limits) -> Self {
        let share_bytes = watch::Sender::new(limits.share_bytes(1));
        Self { limits, taken: Mutex::default(), share_bytes }
    }

    /// Takes a place for a session, if there is one for its initiator.
    pub(crate) fn take(self: &Arc<Self>, initiator: &InitiatorName, seat: Seat) -> Option<SessionPlace> {
        let mut taken = self.taken.lock();
        let count = taken.count;
        let own = taken.by_initiator.entry(initiator.clone()).or_default();
        let is_new = !own.contains_key(&seat);
        if is_new && (own.len() >= self.limits.sessions_per_initiator || count >= self.limits.sessions) {
            if own.is_empty() {
                taken.by_initiator.remove(initiator);
            }
            return None;
        }
        *own.entry(seat).or_default() += 1;
        taken.count += usize::from(is_new);
        self.share(&taken);
        Some(SessionPlace { places: self.clone(), initiator: initiator.clone(), seat })
    }

    /// How many sessions there are.
    pub(crate) fn count(&self) -> usize {
        self.taken.lock().count
    }

    /// What each session may hold at present, and every change of it.
    pub(crate) fn share_bytes(&self) -> watch::Receiver<u32> {
        self.share_bytes.subscribe()
    }

    fn share(&self, taken: &Taken) {
        let share_bytes = self.limits.share_bytes(taken.count);
        self.share_bytes.send_if_modified(|current| std::mem::replace(current, share_bytes) != share_bytes);
    }
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        let Some(own) = taken.by_initiator.get_mut(&self.initiator) else { return };
        let Some(times) = own.get_mut(&self.seat) else { return };
        *times -= 1;
        if *times > 0 {
            return;
        }
        own.remove(&self.seat);
        if own.is_empty() {
            taken.by_initiator.remove(&self.initiator);
        }
        taken.count -= 1;
        self.places.share(&taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initiator(name: &str) -> InitiatorName {
        format!("iqn.2026-11.org.example:{name}").parse().expect("a name")
    }

    fn normal(qualifier: u16) -> Seat {
        Seat::Normal(Isid::random_type([0, 0, 1], qualifier), PortalGroup::FIRST)
    }

    #[tokio::test]
    async fn the_oldest_login_makes_room() {
        let places = Arc::new(LoginPlaces::new(&Limits { logins: 2, ..Limits::default() }));
        let (mut first, mut second) = (places.take(), places.take());
        drop(places.take());
        first.lost().await;
        // One place is free again, so that nobody loses anything.
        let _fourth = places.take();
        assert!(second.lost.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        let _fifth = places.take();
        second.lost().await;
    }

    #[test]
    fn sessions_have_a_limit_each_and_together() {
        let limits = Limits { sessions: 3, sessions_per_initiator: 2, total_bytes: 6 << 20, ..Limits::default() };
        let places = Arc::new(SessionPlaces::new(limits));
        let (one, two) = (initiator("one"), initiator("two"));
        let share = places.share_bytes();
        let first = places.take(&one, normal(1)).expect("a place");
        assert_eq!(*share.borrow(), 6 << 20);
        let _second = places.take(&one, normal(2)).expect("a place");
        assert!(places.take(&one, Seat::Discovery(3)).is_none(), "two are all that one initiator has");
        let _third = places.take(&two, Seat::Discovery(3)).expect("a place");
        assert_eq!(*share.borrow(), 2 << 20);
        assert!(places.take(&two, Seat::Discovery(4)).is_none(), "three are all that there are");
        // A session that takes the place of another needs none of its own.
        let again = places.take(&one, normal(1)).expect("the same place");
        drop(first);
        assert!(places.take(&two, normal(1)).is_none());
        drop(again);
        assert_eq!(*share.borrow(), 3 << 20);
        assert!(places.take(&two, normal(1)).is_some());
    }
}
