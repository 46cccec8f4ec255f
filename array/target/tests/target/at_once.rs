//! Commands that are done as soon as they have their data, without anybody else.

use bytes::Bytes;
use lunshadow_lun::LunHandle;
use lunshadow_scsi::{BlockRange, Command, LunAddress, ReserveForm, Status};
use lunshadow_target::{Completion, PortalGroup, Task};

use crate::device_server::{Bench, DISK, LUN_BLOCKS, initiator, port, read, write};
use crate::memory::MemoryLun;

/// Where the LUN is that does at once what it can.
const QUICK: u8 = 2;

struct QuickBench {
    bench: Bench,
}

impl QuickBench {
    /// Two initiators see the LUN, and what they are to be told has been.
    async fn new() -> Self {
        let bench = Bench::new().await;
        let quick = LunHandle::new(MemoryLun::new(9, LUN_BLOCKS).at_once(|_| true));
        bench.map.show(&initiator("one"), [(DISK, bench.disk.clone()), (QUICK, quick.clone())]);
        bench.map.show(&initiator("two"), [(QUICK, quick)]);
        while bench.ask(QUICK, Command::TestUnitReady).await != Completion::good() {}
        Self { bench }
    }

    fn accept(&self, command: Command) -> Task {
        let cdb = command.to_cdb();
        self.bench.server.accept(&self.bench.nexus, LunAddress::peripheral(QUICK), cdb.as_bytes())
    }

    /// What comes of it at once, if anything does.
    fn now(&self, command: Command, data_out: Vec<u8>) -> Option<Completion> {
        self.accept(command).run_now(data_out.into()).ok()
    }
}

#[tokio::test]
async fn plain_reads_and_writes_are_done_at_once() {
    let bench = QuickBench::new().await;
    assert_eq!(bench.now(write(8, 2), vec![7; 1024]), Some(Completion::good()));
    // There may be less data than the CDB says, of which whole blocks count.
    assert_eq!(bench.now(write(8, 2), vec![9; 1000]), Some(Completion::good()));
    let expected = [[9; 512], [7; 512]].concat();
    assert_eq!(bench.now(read(8, 2), Vec::new()), Some(Completion::data(expected.into())));
}

#[tokio::test]
async fn what_has_to_wait_is_given_back_as_it_was() {
    let bench = QuickBench::new().await;
    let range = BlockRange::new(8, 1);
    let commands = [
        (Command::Write { range, fua: true }, 512),
        (Command::Read { range, fua: true }, 0),
        (Command::SynchronizeCache { range, immediate: false }, 0),
        (Command::CompareAndWrite { lba: 8, block_count: 1, fua: false }, 1024),
        (read(8, 0), 0),
        (write(8, 1), 511),
    ];
    for (command, len) in commands {
        let data_out = Bytes::from(vec![5; len]);
        let Err((task, again)) = bench.accept(command).run_now(data_out) else {
            panic!("{command:?} was done at once")
        };
        assert!(again.iter().all(|byte| *byte == 5), "{command:?}");
        assert_eq!(task.run(again).await.status, Status::GOOD, "{command:?}");
    }
}

/// What comes between a command and its data counts.
#[tokio::test]
async fn nothing_is_done_at_once_that_a_reservation_forbids() {
    let bench = QuickBench::new().await;
    let task = bench.accept(write(8, 1));
    let other = bench.bench.server.connect(port("two"), PortalGroup::FIRST).expect("known");
    let lun = LunAddress::peripheral(QUICK);
    let ask = |command: Command| bench.bench.server.accept(&other, lun, command.to_cdb().as_bytes()).run(Bytes::new());
    while ask(Command::TestUnitReady).await != Completion::good() {}
    assert_eq!(ask(Command::Reserve(ReserveForm::Six)).await, Completion::good());
    let Err((task, data_out)) = task.run_now(vec![6; 512].into()) else { panic!("it was done at once") };
    assert_eq!(task.run(data_out).await, Completion::conflict());
    assert_eq!(ask(read(8, 1)).await, Completion::data(vec![0; 512].into()));
}
