//! Third-party copy (SPC-4 5.17): data moves between logical units, or within one, without passing the initiator.
//!
//! * Offloaded data transfer, the way of Windows: [`PopulateToken`] makes a [`RodToken`] of ranges of blocks, which
//!   [`RodTokenInformation`] hands out, and [`WriteUsingToken`] writes what it stands for.
//! * The older way: [`CopyList`] is the parameter list of EXTENDED COPY (LID1); [`CopyParameters`] and [`CopyProgress`] are what is
//!   reported of it.

mod copy_list;
mod copy_results;
mod information;
mod offload;
mod token;

pub use copy_list::{
    BlockSegment, CopyDescriptor, CopyList, CopyListError, CopyListLimits, ListIdUsage, descriptor_type,
};
pub use copy_results::{CopyParameters, CopyProgress};
pub use information::{CopyStatus, RodTokenInformation};
pub use offload::{OffloadListError, PopulateToken, TokenRange, WriteUsingToken};
pub use token::{RodToken, RodType};

/// TRANSFER COUNT UNITS (SPC-4 table 257): bytes.
pub(crate) const UNITS_BYTES: u8 = 0x00;
/// TRANSFER COUNT UNITS: logical blocks.
pub(crate) const UNITS_BLOCKS: u8 = 0xf1;
