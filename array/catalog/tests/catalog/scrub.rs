//! A scrub that the power cuts: what a step finds is kept before the pool counts the step as done.

use std::future::pending;
use std::time::Duration;

use lunshadow_control::{Outcome, ScrubPhase};
use lunshadow_lun::{BlockCount, EnlargeError, Lba, LunDamage, PoolCare, ScrubError, ScrubOptions, ScrubReport};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::fake_pool::FakePool;
use crate::setup::TestArray;

/// Where the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// What the step found is reported, and the step does not count as done yet.
    BeforeCursor(usize),
    AfterCursor(usize),
}

/// What the scrubs of the fake pool find: one damaged block in each step.
#[derive(Debug, Default)]
pub(crate) struct Script {
    damage: Mutex<Vec<LunDamage>>,
    /// How many steps count as done.
    cursor: Mutex<usize>,
    cut: Mutex<Option<Cut>>,
    is_cut: watch::Sender<bool>,
}

impl Script {
    /// Does not come back if the power fails here.
    async fn reach(&self, at: Cut) {
        if *self.cut.lock() == Some(at) {
            self.is_cut.send_replace(true);
            pending::<()>().await;
        }
    }
}

impl PoolCare for FakePool {
    fn io_engine(&self) -> String {
        "none".to_owned()
    }

    fn low_bytes(&self) -> u64 {
        0
    }

    async fn enlarge(&self, asked_bytes: u64) -> Result<Outcome, EnlargeError> {
        Err(EnlargeError::UnsupportedSize { asked_bytes })
    }

    async fn scrub(
        &self,
        options: ScrubOptions,
        mut progress: impl FnMut(&ScrubReport) + Send,
    ) -> Result<ScrubReport, ScrubError> {
        let damage = self.scrubs.damage.lock().clone();
        if !options.resume {
            *self.scrubs.cursor.lock() = 0;
        }
        let mut report = ScrubReport::default();
        let begin = *self.scrubs.cursor.lock();
        for (step, found) in damage.iter().enumerate().skip(begin) {
            report.damage.push(*found);
            report.data_blocks += 1;
            progress(&report);
            // Only when it is polled again does the step count as done.
            tokio::task::yield_now().await;
            self.scrubs.reach(Cut::BeforeCursor(step)).await;
            *self.scrubs.cursor.lock() = step + 1;
            self.scrubs.reach(Cut::AfterCursor(step)).await;
        }
        Ok(report)
    }
}

#[test]
fn nothing_that_a_scrub_has_found_is_lost_or_told_twice_when_the_power_fails() {
    const STEPS: usize = 4;
    for cut in (0..STEPS).flat_map(|step| [Cut::BeforeCursor(step), Cut::AfterCursor(step)]) {
        let runtime = Runtime::new().unwrap();
        let array = runtime.block_on(async {
            let array = TestArray::new().await;
            let lun = array.sources[0];
            let damage = (0..).take(STEPS).map(|at| LunDamage { lun, at: Lba(8 * at), count: BlockCount(8) });
            array.pool.scrubs.damage.lock().extend(damage);
            *array.pool.scrubs.cut.lock() = Some(cut);
            assert_eq!(array.catalog.start_scrub(None, false).await.unwrap(), Outcome::Done);
            array.pool.scrubs.is_cut.subscribe().wait_for(|is_cut| *is_cut).await.unwrap();
            array
        });
        // With it ends everything that was under way.
        drop(runtime);
        *array.pool.scrubs.cut.lock() = None;

        let state = Runtime::new().unwrap().block_on(async {
            let array = array.reopen().await;
            array.catalog.resume_scrub();
            array.catalog.scrub_state(Duration::from_secs(60)).await.unwrap()
        });
        assert_eq!(state.phase, ScrubPhase::Finished, "{cut:?}");
        let found: Vec<u64> = state.damage.iter().map(|damage| damage.first_block).collect();
        assert_eq!(found, [0, 8, 16, 24], "{cut:?}");
    }
}
