//! POPULATE TOKEN and WRITE USING TOKEN: Windows' offloaded data transfer (SBC-3 4.28).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_lun::{BlockCount, CopyError, LOGICAL_BLOCK_BYTES, Lba, copy_blocks};
use lunshadow_scsi::vpd::TokenLimits;
use lunshadow_scsi::{
    AdditionalSense, CopyStatus, FieldPointer, OffloadListError, PopulateToken, RodToken, RodType, Sense, SenseKey,
    TokenRange, WriteUsingToken,
};

use super::background::Background;
use super::copies::{CopyAction, CopyEnd};
use super::medium::{Kind, Operation, check_range, report, written};
use super::nexus::Nexus;
use super::tokens::{INACTIVITY_DEFAULT, INACTIVITY_MAX, Token, Tokens};
use super::unit::Disk;
use super::{Completion, Permit, illegal_request, invalid_parameter};

/// MAXIMUM TOKEN TRANSFER SIZE: 256 MiB, so that a command is done within the four seconds that Windows waits, also where blocks have to be
/// copied.
pub(super) const TOKEN_BLOCKS_MAX: u64 = (256 << 20) / LOGICAL_BLOCK_BYTES as u64;
/// MAXIMUM RANGE DESCRIPTORS.
pub(super) const RANGES_MAX: u16 = 1024;
/// The longest list that the lengths in it can describe.
const PARAMETER_LEN_MAX: u32 = 536 + 65520;
/// How much is written under one claim of its blocks.
const PIECE_BLOCKS: u64 = (32 << 20) / LOGICAL_BLOCK_BYTES as u64;

/// What page 8Fh says of tokens.
pub(super) fn token_limits() -> TokenLimits {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    TokenLimits {
        ranges_max: RANGES_MAX,
        inactivity_max_s: seconds(INACTIVITY_MAX),
        inactivity_default_s: seconds(INACTIVITY_DEFAULT),
        transfer_max_blocks: TOKEN_BLOCKS_MAX,
        transfer_optimal_blocks: TOKEN_BLOCKS_MAX,
        block_bytes: LOGICAL_BLOCK_BYTES,
    }
}

/// A command that waits for its parameters.
pub(super) struct Offload {
    pub(super) action: CopyAction,
    pub(super) list_id: u32,
    pub(super) parameter_len: u32,
    pub(super) tokens: Arc<Tokens>,
    pub(super) permit: Permit,
    pub(super) background: Arc<Background>,
}

impl fmt::Debug for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offload").field("action", &self.action).field("list_id", &self.list_id).finish_non_exhaustive()
    }
}

/// What is written.
enum Source {
    Zeros,
    Token(Arc<Token>),
}

impl Operation {
    pub(super) fn offload(disk: Disk, offload: Offload) -> Result<Self, Sense> {
        if offload.parameter_len > PARAMETER_LEN_MAX {
            return Err(illegal_request(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR));
        }
        Ok(Self { disk, kind: Kind::Offload(Box::new(offload)) })
    }
}

impl Offload {
    pub(super) async fn run(self, disk: &Disk, list: &[u8]) -> Completion {
        // SPC-4 4.2.5.5: no parameters are no error, and nothing is done.
        if self.parameter_len == 0 {
            return Completion::good();
        }
        let begun = match self.action {
            CopyAction::POPULATE_TOKEN => self.populate(disk, list).await,
            _ => self.write(disk, list).await,
        };
        begun.unwrap_or_else(Completion::check)
    }

    /// Runs a copy, with the end of the command or after it.
    async fn begin(
        &self,
        immediate: bool,
        copy: impl Future<Output = CopyEnd> + Send + 'static,
    ) -> Result<Completion, Sense> {
        let (nexus, list_id) = (self.permit.nexus.clone(), self.list_id);
        nexus.copies().begin(list_id, self.action, immediate)?;
        if immediate {
            self.background.spawn(async move {
                let end = copy.await;
                nexus.copies().end(list_id, end);
            });
            return Ok(Completion::good());
        }
        let end = copy.await;
        let completion = end.completion.clone();
        nexus.copies().end(list_id, end);
        Ok(completion)
    }

    async fn populate(&self, disk: &Disk, list: &[u8]) -> Result<Completion, Sense> {
        let list = PopulateToken::parse(list).map_err(sense_of_list)?;
        if !matches!(list.rod_type, None | Some(RodType::UNSPECIFIED | RodType::POINT_IN_TIME)) {
            return Err(invalid_parameter(FieldPointer::byte(8)));
        }
        let inactivity = match Duration::from_secs(list.inactivity_timeout_s.into()) {
            Duration::ZERO => INACTIVITY_DEFAULT,
            asked if asked <= INACTIVITY_MAX => asked,
            _ => return Err(invalid_parameter(FieldPointer::byte(4))),
        };
        let block_count = check_ranges(disk, &list.ranges, 14)?;
        let (disk, tokens, nexus) = (disk.clone(), self.tokens.clone(), self.permit.nexus.clone());
        let copy = async move {
            match disk.lun.pin().await {
                Ok(Some(pin)) => {
                    let token = tokens.make(nexus.initiator(), pin, list.ranges, inactivity);
                    CopyEnd { token: Some(token), ..CopyEnd::well(block_count) }
                }
                Ok(None) => {
                    let sense = illegal_request(AdditionalSense::INSUFFICIENT_RESOURCES_FOR_TOKEN);
                    CopyEnd::badly(Completion::check(sense), 0)
                }
                Err(error) => CopyEnd::badly(Completion::check(report(&disk.lun, &error)), 0),
            }
        };
        self.begin(list.immediate, copy).await
    }

    async fn write(&self, disk: &Disk, list: &[u8]) -> Result<Completion, Sense> {
        let list = WriteUsingToken::parse(list).map_err(sense_of_list)?;
        let asked = check_ranges(disk, &list.ranges, 534)?;
        let source = self.source(&list.token)?;
        let available = match &source {
            Source::Zeros => u64::MAX,
            Source::Token(token) => token.block_count,
        };
        if list.offset >= available && asked > 0 {
            return Err(invalid_parameter(FieldPointer::byte(8)));
        }
        let count = asked.min(available.saturating_sub(list.offset));
        let background = list.immediate.then(|| self.background.clone());
        let write = TokenWrite { disk: disk.clone(), permit: self.permit.clone(), source, background };
        let tokens = self.tokens.clone();
        let copy = async move {
            let mut done = 0;
            let ended = write.run(list.offset, &list.ranges, count, &mut done).await;
            if let (Source::Token(token), true) = (&write.source, list.delete_token) {
                tokens.delete(token);
            }
            match ended {
                Ok(()) if done < asked => CopyEnd { status: CopyStatus::PARTIAL, ..CopyEnd::well(done) },
                Ok(()) => CopyEnd::well(done),
                Err(completion) => CopyEnd::badly(completion, done),
            }
        };
        self.begin(list.immediate, copy).await
    }

    fn source(&self, token: &RodToken) -> Result<Source, Sense> {
        if !token.has_length() {
            return Err(illegal_request(AdditionalSense::INVALID_TOKEN_LENGTH));
        }
        match token.rod_type() {
            RodType::BLOCK_ZERO => Ok(Source::Zeros),
            RodType::POINT_IN_TIME => self.tokens.redeem(token).map(Source::Token).map_err(illegal_request),
            _ => Err(illegal_request(AdditionalSense::UNSUPPORTED_TOKEN_TYPE)),
        }
    }
}

/// A WRITE USING TOKEN that has been found right.
struct TokenWrite {
    disk: Disk,
    permit: Permit,
    source: Source,
    /// Where it goes on, if no command waits for it.
    background: Option<Arc<Background>>,
}

impl TokenWrite {
    /// Writes `count` blocks of the source, from `offset` on, to the ranges. `done` counts them.
    async fn run(&self, offset: u64, ranges: &[TokenRange], count: u64, done: &mut u64) -> Result<(), Completion> {
        for range in ranges {
            let end = u64::from(range.block_count).min(count - *done);
            let mut at = 0;
            while at < end {
                // Whoever was preempted meanwhile does not write any more.
                if let Some(refused) = self.permit.refusal(&self.disk) {
                    return Err(refused);
                }
                if self.background.as_ref().is_some_and(|background| background.is_stopping()) {
                    // The target goes, and with it whoever could ask.
                    return Err(Completion::check(Sense::new(SenseKey::COPY_ABORTED, AdditionalSense::NONE)));
                }
                let (from, run) = self.place(offset + *done);
                let piece = run.min(end - at).min(PIECE_BLOCKS);
                let to = Lba(range.lba + at);
                let _held = self.disk.state.ranges.shared(to.0..to.0 + piece).await;
                self.piece(from, to, BlockCount(piece)).await.map_err(Completion::check)?;
                (at, *done) = (at + piece, *done + piece);
            }
        }
        written(&self.disk, false).await.map_err(Completion::check)
    }

    /// Where a block of the source lies, and how many follow it there.
    fn place(&self, mut offset: u64) -> (Lba, u64) {
        if let Source::Token(token) = &self.source {
            for range in &token.ranges {
                let blocks = u64::from(range.block_count);
                if offset < blocks {
                    return (Lba(range.lba + offset), blocks - offset);
                }
                offset -= blocks;
            }
        }
        (Lba(0), u64::MAX)
    }

    async fn piece(&self, from: Lba, to: Lba, count: BlockCount) -> Result<(), Sense> {
        let lun = &self.disk.lun;
        match &self.source {
            Source::Zeros => lun.discard(to, count).await.map_err(|error| report(lun, &error)),
            Source::Token(token) => {
                let moved = copy_blocks((&token.pin, from), (lun, to), count).await;
                moved.map(drop).map_err(|error| sense_of_copy(&self.disk, &error))
            }
        }
    }
}

/// What cannot be read is not this LUN's; what cannot be written is.
pub(super) fn sense_of_copy(disk: &Disk, error: &CopyError) -> Sense {
    match error {
        CopyError::Write(error) => report(&disk.lun, error),
        CopyError::Read(error) => {
            tracing::warn!(lun = %disk.lun.id(), error = error as &dyn std::error::Error, "what is copied cannot be read");
            Sense::new(SenseKey::COPY_ABORTED, AdditionalSense::THIRD_PARTY_DEVICE_FAILURE)
        }
    }
}

/// Checks ranges, whose number stands at `byte` of the list; how many blocks they have.
fn check_ranges(disk: &Disk, ranges: &[TokenRange], byte: usize) -> Result<u64, Sense> {
    if ranges.len() > usize::from(RANGES_MAX) {
        return Err(illegal_request(AdditionalSense::TOO_MANY_SEGMENT_DESCRIPTORS));
    }
    let first = byte + 2;
    let place = |index: usize| FieldPointer::byte(first + 16 * index);
    let mut block_count = 0;
    for (index, range) in ranges.iter().enumerate() {
        check_range(&disk.lun, Lba(range.lba), BlockCount(range.block_count.into()))?;
        block_count += u64::from(range.block_count);
        if block_count > TOKEN_BLOCKS_MAX {
            return Err(invalid_parameter(place(index)));
        }
    }
    // SBC-3 5.7.2: the same block twice in one list is an error.
    let mut sorted: Vec<_> = ranges.iter().filter(|range| range.block_count > 0).collect();
    sorted.sort_unstable_by_key(|range| range.lba);
    let overlaps = |pair: &[&TokenRange]| pair[0].lba + u64::from(pair[0].block_count) > pair[1].lba;
    if sorted.windows(2).any(overlaps) {
        return Err(invalid_parameter(place(0)));
    }
    Ok(block_count)
}

fn sense_of_list(error: OffloadListError) -> Sense {
    match error {
        OffloadListError::NoHeader(_) => illegal_request(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR),
        OffloadListError::InvalidField(field) => invalid_parameter(field),
    }
}

/// RECEIVE ROD TOKEN INFORMATION.
pub(super) fn token_information(nexus: &Nexus, list_id: u32) -> Result<Vec<u8>, Sense> {
    let information = nexus.copies().information(list_id);
    information.map(|information| information.to_bytes()).ok_or_else(|| super::invalid_field(2))
}
