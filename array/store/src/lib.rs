//! The embedded pool: redirect-on-write, group snapshots in one log record, crash safe.
