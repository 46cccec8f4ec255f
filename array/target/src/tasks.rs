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
use lunshadow_scsi::{LunAddress, Sense, SenseFormat};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::claim::Claim;
use crate::connection::settled;
use crate::{Task, TaskSet, UnitId};

/// The commands of one session by their Initiator Task Tag.
#[derive(Default)]
pub(crate) struct TaskTable {
    entries: Mutex<HashMap<Tag, Entry>>,
    /// Places of the command window were freed without an answer.
    freed: Notify,
}

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
    Data {
        /// The LUN that the command is for.
        lun: LunAddress,
        grants: Vec<ReadyToTransferGrant>,
    },
    /// Nothing: it runs.
    Run(Box<Ready>),
    /// Nothing: it ends without having run, because of the data that its initiator sent.
    End(Box<Accepted>, Sense),
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

impl Step {
    const NOTHING: Self = Self::Data { lun: LunAddress::peripheral(0), grants: Vec::new() };
}

struct Entry {
    accepted: Accepted,
    stage: Stage,
}

enum Stage {
    Receiving(Box<Receiving>),
    Draining(Box<Draining>),
    Running(Arc<Flight>),
}

/// A command that will not run, while the data that was asked for or announced still comes. It is over when that has come to its end, since the
/// initiator may use tag and buffer again then.
struct Draining {
    transfer: WriteTransfer,
    end: DrainedEnd,
    /// How often somebody has looked since data last came.
    looked: u32,
}

/// What becomes of a command once its data has come to its end.
enum DrainedEnd {
    Answered(Sense),
    /// It was aborted: whoever waits for it learns that it is over.
    Aborted(InFlight),
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

impl Draining {
    fn aborted(transfer: WriteTransfer, ended: &mut Ended) -> Self {
        let mut draining = Self { transfer, end: DrainedEnd::Aborted(InFlight(Arc::default())), looked: 0 };
        draining.abort(ended);
        draining
    }

    /// Has whoever ends it wait until its data has come to its end, as everybody does who ended it before.
    fn abort(&mut self, ended: &mut Ended) {
        let flight = match &self.end {
            DrainedEnd::Aborted(InFlight(flight)) => flight.clone(),
            DrainedEnd::Answered(_) => {
                let flight = Arc::<Flight>::default();
                self.end = DrainedEnd::Aborted(InFlight(flight.clone()));
                flight
            }
        };
        ended.running.push(flight);
    }

    fn discard(&mut self, header: &DataOut) {
        self.transfer.discard(header);
        self.looked = 0;
    }
}

impl TaskTable {
    /// How many commands there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().len()
    }

    pub(crate) fn contains(&self, itt: Tag) -> bool {
        self.entries.lock().contains_key(&itt)
    }

    /// Enters a command that has its data.
    pub(crate) fn enter_ready(&self, accepted: Accepted, task: Task, claims: Claims, data_out: Bytes) -> Box<Ready> {
        let itt = accepted.command.itt;
        let flight = Arc::<Flight>::default();
        self.entries.lock().insert(itt, Entry { accepted, stage: Stage::Running(flight.clone()) });
        Box::new(Ready { itt, task, claims, data_out, flight: InFlight(flight) })
    }

    /// Enters a command that waits for data. [`step`](Self::step) says what comes next.
    pub(crate) fn enter_receiving(&self, accepted: Accepted, receiving: Receiving) {
        let itt = accepted.command.itt;
        self.entries.lock().insert(itt, Entry { accepted, stage: Stage::Receiving(Box::new(receiving)) });
    }

    /// Enters a command whose data cannot be taken.
    pub(crate) fn enter_spoiled(&self, accepted: Accepted, transfer: WriteTransfer, sense: Sense) {
        let stage = Stage::Draining(Box::new(Draining { transfer, end: DrainedEnd::Answered(sense), looked: 0 }));
        self.entries.lock().insert(accepted.command.itt, Entry { accepted, stage });
    }

    /// Takes a Data-Out. What comes for a command that is not there is dropped: it may have been aborted. After an error, the command is to be
    /// [spoiled](Self::spoil).
    pub(crate) fn data_out(&self, header: &DataOut, data: Bytes) -> Result<(), WriteError> {
        let mut entries = self.entries.lock();
        match entries.get_mut(&header.itt).map(|entry| &mut entry.stage) {
            Some(Stage::Receiving(receiving)) => {
                let placement = receiving.transfer.accept(header, data.len())?;
                if header.ttt.is_reserved() && placement.ends_sequence {
                    receiving.unsolicited = false;
                }
                receiving.place(data);
            }
            Some(Stage::Draining(draining)) => draining.discard(header),
            Some(Stage::Running(_)) | None => {}
        }
        Ok(())
    }

    /// Has a command end with this sense because of a Data-Out that cannot be taken.
    pub(crate) fn spoil(&self, header: &DataOut, sense: Sense) {
        let mut entries = self.entries.lock();
        let Some(Entry { stage, .. }) = entries.get_mut(&header.itt) else { return };
        if let Stage::Receiving(receiving) = stage {
            let transfer = receiving.transfer.clone();
            *stage = Stage::Draining(Box::new(Draining { transfer, end: DrainedEnd::Answered(sense), looked: 0 }));
        }
        if let Stage::Draining(draining) = stage {
            draining.discard(header);
        }
    }

    /// Looks at the commands that wait for data. Whether none has come for one of them since it was looked at twice.
    pub(crate) fn look(&self) -> bool {
        let mut is_stuck = false;
        for entry in self.entries.lock().values_mut() {
            let looked = match &mut entry.stage {
                Stage::Receiving(receiving) if receiving.unsolicited || receiving.transfer.is_awaiting() => {
                    &mut receiving.looked
                }
                Stage::Draining(draining) => &mut draining.looked,
                Stage::Receiving(_) | Stage::Running(_) => continue,
            };
            *looked += 1;
            is_stuck |= *looked > 2;
        }
        is_stuck
    }

    /// Takes a command that waits for data as far as it can go.
    pub(crate) fn step(&self, itt: Tag, ttts: &mut Ttts) -> Step {
        let mut entries = self.entries.lock();
        // RFC 7143 §11.4.2 MUST: a command that ends while its data still comes is answered after the last F bit.
        if matches!(entries.get(&itt), Some(Entry { stage: Stage::Draining(draining), .. }) if !draining.transfer.is_awaiting())
        {
            return match entries.remove(&itt) {
                Some(Entry { accepted, stage: Stage::Draining(draining) }) => match draining.end {
                    DrainedEnd::Answered(sense) => Step::End(Box::new(accepted), sense),
                    DrainedEnd::Aborted(_) => Step::NOTHING,
                },
                _ => Step::NOTHING,
            };
        }
        let Some(Entry { accepted, stage }) = entries.get_mut(&itt) else { return Step::NOTHING };
        let Stage::Receiving(receiving) = stage else { return Step::NOTHING };
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
                grants.push(grant);
            }
        }
        Step::Data { lun: accepted.command.lun, grants }
    }

    /// Takes the claim on room out of a command that waits for data, if it is not served yet.
    pub(crate) fn take_room_claim(&self, itt: Tag) -> Option<Claim> {
        let mut entries = self.entries.lock();
        match &mut entries.get_mut(&itt)?.stage {
            Stage::Receiving(receiving) if matches!(receiving.claims.room, Claim::Queued(_)) => {
                Some(std::mem::replace(&mut receiving.claims.room, Claim::Elsewhere))
            }
            _ => None,
        }
    }

    /// Gives a command the room that it waited for.
    pub(crate) fn give_room(&self, itt: Tag, room: Claim) {
        if let Some(Entry { stage: Stage::Receiving(receiving), .. }) = self.entries.lock().get_mut(&itt) {
            receiving.claims.room = room;
        }
    }

    /// Takes out a command that has run; `None` if it is not to be answered.
    pub(crate) fn finish(&self, itt: Tag) -> Option<Accepted> {
        let entry = self.entries.lock().remove(&itt)?;
        match entry.stage {
            // RFC 7143 §11.5.1 MUST: nothing comes for a command behind the response to the function that has ended it.
            Stage::Running(flight) if !flight.is_unwanted.load(Ordering::Acquire) => Some(entry.accepted),
            Stage::Running(_) | Stage::Receiving(_) | Stage::Draining(_) => None,
        }
    }

    /// Drops the commands that wait for data. What is left needs nothing more from the initiator.
    pub(crate) fn drop_receiving(&self) {
        self.entries.lock().retain(|_, entry| matches!(entry.stage, Stage::Running(_)));
    }

    /// Ends all commands that match: none of them is answered from now on. Answers what has to be waited for until none of
    /// them touches storage, and how many there are.
    pub(crate) fn end(&self, matches: impl Fn(&Accepted) -> bool) -> Ended {
        self.end_with(matches, false)
    }

    /// As [`end`](Self::end), but commands whose data is on its way are over only when that has come to its end.
    pub(crate) fn end_after_data(&self, matches: impl Fn(&Accepted) -> bool) -> Ended {
        self.end_with(matches, true)
    }

    /// Waits no longer for the data of commands that were aborted, which are over then.
    pub(crate) fn give_up_data(&self, matches: impl Fn(&Accepted) -> bool) {
        let is_awaited = |stage: &Stage| matches!(stage, Stage::Draining(draining) if matches!(draining.end, DrainedEnd::Aborted(_)));
        self.entries.lock().retain(|_, entry| !(is_awaited(&entry.stage) && matches(&entry.accepted)));
        self.freed.notify_one();
    }

    /// Resolves once commands were ended that had not begun to run.
    pub(crate) async fn places_freed(&self) {
        self.freed.notified().await;
    }

    fn end_with(&self, matches: impl Fn(&Accepted) -> bool, drains: bool) -> Ended {
        let mut ended = Ended::default();
        self.entries.lock().retain(|_, entry| {
            if !matches(&entry.accepted) {
                return true;
            }
            ended.count += 1;
            match &mut entry.stage {
                Stage::Receiving(receiving) if drains && receiving.transfer.is_awaiting() => {
                    let transfer = receiving.transfer.clone();
                    entry.stage = Stage::Draining(Box::new(Draining::aborted(transfer, &mut ended)));
                    true
                }
                Stage::Draining(draining) if drains => {
                    draining.abort(&mut ended);
                    true
                }
                Stage::Receiving(_) | Stage::Draining(_) => false,
                Stage::Running(flight) => {
                    flight.set(&flight.is_unwanted);
                    ended.running.push(flight.clone());
                    // Its tag and its place in the window are free when it is over.
                    true
                }
            }
        });
        // Only now, when their places are free.
        if ended.count > 0 {
            self.freed.notify_one();
        }
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
