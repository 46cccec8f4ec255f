//! COMPARE AND WRITE and ORWRITE against other writers, many at a time.

use std::sync::Arc;

use bytes::Bytes;
use lunshadow_scsi::{BlockRange, CdbForm, Command, LunAddress, Status};
use lunshadow_target::Completion;

use crate::device_server::{Bench, DISK, read, write};

const WORKERS: u64 = 8;
const ROUNDS: u64 = 50;

fn blocks_of(number: u64) -> Vec<u8> {
    let mut block = [0; 512];
    block[..8].copy_from_slice(&number.to_be_bytes());
    block.repeat(3)
}

fn number_in(block: &[u8]) -> u64 {
    u64::from_be_bytes(*block.first_chunk().expect("a block"))
}

/// Counts up in three blocks by COMPARE AND WRITE, until this worker has done its part.
async fn count_up(bench: Arc<Bench>) {
    let swap = Command::CompareAndWrite { lba: 5, block_count: 3, fua: false };
    for _ in 0..ROUNDS {
        loop {
            let found = number_in(&bench.data(DISK, read(5, 3)).await);
            let data = [blocks_of(found), blocks_of(found + 1)].concat();
            let completion = bench.run(DISK, swap, data).await;
            if completion.status == Status::GOOD {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_count_is_lost_by_compare_and_write() {
    let bench = Arc::new(Bench::new().await);
    // Writers of the blocks beside and of other blocks go on meanwhile.
    let neighbours: Vec<_> = [4, 8, 20]
        .map(|lba| {
            let bench = bench.clone();
            tokio::spawn(async move {
                for _ in 0..ROUNDS {
                    assert_eq!(bench.run(DISK, write(lba, 1), vec![0xee; 512]).await, Completion::good());
                }
            })
        })
        .into_iter()
        .collect();
    let workers: Vec<_> = (0..WORKERS).map(|_| tokio::spawn(count_up(bench.clone()))).collect();
    for worker in workers.into_iter().chain(neighbours) {
        worker.await.expect("no worker fails");
    }
    assert_eq!(bench.data(DISK, read(5, 3)).await, blocks_of(WORKERS * ROUNDS));
    assert_eq!(bench.data(DISK, read(4, 1)).await, vec![0xee; 512]);
    assert_eq!(bench.data(DISK, read(8, 1)).await, vec![0xee; 512]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bit_is_lost_by_or_write() {
    let bench = Arc::new(Bench::new().await);
    let range = BlockRange::with_form(CdbForm::Sixteen, 5, 2).expect("a range");
    let workers: Vec<_> = (0..8)
        .map(|bit: u8| {
            let bench = bench.clone();
            tokio::spawn(
                async move { bench.run(DISK, Command::OrWrite { range, fua: false }, vec![1 << bit; 1024]).await },
            )
        })
        .collect();
    for worker in workers {
        assert_eq!(worker.await.expect("no worker fails"), Completion::good());
    }
    assert_eq!(bench.data(DISK, read(5, 2)).await, vec![0xff; 1024]);
}

#[tokio::test]
async fn a_write_waits_for_a_compare_and_write_of_its_blocks_only() {
    let bench = Arc::new(Bench::new().await);
    // Writes stop in the LUN from now on.
    let permits = bench.controls.writes.forget_permits(usize::MAX);
    let swap = Command::CompareAndWrite { lba: 5, block_count: 1, fua: false };
    let run = |command: Command, data: Vec<u8>| {
        let bench = bench.clone();
        tokio::spawn(async move {
            let cdb = command.to_cdb();
            let task = bench.server.accept(&bench.nexus, LunAddress::peripheral(DISK), cdb.as_bytes());
            task.run(Bytes::from(data)).await
        })
    };
    let swap = run(swap, [vec![0; 512], vec![1; 512]].concat());
    bench.controls.writes_begun.acquire().await.expect("it is never closed").forget();
    let overlapping = run(write(4, 2), vec![2; 1024]);
    let beside = run(write(6, 1), vec![3; 512]);
    // The write beside gets to the LUN, the overlapping one does not.
    bench.controls.writes_begun.acquire().await.expect("it is never closed").forget();
    bench.controls.writes.add_permits(2);
    assert_eq!(swap.await.expect("it ends"), Completion::good());
    assert_eq!(beside.await.expect("it ends"), Completion::good());
    bench.controls.writes_begun.acquire().await.expect("it is never closed").forget();
    assert_eq!(bench.data(DISK, read(5, 1)).await, vec![1; 512], "the swap was first");
    bench.controls.writes.add_permits(permits - 2);
    assert_eq!(overlapping.await.expect("it ends"), Completion::good());
    assert_eq!(bench.data(DISK, read(4, 3)).await, [vec![2; 1024], vec![3; 512]].concat());
}
