//! Whole-system tests: real peers, real file systems, and every failure of 4(d).
//!
//! This library is what those tests stand on. [`mod@array`] starts a whole array in this process; [`peer`] runs programs that others
//! wrote, with a time limit; [`images`] makes disk images with real file systems.

pub mod array;
pub mod images;
pub mod peer;
