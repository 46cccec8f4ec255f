//! The embedded pool: redirect-on-write, group snapshots in one log record, crash safe.
//!
//! [`StorePool`] keeps the contract of [`lunshadow_lun::Pool`] on one file, or on any [`Media`]. `docs/format.md` has the bytes and the
//! invariants. A request takes this way:
//!
//! ```text
//!  lun ── gathering, writing ──▶ changes ──▶ map ──▶ cache, space      under one lock, in memory only
//!   │            │                  ▲
//!   │            │                  └── recovery: the same changes, read from the log
//!   │            ├── data ─────────────────────────────▶ media    many small writes in one transfer
//!   │            └── record ──▶ log ──▶ log_writer ────▶ media    one sync for all who wait
//!   └── reading ────────────────────────────────────────▶ media    no thread waits for a read, where there are rings
//!                    housekeeper ──▶ checkpoint ───────▶ media    changed pages, then a superblock
//! ```
//!
//! * Small writes that come at the same time are gathered, and made as one.
//! * Data is written to free blocks before the map refers to them; nothing that a durable superblock or log record refers to is ever
//!   overwritten.
//! * A commit is one hold of the lock, in which N roots get one more reference each, and one log record.
//! * Errors of reading concern the blocks that were read. A failed sync, or a failed write of log or checkpoint, poisons the pool: it
//!   reads, and refuses the rest until it is reopened.

mod at_once;
mod behind;
mod bits;
mod budget;
mod cache;
mod changes;
mod check;
mod checkpoint;
mod clearing;
mod commit;
mod comparing;
mod defragment;
mod enlarge;
mod epochs;
mod gathering;
mod geometry;
mod housekeeper;
mod location;
mod log;
mod log_reader;
mod log_writer;
mod lun;
mod lun_record;
mod lun_table;
mod map;
mod media;
mod moving;
mod page;
mod pair;
mod pool;
mod read_cache;
mod reading;
mod record;
mod recovery;
mod regions;
mod reshape;
mod scrub;
mod sets;
mod sharing;
mod space;
mod state;
mod superblock;
mod sync;
mod table_growth;
mod table_index;
mod table_scrub;
mod tail;
mod unthreaded;
mod usage;
mod verify;
mod views;
mod wiping;
mod writing;

pub use check::{CheckOptions, CheckProgress, CheckReport, MetadataDamage, Repair, check, check_on};
pub use location::{device_bytes, pool_id};
pub use lunshadow_lun::{EnlargeError, LunDamage, ScrubError, ScrubOptions, ScrubReport};
pub use media::{
    Driver, FileMedia, FileMediaError, IoMode, Listener, Media, OnWritten, Parts, ReadPart, Reading, WritePart, Writing,
};
pub use pool::{OpenError, POOL_FILE, StoreConfig, StorePool};
