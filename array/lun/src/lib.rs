//! The contract that every kind of storage keeps, and everything above it relies on.
//!
//! * [`Lun`]: the data of one LUN. The SCSI device server in `array/target` knows nothing else of storage.
//! * [`Pool`]: a set of LUNs that can be captured together at one instant. `array/catalog` drives it.
//! * [`PoolCare`]: what an administrator does with a pool as a whole.
//! * [`Copier`]: copies the content of one LUN to another; [`copy_blocks`]: ranges of them, without moving data where storage can.
//! * [`Presentation`]: how initiators see a LUN, beside its data.
//! * [`PortalGroupStates`]: through which of a target's portal groups LUNs are reached, and how well.
//! * [`LunMap`]: which LUNs an initiator sees, and under which numbers. The catalog answers, the target asks.
//! * [`together`]: requests that go to storage with one call; [`finish_up`]: what storage does when those are told who wait for it.
//! * [`AlignedBuffer`]: memory for data that goes to a medium as it is.
//! * [`UnitStore`]: keeps what the target has to remember of LUNs over restarts, such as persistent reservations.
//!
//! Lengths are counted in blocks of 512 bytes ([`BlockCount`], [`Lba`]); storage works in blocks of 4096 bytes, so that
//! requests which are aligned to these are the cheap ones. `testing/lun-conformance` holds the suite that each pool runs.

mod block_memory;
mod blocks;
mod buffer;
mod care;
mod copy;
mod lun;
mod map;
mod pool;
mod portal_groups;
mod presentation;
mod together;
mod unit_store;

pub use block_memory::is_block_of_its_own;
pub use blocks::{BlockCount, LOGICAL_BLOCK_BYTES, Lba, PHYSICAL_BLOCK_BYTES};
pub use buffer::{AlignedBuffer, DATA_ALIGNMENT_BYTES, KEPT_BUFFER_BYTES_MAX, is_aligned};
pub use care::{EnlargeError, LunDamage, PoolCare, ScrubError, ScrubOptions, ScrubReport};
pub use copy::{Copier, CopyError, CopyStep, copy_blocks, write_sparse};
pub use lun::{Comparison, Extent, Lun, LunError, LunHandle, LunUsage, SpaceLevel};
pub use lunshadow_control::{
    ChapAccount, ChapAccounts, InitiatorName, LunId, Outcome, PRODUCT, PortalGroupState, REVISION, ReadCacheStatus,
    ShadowSetId, VENDOR, identity_of, lun_named_by,
};
pub use map::{Inventory, LunMap, LunNumber};
pub use pool::{CommitError, LunOrigin, LunSummary, Pool, PoolError, PoolUsage, RevertPair, ShadowMember};
pub use portal_groups::PortalGroupStates;
pub use presentation::{Presentation, PresentationCell};
pub use together::{Submit, finish_up, leave_undone, submit_later, together};
pub use unit_store::{UnitRecord, UnitStore, UnitStoreError};
