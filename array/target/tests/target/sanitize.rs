//! SANITIZE: what is left of the blocks, who has to wait, and what a restart or a failure makes of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use lunshadow_iscsi::pdu::{TaskFunction, TaskResponse};
use lunshadow_lun::{LunError, UnitRecord};
use lunshadow_scsi::{
    AdditionalSense, Command, ControlPage, FieldPointer, ModeData, ModeForm, ModePage, OverwriteParameters,
    PopulateToken, Power, RodTokenInformation, SanitizeAction, Sense, SenseFormat, SenseKey, SensePointer, Status,
    TokenRange, WriteUsingToken,
};
use lunshadow_target::{Completion, Limits};

use crate::device_server::{Bench, DISK, LUN_BLOCKS, attention_of, illegal, invalid_field, read, write};
use crate::memory::Map;
use crate::peer::{self, Array};

const ERASE: Command = Command::Sanitize {
    action: SanitizeAction::BlockErase,
    immediate: false,
    unrestricted_exit: false,
    parameter_len: 0,
};
const EXIT_FAILURE_MODE: Command = Command::Sanitize {
    action: SanitizeAction::ExitFailureMode,
    immediate: false,
    unrestricted_exit: false,
    parameter_len: 0,
};
const REQUEST_SENSE: Command = Command::RequestSense { format: SenseFormat::Fixed, allocation_len: 252 };

fn overwriting(pattern: &[u8]) -> OverwriteParameters {
    OverwriteParameters { invert: false, passes: 1, pattern: pattern.to_vec() }
}

fn overwrite(list: &[u8], immediate: bool, unrestricted_exit: bool) -> Command {
    let parameter_len = u16::try_from(list.len()).expect("a short list");
    Command::Sanitize { action: SanitizeAction::Overwrite, immediate, unrestricted_exit, parameter_len }
}

fn filled(pattern: &[u8]) -> Vec<u8> {
    let block = pattern.iter().copied().cycle().take(512);
    block.collect::<Vec<u8>>().repeat(usize::try_from(LUN_BLOCKS).expect("small"))
}

impl Bench {
    async fn content(&self) -> Bytes {
        self.data(DISK, read(0, u32::try_from(LUN_BLOCKS).expect("small"))).await
    }

    async fn overwrite(&self, parameters: &OverwriteParameters) -> Completion {
        let list = parameters.to_bytes();
        self.run(DISK, overwrite(&list, false, false), list).await
    }

    /// Begins an OVERWRITE that stays where it is until writes are let through.
    async fn stuck(&self, unrestricted_exit: bool) {
        self.controls.writes.forget_permits(usize::MAX);
        let list = overwriting(&[7]).to_bytes();
        assert_eq!(self.run(DISK, overwrite(&list, true, unrestricted_exit), list).await, Completion::good());
        self.controls.writes_begun.acquire().await.expect("it is never closed").forget();
    }

    /// Asks until the disk is ready, or fails.
    async fn settled(&self) -> Completion {
        loop {
            let completion = self.ask(DISK, Command::TestUnitReady).await;
            if !is_in_progress(&completion) {
                return completion;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn is_in_progress(completion: &Completion) -> bool {
    completion.sense.is_some_and(|sense| {
        (sense.key, sense.code) == (SenseKey::NOT_READY, AdditionalSense::SANITIZE_IN_PROGRESS)
            && sense.progress.is_some()
    })
}

fn failed() -> Completion {
    Completion::check(Sense::new(SenseKey::MEDIUM_ERROR, AdditionalSense::SANITIZE_COMMAND_FAILED))
}

#[tokio::test]
async fn every_block_gets_the_pattern_or_reads_as_zeros() {
    let bench = Bench::new().await;
    bench.run(DISK, write(0, 64), vec![3; 64 * 512]).await;
    assert_eq!(bench.overwrite(&overwriting(&[1, 2, 3])).await, Completion::good());
    assert!(bench.content().await == filled(&[1, 2, 3]));
    let inverted = OverwriteParameters { invert: true, passes: 2, ..overwriting(&[0x0f]) };
    let flushes = bench.controls.flushes.load(Ordering::Relaxed);
    assert_eq!(bench.overwrite(&inverted).await, Completion::good());
    assert!(bench.content().await == filled(&[0xf0]));
    assert_eq!(bench.controls.flushes.load(Ordering::Relaxed) - flushes, 1, "it is durable");
    assert_eq!(bench.overwrite(&overwriting(&[9; 512])).await, Completion::good());
    assert!(bench.content().await == filled(&[9]));
    assert_eq!(bench.ask(DISK, ERASE).await, Completion::good());
    assert!(bench.content().await == filled(&[0]));
}

#[tokio::test]
async fn parameters_have_to_be_right() {
    let bench = Bench::new().await;
    bench.run(DISK, write(0, 1), vec![3; 512]).await;
    for len in [0, 4, 517] {
        let list = vec![1; len];
        assert_eq!(bench.run(DISK, overwrite(&list, false, false), list).await, invalid_field(FieldPointer::byte(7)));
    }
    for action in [SanitizeAction::BlockErase, SanitizeAction::ExitFailureMode] {
        let command = Command::Sanitize { action, immediate: false, unrestricted_exit: false, parameter_len: 1 };
        assert_eq!(bench.ask(DISK, command).await, invalid_field(FieldPointer::byte(7)));
    }
    let sense = Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST);
    let no_pass = vec![0, 0, 0, 1, 9];
    let pointer = SensePointer::ParameterList(FieldPointer::bit(0, 4));
    let expected = Completion::check(sense.with_pointer(pointer));
    assert_eq!(bench.run(DISK, overwrite(&no_pass, false, false), no_pass).await, expected);
    let cut_off = vec![1, 0, 0, 9, 9];
    let expected = illegal(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR);
    assert_eq!(bench.run(DISK, overwrite(&cut_off, false, false), cut_off).await, expected);
    // CRYPTOGRAPHIC ERASE is not there.
    let cdb = [0x48, 3, 0, 0, 0, 0, 0, 0, 0, 0];
    let lun = lunshadow_scsi::LunAddress::peripheral(DISK);
    assert_eq!(bench.run_cdb(lun, &cdb, Bytes::new()).await, invalid_field(FieldPointer::bit(1, 4)));
    assert_eq!(bench.data(DISK, read(0, 1)).await, vec![3; 512], "nothing was done");
}

#[tokio::test]
async fn a_protected_disk_is_not_sanitized() {
    let bench = Bench::new().await;
    let page = ControlPage { software_write_protect: true, unrestricted_reordering: true, ..ControlPage::default() };
    let list = ModeData { pages: vec![ModePage::Control(page)], ..ModeData::default() }.to_bytes(ModeForm::Six);
    let parameter_len = u16::try_from(list.len()).expect("short");
    let select = Command::ModeSelect { form: ModeForm::Six, page_format: true, save: false, parameter_len };
    assert_eq!(bench.run(DISK, select, list).await, Completion::good());
    let protected = Sense::new(SenseKey::DATA_PROTECT, AdditionalSense::LOGICAL_UNIT_WRITE_PROTECTED);
    assert_eq!(bench.ask(DISK, ERASE).await, Completion::check(protected));
    assert_eq!(bench.overwrite(&overwriting(&[1])).await, Completion::check(protected));
    assert_eq!(bench.ask(DISK, EXIT_FAILURE_MODE).await, Completion::good());
}

#[tokio::test]
async fn only_questions_are_answered_while_it_runs() {
    let bench = Bench::new().await;
    bench.stuck(false).await;
    let start = Command::StartStopUnit { power: Power::Start, immediate: false };
    for command in [Command::TestUnitReady, read(0, 1), write(0, 1), start, ERASE, EXIT_FAILURE_MODE] {
        let completion = bench.ask(DISK, command).await;
        assert!(is_in_progress(&completion), "{command:?}: {completion:?}");
    }
    let sense = Sense::parse(&bench.data(DISK, REQUEST_SENSE).await).expect("sense data");
    assert!(is_in_progress(&Completion::check(sense)));
    assert_eq!(sense.progress, Some(0));
    let inquiry = Command::Inquiry { page: None, allocation_len: 255 };
    assert_eq!(bench.ask(DISK, inquiry).await.status, Status::GOOD);
    // No reset ends it.
    bench.server.reset(None);
    assert_eq!(bench.ask(DISK, read(0, 1)).await, attention_of(AdditionalSense::BUS_DEVICE_RESET));
    assert!(is_in_progress(&bench.ask(DISK, read(0, 1)).await));
    bench.controls.writes.add_permits(1000);
    assert_eq!(bench.settled().await, Completion::good());
    assert!(bench.content().await == filled(&[7]));
    assert_eq!(Sense::parse(&bench.data(DISK, REQUEST_SENSE).await), Ok(Sense::NONE));
}

#[tokio::test]
async fn what_was_accepted_before_is_refused_or_done_first() {
    let bench = Bench::new().await;
    let cdb = write(0, 1).to_cdb();
    let late = bench.server.accept(&bench.nexus, lunshadow_scsi::LunAddress::peripheral(DISK), cdb.as_bytes());
    bench.stuck(false).await;
    assert!(is_in_progress(&late.run(vec![1; 512].into()).await));
    bench.controls.writes.add_permits(1000);
    assert_eq!(bench.settled().await, Completion::good());
    // A write that is under way is through before the first block is overwritten.
    bench.controls.writes.forget_permits(usize::MAX);
    let running = bench.server.accept(&bench.nexus, lunshadow_scsi::LunAddress::peripheral(DISK), cdb.as_bytes());
    let list = overwriting(&[8]).to_bytes();
    let sanitize = bench.run(DISK, overwrite(&list, false, false), list);
    let (written, sanitized, ()) = tokio::join!(running.run(vec![1; 512].into()), sanitize, async {
        tokio::task::yield_now().await;
        bench.controls.writes.add_permits(1000);
    });
    assert_eq!((written, sanitized), (Completion::good(), Completion::good()));
    assert!(bench.content().await == filled(&[8]));
}

#[tokio::test]
async fn tokens_do_not_bring_the_content_back() {
    let bench = Bench::new().await;
    bench.run(DISK, write(0, 8), vec![3; 8 * 512]).await;
    let ranges = vec![TokenRange { lba: 0, block_count: 8 }];
    let populate = PopulateToken { immediate: false, rod_type: None, inactivity_timeout_s: 0, ranges: ranges.clone() };
    let populate = populate.to_bytes();
    let parameter_len = u32::try_from(populate.len()).expect("short");
    let command = Command::PopulateToken { list_id: 1, parameter_len };
    assert_eq!(bench.run(DISK, command, populate).await, Completion::good());
    let information = Command::ReceiveRodTokenInformation { list_id: 1, allocation_len: 4096 };
    let information = RodTokenInformation::parse(&bench.data(DISK, information).await).expect("information");
    let token = information.token.expect("a token");
    assert_eq!(bench.ask(DISK, ERASE).await, Completion::good());
    let using = WriteUsingToken { immediate: false, delete_token: false, offset: 0, token, ranges }.to_bytes();
    let parameter_len = u32::try_from(using.len()).expect("short");
    let unknown = bench.run(DISK, Command::WriteUsingToken { list_id: 2, parameter_len }, using).await;
    assert_eq!(unknown, illegal(AdditionalSense::TOKEN_UNKNOWN));
    assert!(bench.content().await == filled(&[0]));
}

#[tokio::test]
async fn a_failure_stays_until_it_is_left_or_mended() {
    for unrestricted_exit in [false, true] {
        let bench = Bench::over(Arc::new(Map::keeping()));
        assert_eq!(bench.ask(DISK, Command::TestUnitReady).await, attention_of(AdditionalSense::POWER_ON_OR_RESET));
        *bench.controls.failure.lock() = Some(|| LunError::OutOfSpace);
        let list = overwriting(&[7]).to_bytes();
        let completion = bench.run(DISK, overwrite(&list, false, unrestricted_exit), list.clone()).await;
        let full = Sense::new(SenseKey::DATA_PROTECT, AdditionalSense::SPACE_ALLOCATION_FAILED);
        assert_eq!(completion, Completion::check(full));
        *bench.controls.failure.lock() = None;
        assert_eq!(bench.ask(DISK, read(0, 1)).await, failed());
        // It is the same after a restart.
        let again = Bench::over(bench.map.clone());
        again.server.resume();
        assert_eq!(again.ask(DISK, Command::TestUnitReady).await, attention_of(AdditionalSense::POWER_ON_OR_RESET));
        assert_eq!(again.ask(DISK, read(0, 1)).await, failed());
        if unrestricted_exit {
            assert_eq!(again.ask(DISK, EXIT_FAILURE_MODE).await, Completion::good());
            assert_eq!(again.content().await.len(), filled(&[0]).len());
        } else {
            assert_eq!(again.ask(DISK, EXIT_FAILURE_MODE).await, invalid_field(FieldPointer::byte(1)));
            let unrestricted = again.run(DISK, overwrite(&list, false, true), list.clone()).await;
            assert_eq!(unrestricted, invalid_field(FieldPointer::byte(1)), "AUSE is not for who had to do without");
            assert_eq!(again.run(DISK, overwrite(&list, false, false), list).await, Completion::good());
            assert!(again.content().await == filled(&[7]));
        }
        assert!(again.map.kept().records.lock().is_empty());
    }
}

#[tokio::test]
async fn a_restart_begins_it_anew() {
    let bench = Bench::over(Arc::new(Map::keeping()));
    assert_eq!(bench.ask(DISK, Command::TestUnitReady).await, attention_of(AdditionalSense::POWER_ON_OR_RESET));
    bench.stuck(false).await;
    assert_eq!(bench.map.kept().records.lock().keys().map(|key| key.1).collect::<Vec<_>>(), [UnitRecord::Sanitize]);
    let (map, disk) = (bench.map.clone(), bench.disk.clone());
    drop(bench);
    let again = Bench::over(map);
    assert_ne!(disk.read(lunshadow_lun::Lba(0), lunshadow_lun::BlockCount(1)).await.expect("it reads"), vec![7; 512]);
    again.server.resume();
    assert_eq!(again.ask(DISK, Command::TestUnitReady).await, attention_of(AdditionalSense::POWER_ON_OR_RESET));
    assert_eq!(again.settled().await, Completion::good());
    assert!(again.content().await == filled(&[7]));
    assert!(again.map.kept().records.lock().is_empty());
}

#[tokio::test]
async fn what_cannot_be_noted_does_not_begin_or_end() {
    let bench = Bench::over(Arc::new(Map::keeping()));
    assert_eq!(bench.ask(DISK, Command::TestUnitReady).await, attention_of(AdditionalSense::POWER_ON_OR_RESET));
    bench.run(DISK, write(0, 1), vec![3; 512]).await;
    let fails = &bench.map.kept().fails;
    fails.store(true, Ordering::Relaxed);
    let not_kept = Sense::new(SenseKey::HARDWARE_ERROR, AdditionalSense::INTERNAL_TARGET_FAILURE);
    assert_eq!(bench.ask(DISK, ERASE).await, Completion::check(not_kept));
    assert_eq!(bench.data(DISK, read(0, 1)).await, vec![3; 512]);
    // If its end cannot be noted, a restart would begin again: so nothing is written that would be lost then.
    fails.store(false, Ordering::Relaxed);
    bench.stuck(true).await;
    fails.store(true, Ordering::Relaxed);
    bench.controls.writes.add_permits(1000);
    assert_eq!(bench.settled().await, failed());
    assert_eq!(bench.ask(DISK, EXIT_FAILURE_MODE).await, Completion::check(not_kept));
    fails.store(false, Ordering::Relaxed);
    assert_eq!(bench.ask(DISK, EXIT_FAILURE_MODE).await, Completion::good());
    assert!(bench.content().await == filled(&[7]));
}

#[tokio::test]
async fn task_management_ends_the_command_and_not_the_operation() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    array.controls.writes.forget_permits(usize::MAX);
    let list = Bytes::from(overwriting(&[7]).to_bytes());
    let itt = peer.send_write(overwrite(&list, false, false), &list).await;
    array.controls.writes_begun.acquire().await.expect("it is never closed").forget();
    for (function, referenced) in [(TaskFunction::ABORT_TASK, itt), (TaskFunction::LOGICAL_UNIT_RESET, itt)] {
        let management = peer.send_management(function, referenced).await;
        assert_eq!(peer.expect_managed(management).await, TaskResponse::FUNCTION_COMPLETE);
    }
    let attention = peer.run(Command::TestUnitReady, Bytes::new(), 0).await;
    assert_eq!(attention.sense.map(|sense| sense.code), Some(AdditionalSense::BUS_DEVICE_RESET));
    let busy = peer.run(Command::TestUnitReady, Bytes::new(), 0).await;
    assert_eq!(busy.sense.map(|sense| sense.code), Some(AdditionalSense::SANITIZE_IN_PROGRESS));
    array.controls.writes.add_permits(1000);
    while peer.run(Command::TestUnitReady, Bytes::new(), 0).await.status != Status::GOOD {}
    let block = peer.run(peer::read(peer::LUN_BLOCKS - 1, 1), Bytes::new(), 512).await;
    assert_eq!(block.data, [7; 512]);
}

#[tokio::test]
async fn a_target_that_goes_waits_for_no_operation() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    array.controls.writes.forget_permits(usize::MAX);
    let list = Bytes::from(overwriting(&[7]).to_bytes());
    peer.send_write(overwrite(&list, false, false), &list).await;
    array.controls.writes_begun.acquire().await.expect("it is never closed").forget();
    drop(peer);
    // The piece that is being written is, no more.
    let controls = array.controls.clone();
    array.shut_down_amid_a_write().await;
    assert_eq!(controls.writes_done.load(Ordering::Relaxed), 1);
}
