//! Plays VSS: provider choice, sequencing, clocks, import and deletion over a simulated Windows host.

pub mod disk;
