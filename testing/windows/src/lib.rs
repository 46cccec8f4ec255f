//! The Windows provider, proven through COM between processes.
//!
//! On Windows (that is, under Wine) this is a stand-in for the part of VSS that registers providers.
#![cfg_attr(windows, expect(unsafe_code, reason = "COM's interfaces are unsafe to call and to implement"))]

#[cfg(windows)]
pub mod stand_in;
