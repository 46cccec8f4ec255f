//! Section 4(d) of the VSS contract with everything real but the faults: whatever fails, no shadow LUN, no lease, no held write and no
//! flag is left behind, and the next set succeeds.
//!
//! Provider, catalog, embedded pool, iSCSI target, initiator and simulated host are the real ones in one process; thin layers
//! between them fail as they are told.
#![cfg(test)]

mod array_faults;
mod crashes;
mod cuts;
mod faulty_array;
mod faulty_host;
mod faulty_provider;
mod plan;
mod recovery;
mod rig;
mod rows;
