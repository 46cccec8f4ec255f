//! Where the records of a catalog lie. A store puts and drops records in transactions and knows nothing of what they mean.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::DatabaseError;

/// What records are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Source LUNs.
    Luns,
    /// Hosts.
    Hosts,
    /// Which LUN a host sees under which number. The value is the LUN's id as 16 bytes, big-endian.
    Mappings,
    /// Shadow sets.
    Sets,
    /// Persistent reservations, as the target writes them.
    Reservations,
    /// Sanitize operations, as the target writes them.
    Sanitize,
    /// The states of target port groups, as the target writes them.
    PortGroups,
    /// What an administrator has decided about target portal groups. The id is the group's tag.
    PortalGroups,
    /// How the scrub stands; one record at most.
    Scrub,
    /// What internal LUNs are there for.
    Work,
}

/// Which record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// What it is about.
    pub table: Table,
    /// The id of that; a host's for a mapping.
    pub id: u128,
    /// The LUN number of a mapping; 0 for everything else.
    pub number: u8,
}

/// A record. But for mappings and what the target writes the value is JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which one.
    pub key: RecordKey,
    /// Its content.
    pub value: Vec<u8>,
}

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordChange {
    /// There is this record now, instead of one with the same key.
    Put(Record),
    /// There is no such record any more.
    Drop(RecordKey),
}

/// What a store is doing.
pub type Storing<'a, T> = Pin<Box<dyn Future<Output = Result<T, DatabaseError>> + Send + 'a>>;

/// A store of records that survives the end of the process.
pub trait RecordStore: fmt::Debug + Send + Sync + 'static {
    /// All records. Asked for once, before anything is written.
    fn load(&self) -> Storing<'_, Vec<Record>>;

    /// Makes all changes or none, and ends when they are durable. There is one transaction at a time.
    fn write(&self, changes: Vec<RecordChange>) -> Storing<'_, ()>;
}
