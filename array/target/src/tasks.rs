//! The commands that a session has under way.
//!
//! The table is shared: the session's connection works on it, and task management of any session ends commands in it.
//! INVARIANT: storage is never interrupted. A command that waits, for data or for its turn, is dropped; one that runs is marked,
//! finishes, and is not answered.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;
use lunshadow_iscsi::pdu::{DataOut, ScsiCommand, Tag};
use lunshadow_iscsi::transfer::{ReadyToTransferGrant, WriteError, WriteTransfer};
use lunshadow_lun::AlignedBuffer;
use lunshadow_scsi::SenseFormat;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::claim::Claim;
use crate::connection::settled;
use crate::{Task, TaskSet, UnitId};

/// The commands of one session by their Initiator Task Tag.
#[derive(Default)]
pub(crate) struct TaskTable(Mutex<HashMap<Tag, Entry>>);

/// What is kept of a command until it is answered.
pub(crate) struct Accepted {
    /// The header of the SCSI Command.
    pub(crate) command: ScsiCommand,
    /// The unit that it is for, if there is one.
    pub(crate) unit: Option<UnitId>,
    /// How much data-out the command takes, in bytes.
    pub(crate) data_out_len: u32,
    /// The format of its sense data.
    pub(crate) sense_format: SenseFormat,
    /// R2Ts that were sent for it.
    pub(crate) r2ts_sent: u32,
    /// Its place in the command window; an immediate command has none.
    pub(crate) slot: Option<Slot>,
}

/// A place in the command window, which opens again when this is dropped.
pub(crate) struct Slot(Arc<AtomicU32>);

/// What a command needs besides its data: its turn and room in the connection's budget. Both were claimed when it arrived, in
/// that order, so no command waits for a later one.
pub(crate) struct Claims {
    pub(crate) turn: Claim,
    pub(crate) room: Claim,
}

/// A command that has its data.
pub(crate) struct Ready {
    pub(crate) itt: Tag,
    pub(crate) task: Task,
    pub(crate) claims: Claims,
    pub(crate) data_out: Bytes,
    /// To be dropped when the command does not touch storage any more.
    pub(crate) flight: InFlight,
}

/// What a command that waits for data needs next.
pub(crate) enum Step {
    /// Data that is on its way or that these R2Ts ask for.
    Data(Vec<ReadyToTransferGrant>),
    /// Nothing: it runs.
    Run(Box<Ready>),
}

/// A command that ends because of the data that its initiator sent.
pub(crate) struct Spoiled {
    pub(crate) accepted: Accepted,
    pub(crate) error: WriteError,
}

/// The data of a command on its way.
pub(crate) struct Receiving {
    pub(crate) task: Task,
    pub(crate) claims: Claims,
    pub(crate) transfer: WriteTransfer,
    /// All data so far, while it came in one piece.
    pub(crate) piece: Bytes,
    /// All data so far, once there is more than one piece, and how much that is.
    gathered: Option<(AlignedBuffer, usize)>,
    /// How much there will be in the end, in bytes.
    pub(crate) total_len: u32,
    /// Whether unsolicited Data-Outs are still to come.
    pub(crate) unsolicited: bool,
    /// How often somebody has looked since data last came.
    looked: u32,
}

struct Entry {
    accepted: Accepted,
    stage: Stage,
}

enum Stage {
    Receiving(Box<Receiving>),
    Running(Arc<Flight>),
}

/// A command that runs, for all who have to know how it stands.
#[derive(Default)]
struct Flight {
    is_unwanted: AtomicBool,
    is_over: AtomicBool,
    changed: Notify,
}

impl Flight {
    fn set(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    async fn until(&self, flag: &AtomicBool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // What changes from here on is noticed.
            changed.as_mut().enable();
            if flag.load(Ordering::Acquire) {
                return;
            }
            changed.await;
        }
    }
}

/// The side of a flight that runs the command, which is over when this is dropped.
pub(crate) struct InFlight(Arc<Flight>);

impl InFlight {
    /// Waits until the command is not wanted any more.
    pub(crate) async fn unwanted(&self) {
        self.0.until(&self.0.is_unwanted).await;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.set(&self.0.is_over);
    }
}

impl Slot {
    /// A place of the window whose `opened` counts the places that opened again.
    pub(crate) fn new(opened: &Arc<AtomicU32>) -> Self {
        Self(opened.clone())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl Receiving {
    pub(crate) fn new(task: Task, claims: Claims, transfer: WriteTransfer, immediate: Bytes, total_len: u32) -> Self {
        Self { task, claims, transfer, piece: immediate, gathered: None, total_len, unsolicited: false, looked: 0 }
    }

    fn place(&mut self, data: Bytes) {
        self.looked = 0;
        if self.piece.is_empty() && self.gathered.is_none() {
            self.piece = data;
            return;
        }
        let (gathered, filled) = self.gathered.get_or_insert_with(|| {
            let mut gathered = AlignedBuffer::of_len(usize::try_from(self.total_len).unwrap_or(0));
            let piece = std::mem::take(&mut self.piece);
            gathered[..piece.len()].copy_from_slice(&piece);
            (gathered, piece.len())
        });
        // The transfer has checked that it is what comes next, and not too much.
        gathered[*filled..*filled + data.len()].copy_from_slice(&data);
        *filled += data.len();
    }

    /// All the data, where it can go to a medium from.
    fn take_data(&mut self) -> Bytes {
        match self.gathered.take() {
            Some((gathered, filled)) => gathered.freeze().slice(..filled),
            None => settled(std::mem::take(&mut self.piece)),
        }
    }

    /// A command that takes no data, mostly because it is refused, only waits for the end of the data that comes unasked.
    fn is_complete(&self) -> bool {
        !self.unsolicited && (self.transfer.is_complete() || self.task.data_out_len() == 0)
    }
}

impl TaskTable {
    /// How many commands there are.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }

    pub(crate) fn contains(&self, itt: Tag) -> bool {
        self.0.lock().contains_key(&itt)
    }

    /// Enters a command that has its data.
    pub(crate) fn enter_ready(&self, accepted: Accepted, task: Task, claims: Claims, data_out: Bytes) -> Box<Ready> {
        let itt = accepted.command.itt;
        let flight = Arc::<Flight>::default();
        self.0.lock().insert(itt, Entry { accepted, stage: Stage::Running(flight.clone()) });
        Box::new(Ready { itt, task, claims, data_out, flight: InFlight(flight) })
    }

    /// Enters a command that waits for data. [`step`](Self::step) says what comes next.
    pub(crate) fn enter_receiving(&self, accepted: Accepted, receiving: Receiving) {
        let itt = accepted.command.itt;
        self.0.lock().insert(itt, Entry { accepted, stage: Stage::Receiving(Box::new(receiving)) });
    }

    /// Takes a Data-Out. What comes for a command that is not there is dropped: it may have been aborted.
    pub(crate) fn data_out(&self, header: &DataOut, data: Bytes) -> Result<(), Box<Spoiled>> {
        let mut entries = self.0.lock();
        let Some(entry) = entries.get_mut(&header.itt) else { return Ok(()) };
        let Stage::Receiving(receiving) = &mut entry.stage else { return Ok(()) };
        match receiving.transfer.accept(header, data.len()) {
            Ok(placement) => {
                if header.ttt.is_reserved() && placement.ends_sequence {
                    receiving.unsolicited = false;
                }
                receiving.place(data);
                Ok(())
            }
            Err(error) => {
                let entry = entries.remove(&header.itt).expect("it was found above");
                Err(Box::new(Spoiled { accepted: entry.accepted, error }))
            }
        }
    }

    /// Looks at the commands that wait for data. Whether none has come for one of them since it was looked at twice.
    pub(crate) fn look(&self) -> bool {
        let mut is_stuck = false;
        for entry in self.0.lock().values_mut() {
            if let Stage::Receiving(receiving) = &mut entry.stage
                && (receiving.unsolicited || receiving.transfer.is_awaiting())
            {
                receiving.looked += 1;
                is_stuck |= receiving.looked > 2;
            }
        }
        is_stuck
    }

    /// Takes a command that waits for data as far as it can go.
    pub(crate) fn step(&self, itt: Tag, ttts: &mut Ttts) -> Step {
        let mut entries = self.0.lock();
        let Some(Entry { accepted, stage }) = entries.get_mut(&itt) else { return Step::Data(Vec::new()) };
        let Stage::Receiving(receiving) = stage else { return Step::Data(Vec::new()) };
        if receiving.is_complete() {
            let flight = Arc::<Flight>::default();
            let Stage::Receiving(mut receiving) = std::mem::replace(stage, Stage::Running(flight.clone())) else {
                unreachable!("the stage was looked at above")
            };
            let data_out = receiving.take_data();
            let Receiving { task, claims, .. } = *receiving;
            let ready = Box::new(Ready { itt, task, claims, data_out, flight: InFlight(flight) });
            return Step::Run(ready);
        }
        let mut grants = Vec::new();
        // Data is asked for only when there is room for it.
        if receiving.task.data_out_len() > 0 && receiving.claims.room.is_served() {
            while let Some(grant) = receiving.transfer.next_r2t(ttts.peek()) {
                ttts.take();
                accepted.r2ts_sent += 1;
                grants.push(grant);
            }
        }
        Step::Data(grants)
    }

    /// Takes the claim on room out of a command that waits for data, if it is not served yet.
    pub(crate) fn take_room_claim(&self, itt: Tag) -> Option<Claim> {
        let mut entries = self.0.lock();
        match &mut entries.get_mut(&itt)?.stage {
            Stage::Receiving(receiving) if matches!(receiving.claims.room, Claim::Queued(_)) => {
                Some(std::mem::replace(&mut receiving.claims.room, Claim::Elsewhere))
            }
            _ => None,
        }
    }

    /// Gives a command the room that it waited for.
    pub(crate) fn give_room(&self, itt: Tag, room: Claim) {
        if let Some(Entry { stage: Stage::Receiving(receiving), .. }) = self.0.lock().get_mut(&itt) {
            receiving.claims.room = room;
        }
    }

    /// Takes out a command that has run; `None` if it is not to be answered.
    pub(crate) fn finish(&self, itt: Tag) -> Option<Accepted> {
        let entry = self.0.lock().remove(&itt)?;
        match entry.stage {
            Stage::Running(flight) if !flight.is_unwanted.load(Ordering::Acquire) => Some(entry.accepted),
            Stage::Running(_) | Stage::Receiving(_) => None,
        }
    }

    /// Takes out a command whose data came damaged; `None` if it does not wait for any.
    pub(crate) fn spoil(&self, itt: Tag) -> Option<Accepted> {
        let mut entries = self.0.lock();
        matches!(entries.get(&itt)?.stage, Stage::Receiving(_))
            .then(|| entries.remove(&itt).map(|entry| entry.accepted))?
    }

    /// Drops the commands that wait for data. What is left needs nothing more from the initiator.
    pub(crate) fn drop_receiving(&self) {
        self.0.lock().retain(|_, entry| matches!(entry.stage, Stage::Running(_)));
    }

    /// Ends all commands that match: none of them is answered from now on. Answers what has to be waited for until none of
    /// them touches storage, and how many there are.
    pub(crate) fn end(&self, matches: impl Fn(&Accepted) -> bool) -> Ended {
        let mut ended = Ended::default();
        self.0.lock().retain(|_, entry| {
            if !matches(&entry.accepted) {
                return true;
            }
            ended.count += 1;
            match &mut entry.stage {
                Stage::Receiving(_) => false,
                Stage::Running(flight) => {
                    flight.set(&flight.is_unwanted);
                    ended.running.push(flight.clone());
                    // Its tag and its place in the window are free when it is over.
                    true
                }
            }
        });
        ended
    }
}

impl TaskSet for TaskTable {
    fn abort(&self, unit: UnitId, over: Box<dyn FnOnce() + Send>) -> usize {
        let ended = self.end(|accepted| accepted.unit == Some(unit));
        let count = ended.count;
        tokio::spawn(async move {
            ended.over().await;
            over();
        });
        count
    }
}

/// Commands that were ended.
#[derive(Default)]
pub(crate) struct Ended {
    pub(crate) count: usize,
    running: Vec<Arc<Flight>>,
}

impl Ended {
    /// Waits until none of them touches storage any more.
    pub(crate) async fn over(self) {
        for flight in self.running {
            flight.until(&flight.is_over).await;
        }
    }
}

/// The Target Transfer Tags of a connection, in their order.
#[derive(Default)]
pub(crate) struct Ttts(u32);

impl Ttts {
    pub(crate) const fn peek(&self) -> Tag {
        Tag::new(self.0)
    }

    /// All but the value that is reserved.
    // RFC 7143 §11.8.5 MUST NOT: an R2T has the reserved Target Transfer Tag.
    pub(crate) const fn take(&mut self) -> Tag {
        let taken = self.peek();
        self.0 = if self.0 == u32::MAX - 1 { 0 } else { self.0 + 1 };
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7143 §11.8.5 MUST NOT: an R2T has the reserved Target Transfer Tag.
    #[test]
    fn the_reserved_tag_is_passed_over() {
        let mut ttts = Ttts(u32::MAX - 1);
        assert_eq!(ttts.take(), Tag::new(u32::MAX - 1));
        assert_eq!(ttts.peek(), Tag::new(0));
        assert!(!ttts.take().is_reserved());
    }
}
