//! Crashes between any two calls: requester, provider, coordinator and array each break off before or after each call, once and then again in
//! the next attempt, of everything that a shadow copy goes through. Afterwards nothing is held and nothing is half-way: what was begun is done
//! whole or not at all, and doing it again leaves what is left without any crash.
//!
//! The places are not listed here: each row goes on until an operation ends before its cut is reached.

mod breaking;
mod creation;
mod cutter;
mod deletion;
mod import;
mod provider;
mod resync;
mod sequence;
mod stage;

pub(crate) use cutter::Cutter;
