//! Whole-system tests: real peers, real file systems, and every failure of 4(d).
