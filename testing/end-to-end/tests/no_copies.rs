//! Data on its way between an initiator and the medium is not copied between the SCSI layer and the medium.

use std::str::FromStr as _;

use bytes::Bytes;
use lunshadow_end_to_end::array::{INITIATOR, TestArray};
use lunshadow_initiator::{Disk, Session, SessionConfig};
use lunshadow_lun::{AlignedBuffer, InitiatorName, Lba, Pool as _};
use lunshadow_scsi::LunAddress;
use tokio::task::JoinSet;

const LUN_BYTES: u64 = 64 << 20;

fn pattern(len: usize, seed: usize) -> Bytes {
    let bytes = (0..len).map(|at| ((at / 512 + seed) % 251 + 1).to_le_bytes()[0]);
    Bytes::from(bytes.collect::<Vec<u8>>())
}

/// Requests of all lengths that a host makes: within the immediate data, within the first burst, and asked for by R2Ts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aligned_requests_reach_the_medium_as_they_are() -> anyhow::Result<()> {
    let array = TestArray::start().await?;
    let lun = array.add_lun("data", LUN_BYTES).await?;
    let mut config = SessionConfig::new(InitiatorName::from_str(INITIATOR)?, array.target_name());
    // Segments of different lengths, so that data comes in one piece or in several.
    for segment_len in [8192, 262_144] {
        config.preferences.max_recv_data_segment_length = segment_len;
        let session = Session::connect(array.portal(), config.clone()).await?;
        let disk = Disk::new(session.clone(), LunAddress::peripheral(lun.number.0));
        for (seed, len) in [4096, 8192, 65536, 262_144, 1 << 20, 3 << 20].into_iter().enumerate() {
            let lba = 4096 + 8 * seed as u64;
            disk.write(lba, pattern(len, seed)).await?;
            let found = disk.read(lba, u32::try_from(len / 512)?).await?;
            anyhow::ensure!(found == pattern(len, seed), "{len} bytes came back changed");
        }
        // Many at once, so that several commands come with one reading from the network.
        let mut writers = JoinSet::new();
        for number in 0..128_u64 {
            let disk = disk.clone();
            writers.spawn(async move {
                disk.write(8 * number, pattern(4096, usize::try_from(number)?)).await.map_err(anyhow::Error::from)
            });
        }
        while let Some(writer) = writers.join_next().await {
            writer??;
        }
        disk.flush().await?;
        for number in 0..128_u64 {
            let found = disk.read(8 * number, 8).await?;
            anyhow::ensure!(found == pattern(4096, usize::try_from(number)?), "block {number} came back changed");
        }
        session.logout().await?;
    }
    let pool = array.catalog().pool();
    anyhow::ensure!(pool.bounced_bytes() == 0, "{} bytes were copied; {}", pool.bounced_bytes(), pool.io_engine());
    // The counter counts: what is not aligned is copied where the medium is reached directly.
    let handle = pool.open(lun.id)?;
    let data = AlignedBuffer::copy_of(&pattern(8192, 1)).freeze();
    handle.write(Lba(0), data.slice(1..4097)).await?;
    let is_direct = pool.io_engine().starts_with("direct");
    anyhow::ensure!((pool.bounced_bytes() > 0) == is_direct, "{}: {}", pool.io_engine(), pool.bounced_bytes());
    drop(handle);
    array.stop().await
}
