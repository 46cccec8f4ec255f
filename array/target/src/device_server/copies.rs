//! What a nexus can ask about its copies, by list identifier (SPC-4 5.17.4).

use std::collections::HashMap;

use lunshadow_scsi::{
    AdditionalSense, CopyProgress, CopyStatus, RodToken, RodTokenInformation, Sense, SenseFormat, Status, opcode,
};
use parking_lot::Mutex;

use super::{Completion, illegal_request};

/// How many copies of one nexus are remembered, and how many go on at most.
pub(super) const COPIES_MAX: usize = 64;
/// How soon it is worth asking again.
const UPDATE_DELAY_MS: u32 = 100;

/// The service action that a copy was begun with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CopyAction(pub(super) u8);

impl CopyAction {
    pub(super) const EXTENDED_COPY: Self = Self(0x00);
    pub(super) const POPULATE_TOKEN: Self = Self(0x10);
    pub(super) const WRITE_USING_TOKEN: Self = Self(0x11);
}

/// The copies of a nexus.
#[derive(Debug, Default)]
pub(super) struct Copies(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    copies: HashMap<u32, Copy>,
    begun: u64,
}

#[derive(Debug)]
struct Copy {
    action: CopyAction,
    /// Its place in the order in which copies began.
    number: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Running { background: bool },
    Ended(CopyEnd),
}

/// How a copy ended.
#[derive(Debug)]
pub(super) struct CopyEnd {
    pub(super) status: CopyStatus,
    pub(super) completion: Completion,
    /// In logical blocks.
    pub(super) block_count: u64,
    pub(super) segments: u16,
    pub(super) token: Option<RodToken>,
}

impl CopyEnd {
    pub(super) fn well(block_count: u64) -> Self {
        let (status, completion) = (CopyStatus::COMPLETED, Completion::good());
        Self { status, completion, block_count, segments: 0, token: None }
    }

    pub(super) fn badly(completion: Completion, block_count: u64) -> Self {
        Self { status: CopyStatus::FAILED, completion, block_count, segments: 0, token: None }
    }
}

impl Copies {
    /// Begins a copy. What is known of an older one with this identifier is forgotten.
    pub(super) fn begin(&self, list_id: u32, action: CopyAction, background: bool) -> Result<(), Sense> {
        let mut table = self.0.lock();
        if table.copies.get(&list_id).is_some_and(|copy| matches!(copy.state, State::Running { .. })) {
            return Err(illegal_request(AdditionalSense::OPERATION_IN_PROGRESS));
        }
        if table.copies.len() >= COPIES_MAX && !table.copies.contains_key(&list_id) {
            let ended = table.copies.iter().filter(|(_, copy)| matches!(copy.state, State::Ended(_)));
            let oldest = ended.min_by_key(|(_, copy)| copy.number).map(|(id, _)| *id);
            let oldest = oldest.ok_or(illegal_request(AdditionalSense::INSUFFICIENT_RESOURCES))?;
            table.copies.remove(&oldest);
        }
        let number = table.begun;
        table.begun += 1;
        table.copies.insert(list_id, Copy { action, number, state: State::Running { background } });
        Ok(())
    }

    /// Ends a copy that was begun.
    pub(super) fn end(&self, list_id: u32, end: CopyEnd) {
        if let Some(copy) = self.0.lock().copies.get_mut(&list_id) {
            copy.state = State::Ended(end);
        }
    }

    /// What RECEIVE ROD TOKEN INFORMATION says of a copy, if it is known.
    pub(super) fn information(&self, list_id: u32) -> Option<RodTokenInformation> {
        let table = self.0.lock();
        let copy = table.copies.get(&list_id).filter(|copy| copy.action != CopyAction::EXTENDED_COPY)?;
        let mut information = RodTokenInformation {
            service_action: copy.action.0,
            status: CopyStatus::IN_FOREGROUND,
            update_delay_ms: Some(UPDATE_DELAY_MS),
            completion_status: Status::GOOD.0,
            sense: Vec::new(),
            blocks: 0,
            token: None,
        };
        match &copy.state {
            State::Running { background: false } => {}
            State::Running { background: true } => information.status = CopyStatus::IN_BACKGROUND,
            State::Ended(end) => {
                information.status = end.status;
                information.update_delay_ms = None;
                information.completion_status = end.completion.status.0;
                let sense = end.completion.sense.as_ref();
                information.sense = sense.map_or_else(Vec::new, |sense| sense.to_bytes(SenseFormat::Fixed));
                information.blocks = end.block_count;
                information.token.clone_from(&end.token);
            }
        }
        Some(information)
    }

    /// What RECEIVE COPY STATUS(LID1) says of an EXTENDED COPY, if it is known. Whoever has asked about one that has ended does not need it
    /// any more (SPC-4 6.29).
    pub(super) fn progress(&self, list_id: u8) -> Option<CopyProgress> {
        let mut table = self.0.lock();
        let list_id = u32::from(list_id);
        let copy = table.copies.get(&list_id).filter(|copy| copy.action == CopyAction::EXTENDED_COPY)?;
        let State::Ended(end) = &copy.state else {
            return Some(CopyProgress { ended_well: None, segments: 0, bytes: 0 });
        };
        let progress = CopyProgress {
            ended_well: Some(end.status == CopyStatus::COMPLETED),
            segments: end.segments,
            bytes: u32::try_from(end.block_count.saturating_mul(512)).unwrap_or(u32::MAX),
        };
        table.copies.remove(&list_id);
        Some(progress)
    }
}

/// The operation codes of third-party copy.
pub(super) const OPCODES: [u8; 2] = [opcode::THIRD_PARTY_COPY_OUT, opcode::THIRD_PARTY_COPY_IN];
