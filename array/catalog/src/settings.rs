//! What can be set up differently from array to array.

use std::sync::Arc;
use std::time::Duration;

use uuid::{Builder, Uuid};

use crate::{Clock, IdSource, RandomIds, SystemClock};

/// How long a commit may take when the host does not say.
pub const COMMIT_WITHIN_DEFAULT: Duration = Duration::from_secs(5);

/// How long a commit may take at most, whatever the host says: VSS lets writes flow again after 10 s and fails the set.
pub const COMMIT_WITHIN_MAX: Duration = Duration::from_secs(8);

/// How many of each the array takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// LUNs in one shadow set; VSS has 64 shadow copies in a set.
    pub luns_in_set: usize,
    /// Shadow LUNs of one LUN; VSS has 512 shadow copies of a volume.
    pub shadows_of_lun: usize,
    /// LUNs mapped to one host. Above 255 has no effect: Windows addresses LUNs up to 255, and 0 is the array's controller.
    pub luns_of_host: usize,
    /// Sets that are over and still answer so; the oldest beyond that are forgotten and become unknown.
    pub ended_sets: usize,
    /// How much hosts must still be able to write when a shadow LUN is made, in bytes. A shadow LUN takes space only as its source changes.
    pub headroom_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { luns_in_set: 64, shadows_of_lun: 512, luns_of_host: 255, ended_sets: 4096, headroom_bytes: 4 << 20 }
    }
}

/// How long a set may stay in a state that only its host can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// From the last preparation to the commit. VSS lets writers take long to get ready.
    pub prepared: Duration,
    /// From the commit to keeping the set.
    pub committed: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self { prepared: Duration::from_secs(60 * 60), committed: Duration::from_secs(10 * 60) }
    }
}

/// All settings of a catalog.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many of each.
    pub limits: Limits,
    /// How long.
    pub leases: LeaseTimes,
    /// By which clock.
    pub clock: Arc<dyn Clock>,
    /// With which ids.
    pub ids: Arc<dyn IdSource>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            leases: LeaseTimes::default(),
            clock: Arc::new(SystemClock::default()),
            ids: Arc::new(RandomIds),
        }
    }
}

impl Settings {
    /// An id in the form of a random UUID (RFC 9562, version 4).
    pub(crate) fn draw_uuid(&self) -> Uuid {
        Builder::from_random_bytes(self.ids.draw().to_be_bytes()).into_uuid()
    }
}
