//! The contract of VSS, proved between processes: the product's shells and server around a provider with planted faults, and a client that
//! sees every code, NULL and byte. A test is named after the statements of the contract that it proves.
#![cfg(windows)]
#![expect(unsafe_code, reason = "COM's interfaces are unsafe to call")]

mod codes;
mod crashes;
mod creation;
mod disks;
mod idle;
mod leaks;
mod loading;
mod malformed;
mod memory;
mod panics;
mod remote;
mod resync;
mod rig;
mod support;
mod surface;
mod targets;
