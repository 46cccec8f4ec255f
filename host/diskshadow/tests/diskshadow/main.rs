//! DiskShadow's language: lines to commands, and commands over a VSS that does as it is told.

mod fake;
mod lines;
mod restores;
mod sequences;
mod shadows;
