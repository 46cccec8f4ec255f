//! The `lunshadow` command: `try`, `serve`, the administrator's commands, and the parts that they are made of.
//!
//! This is the one place that knows concrete kinds of everything: it puts the embedded pool, the catalog and the target together to an
//! [`mod@array`], and, for a trial, a simulated host and a provider in front of it. Decisions are made elsewhere.

pub mod access;
pub mod admin;
pub mod array;
pub mod cli;
pub mod conform;
pub mod console;
pub mod control;
pub mod foreign;
pub mod image;
pub mod import;
pub mod in_process;
pub mod location;
pub mod pool;
pub mod pool_care;
pub mod pool_scrub;
mod provider;
pub mod quantity;
pub mod records;
pub mod rehearsal;
pub mod report;
pub mod serve;
mod transfer;
pub mod trial;
