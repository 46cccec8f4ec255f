//! Third-party copies between LUNs of an array, from an initiator to the pool: the data is there, and none has moved.

use std::str::FromStr as _;

use anyhow::ensure;
use bytes::Bytes;
use lunshadow_control::DesignatorKind;
use lunshadow_end_to_end::array::{ArrayLun, INITIATOR, TestArray};
use lunshadow_initiator::{DataDirection, Disk, Session, SessionConfig};
use lunshadow_lun::{InitiatorName, Pool as _, identity_of};
use lunshadow_scsi::{
    BlockSegment, Command, CopyDescriptor, CopyList, CopyStatus, ListIdUsage, LunAddress, PopulateToken,
    RodTokenInformation, Status, TokenRange, WriteUsingToken,
};

const LUN_BYTES: u64 = 64 << 20;
const COPIED_BYTES: usize = 32 << 20;
const COPIED_BLOCKS: u32 = (32 << 20) / 512;

fn pattern(len: usize, seed: usize) -> Bytes {
    let bytes = (0..len).map(|at| ((at / 512 + seed) % 251 + 1).to_le_bytes()[0]);
    Bytes::from(bytes.collect::<Vec<u8>>())
}

fn address(lun: ArrayLun) -> LunAddress {
    LunAddress::peripheral(lun.number.0)
}

async fn run(session: &Session, lun: ArrayLun, command: Command, data: DataDirection) -> anyhow::Result<Bytes> {
    let response = session.command(address(lun), &command.to_cdb(), data).await?;
    ensure!(response.status == Status::GOOD, "{command:?}: {:?}", response.sense);
    Ok(response.data)
}

async fn list(session: &Session, lun: ArrayLun, command: Command, list: Vec<u8>) -> anyhow::Result<()> {
    run(session, lun, command, DataDirection::Out(list.into())).await.map(drop)
}

async fn information(session: &Session, lun: ArrayLun, list_id: u32) -> anyhow::Result<RodTokenInformation> {
    let command = Command::ReceiveRodTokenInformation { list_id, allocation_len: 1024 };
    Ok(RodTokenInformation::parse(&run(session, lun, command, DataDirection::In(1024)).await?)?)
}

/// As Windows copies a file: a token for where it lies, then a write by that token.
async fn copy_by_token(session: &Session, [from, to]: [ArrayLun; 2], to_lba: u64) -> anyhow::Result<()> {
    let ranges = |lba| vec![TokenRange { lba, block_count: COPIED_BLOCKS }];
    let populate =
        PopulateToken { immediate: false, rod_type: None, inactivity_timeout_s: 0, ranges: ranges(0) }.to_bytes();
    let parameter_len = u32::try_from(populate.len())?;
    list(session, from, Command::PopulateToken { list_id: 1, parameter_len }, populate).await?;
    let populated = information(session, from, 1).await?;
    let Some(token) = populated.token else { anyhow::bail!("there is no token: {:?}", populated.status) };
    // What comes later is not what the token stands for.
    let disk = Disk::new(session.clone(), address(from));
    disk.write(0, pattern(1 << 20, 9)).await?;
    let write = WriteUsingToken { immediate: false, delete_token: true, offset: 0, token, ranges: ranges(to_lba) };
    let write = write.to_bytes();
    let parameter_len = u32::try_from(write.len())?;
    list(session, to, Command::WriteUsingToken { list_id: 2, parameter_len }, write).await?;
    let written = information(session, to, 2).await?;
    ensure!((written.status, written.blocks) == (CopyStatus::COMPLETED, COPIED_BLOCKS.into()), "{:?}", written.status);
    Ok(())
}

/// As VMware and Linux copy.
async fn extended_copy(session: &Session, [from, to]: [ArrayLun; 2]) -> anyhow::Result<()> {
    let descriptor = |lun: ArrayLun| {
        let naa = identity_of(lun.id).designators.into_iter().find(|own| own.kind == DesignatorKind::NAA);
        CopyDescriptor { designator: naa.expect("every LUN has one"), block_bytes: 512, null: false }
    };
    let segment = |at: u64| BlockSegment { from: 0, to: 1, block_count: 32768, from_lba: at, to_lba: at };
    let copy = CopyList {
        list_id: 0,
        usage: ListIdUsage::None,
        descriptors: vec![descriptor(from), descriptor(to)],
        segments: vec![segment(0), segment(32768)],
    };
    let copy = copy.to_bytes();
    let parameter_len = u32::try_from(copy.len())?;
    list(session, from, Command::ExtendedCopy { parameter_len }, copy).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_within_a_pool_move_no_data() -> anyhow::Result<()> {
    let array = TestArray::start().await?;
    let from = array.add_lun("from", LUN_BYTES).await?;
    let to = array.add_lun("to", LUN_BYTES).await?;
    let config = SessionConfig::new(InitiatorName::from_str(INITIATOR)?, array.target_name());
    let session = Session::connect(array.portal(), config).await?;
    let (source, target) = (Disk::new(session.clone(), address(from)), Disk::new(session.clone(), address(to)));
    for disk in [&source, &target] {
        while disk.test_unit_ready().await.is_err() {}
    }
    let content = pattern(COPIED_BYTES, 1);
    for (at, piece) in (0_u64..).step_by(2048).zip(content.chunks(1 << 20)) {
        source.write(at, Bytes::copy_from_slice(piece)).await?;
    }
    let before = array.catalog().pool().usage().data_bytes;
    copy_by_token(&session, [from, to], 8).await?;
    ensure!(array.content(to).await?[4096..4096 + COPIED_BYTES] == content, "the copy by token differs");
    let after = array.catalog().pool().usage().data_bytes;
    ensure!(after == before + (1 << 20), "{before} bytes became {after}: more than what was written meanwhile");

    extended_copy(&session, [to, from]).await?;
    ensure!(
        array.content(from).await?[4096..COPIED_BYTES] == content[..COPIED_BYTES - 4096],
        "the second copy differs"
    );
    let at_last = array.catalog().pool().usage().data_bytes;
    ensure!(at_last <= after, "{after} bytes became {at_last} by a copy");
    target.flush().await?;
    session.logout().await?;
    array.stop().await
}
