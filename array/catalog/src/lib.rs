//! Who is who on the array: LUN names, hosts, mappings, shadow sets and their leases.
//!
//! [`Catalog`] is the array's use cases over a [`Pool`](lunshadow_lun::Pool) and one database file. The control service
//! (in process today) calls it for hosts and administrators; the iSCSI target asks it, as a
//! [`LunMap`](lunshadow_lun::LunMap), what an initiator sees.
//!
//! ```text
//!  administrator ──▶ luns.rs, hosts.rs ─┐
//!  host ──▶ resolve.rs, mapping.rs ─────┼──▶ state.rs (memory) ──▶ inventories ──▶ target
//!  host ──▶ prepare.rs, commit.rs, ending.rs ─┤
//!  reaper ──▶ lease.rs ─────────────────┘──▶ database.rs ──▶ redb_file.rs    pool
//!  administrator ──▶ copies.rs, transfers.rs ──▶ internal.rs (LUNs that nobody sees), scrub.rs, pool_view.rs
//! ```
//!
//! **Two truths, one order.** The pool knows which LUNs exist, the database who they are. What must survive is written to the
//! database before memory changes, except the end of a shadow set: that takes effect in memory at once and becomes durable as soon
//! as possible. [`Catalog::open`] reconciles both. Nothing is written to the database while a set is between arm and the
//! answer of its commit, since each of its transactions waits for the medium; that a set is committed is read off the pool's
//! LUNs after a restart.
//!
//! **In the background.** Full copies and the scrub run in tasks of their own. The database says what they are about, so that they go on after a
//! restart, and what each LUN is there for that only the array uses; [`Catalog::rest`] lets go of them before the pool is closed.
//!
//! **Rights.** A host sees the LUNs that are mapped to it, the shadow LUNs of its own sets, those whose source is mapped to it, and those of
//! the sets of hosts that it may import from. What it may see it may map, and if it is a shadow LUN, unmap and release. Everything
//! else does not exist for it.
//!
//! **Errors.** [`CatalogError`] for every use case, with one table to [`ProblemCode`](lunshadow_control::ProblemCode);
//! [`OpenError`] for opening.

mod administration;
mod broken_off;
mod capture;
mod catalog;
mod clock;
mod commit;
mod copies;
mod database;
mod ending;
mod enrolment;
mod error;
mod hosts;
mod ids;
mod internal;
mod lease;
mod luns;
mod mapping;
mod mirror;
mod name;
mod overview;
mod pool_view;
mod portals;
mod prepare;
mod quiet;
mod reconcile;
mod record_store;
mod records;
mod redb_file;
mod resolve;
mod resync;
mod revert;
mod scrub;
mod settings;
mod shadow_set;
mod state;
mod transfers;
mod unit_records;

pub use administration::{AdministeredHost, AdministeredLun, AdministeredSet, AdministeredShadowLun};
pub use catalog::{Catalog, Made};
pub use clock::{Clock, ManualClock, Moment, SystemClock};
pub use enrolment::{Enrolled, EnrolmentFault, IssuedEnrolment};
pub use error::{CatalogError, DatabaseError, OpenError};
pub use ids::{IdSource, RandomIds};
pub use lease::Reaper;
pub use luns::{CatalogedLun, LunDeletion};
pub use mapping::Assigned;
pub use name::{InvalidName, Name};
pub use prepare::Preparation;
pub use record_store::{Record, RecordChange, RecordKey, RecordStore, Storing, Table};
pub use settings::{COMMIT_WITHIN_DEFAULT, COMMIT_WITHIN_MAX, LeaseTimes, Limits, Settings};
pub use shadow_set::{AbortReason, SetState};
