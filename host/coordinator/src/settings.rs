//! The coordinator's knobs: where the documentation of VSS leaves room, or a test wants less patience (section 4.0 of the contract).

use std::time::Duration;

/// Where the final commit calls stand, the conflict of section 4(a).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FinalOrder {
    /// GetTargetLuns and the import come before PreFinalCommitSnapshots, as the documentation's diagram has it. Only so can
    /// writers change the shadow copies.
    #[default]
    Diagram,
    /// PreFinalCommitSnapshots and PostFinalCommitSnapshots come before GetTargetLuns, as the documentation's text has it.
    Text,
}

/// What LocateLuns is given for a LUN that several volumes of the set share.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LocateArray {
    /// One entry for each volume and LUN, so with duplicates.
    #[default]
    PerVolume,
    /// One entry for each LUN.
    Deduplicated,
}

/// The knobs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where the final commit calls stand.
    pub final_order: FinalOrder,
    /// How LocateLuns sees shared LUNs.
    pub locate_array: LocateArray,
    /// How long writes may be held: 10 s, section 7.
    pub hold_limit: Duration,
    /// How long writers may be frozen: 60 s, section 7.
    pub freeze_limit: Duration,
    /// How long the disks of a set may take to arrive after LocateLuns. Its value in VSS is not documented.
    pub arrival_timeout: Duration,
    /// For how long the provider is asked to wait for a resync, before the requester's cancellation is looked at again.
    pub resync_poll: Duration,
    /// Whether AbortSnapshots goes to the providers when a set fails after PostCommitSnapshots.
    pub abort_after_postcommit: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            final_order: FinalOrder::default(),
            locate_array: LocateArray::default(),
            hold_limit: Duration::from_secs(10),
            freeze_limit: Duration::from_secs(60),
            arrival_timeout: Duration::from_secs(60),
            resync_poll: Duration::from_millis(500),
            abort_after_postcommit: true,
        }
    }
}
