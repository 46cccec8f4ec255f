//! Model checking of the real code: everything that can happen to a few sets, in every order.
//!
//! [`explorer`] searches breadth first; [`promise`] is what has to hold. Three systems are searched:
//!
//! * [`lifecycle`]: the pure machine of `host/vss`, with calls that overlap;
//! * [`mod@array`]: the real catalog, with requests that overlap, get lost and are repeated, a pool and records that take their time, leases, and
//!   crashes in between;
//! * [`provider`]: the real provider between VSS and the real catalog, over a channel that loses, repeats and delays, with crashes of both.
//!
//! Each has faults that can be planted, so that it is known that the search finds what it is there to find.

pub mod array;
pub mod explorer;
pub mod lifecycle;
pub mod likeness;
pub mod promise;
pub mod provider;
