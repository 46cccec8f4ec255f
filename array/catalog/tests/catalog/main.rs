//! The catalog's use cases over a pool in memory whose faults can be switched on.
//!
//! The modules with functions that are no tests say `cfg(test)`, which tells clippy that they are for tests.

#[cfg(test)]
mod administration;
#[cfg(test)]
mod breaking;
mod capture;
mod commit;
mod copies;
#[cfg(test)]
mod durability;
mod enrolment;
#[cfg(test)]
mod fake_pool;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod mapping;
#[cfg(test)]
mod mirrors;
mod names;
#[cfg(test)]
mod portals;
#[cfg(test)]
mod random;
mod reopen;
#[cfg(test)]
mod resolve;
#[cfg(test)]
mod resync;
#[cfg(test)]
mod scrub;
mod sets;
#[cfg(test)]
mod setup;
#[cfg(test)]
mod transfers;
#[cfg(test)]
mod unit_records;
