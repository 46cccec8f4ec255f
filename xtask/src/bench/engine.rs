//! What every engine does in the same way: requests, snapshots, and telling how much space they take.

use std::time::Duration;

/// Which requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    RandomRead,
    RandomWrite,
    Read,
    Write,
}

/// How long a load lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Until {
    /// So many seconds.
    Seconds(f64),
    /// Until so many bytes are read or written, no place twice.
    Bytes(u64),
}

/// A load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Load {
    pub(super) pattern: Pattern,
    pub(super) block_bytes: u64,
    /// How many requests are in flight.
    pub(super) depth: u32,
    /// Each write is made durable before its task goes on.
    pub(super) flush: bool,
    pub(super) until: Until,
}

/// What came of a load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    pub(super) operations_per_s: f64,
    pub(super) bytes_per_s: f64,
    /// Of requests, without the flushes in between where fio is the generator.
    pub(super) p99_us: f64,
}

/// What a deletion took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deletion {
    pub(super) answered: Duration,
    /// From the beginning on.
    pub(super) space_back: Duration,
}

/// The latencies of many snapshots of a group under load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct GroupFigures {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) longest_us: f64,
}

/// An engine with one LUN, which is empty at first. Dropping it frees all that it takes.
pub(super) trait Engine {
    /// Puts the LUN under load.
    fn run(&mut self, load: &Load) -> anyhow::Result<Rate>;

    /// Takes one more snapshot of the LUN. `None` if the engine has none.
    fn snapshot(&mut self) -> anyhow::Result<Option<Duration>>;

    /// Deletes all snapshots.
    fn delete_snapshots(&mut self) -> anyhow::Result<Deletion>;

    /// How much space LUN and snapshots take, metadata included.
    fn used_bytes(&mut self) -> anyhow::Result<u64>;

    /// The part of it that is metadata, where the engine can tell.
    fn metadata_bytes(&mut self) -> anyhow::Result<Option<u64>> {
        Ok(None)
    }

    /// The 50th and 99th percentile, in microseconds, of a flush behind a single write while other writes are in flight. `None` where that is not
    /// asked.
    fn flushes_under_load(&mut self, _load: &Load) -> anyhow::Result<Option<(f64, f64)>> {
        Ok(None)
    }

    /// Lets the engine do what it does when nobody asks for anything: how long that takes. `None` if it knows no such work.
    fn rest(&mut self) -> anyhow::Result<Option<Duration>> {
        Ok(None)
    }

    /// The median latencies, in microseconds, of snapshots that were taken of LUNs in several states by turns, and what these are. `None` where an
    /// engine does not know how, or is not asked.
    fn snapshots_by_turns(&mut self, _times: u32) -> anyhow::Result<Option<Vec<(String, f64)>>> {
        Ok(None)
    }

    /// Captures groups of LUNs under load. `None` where an engine does not know how, or is not asked.
    fn groups(&mut self, _luns: u32, _times: u32) -> anyhow::Result<Option<GroupFigures>> {
        Ok(None)
    }
}
