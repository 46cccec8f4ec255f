//! The Windows provider, proven through COM between processes.
