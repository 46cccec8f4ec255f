//! The database file: one redb transaction per change, off the async workers.

use std::fs::{File, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lunshadow_control::{HostId, LunId, ShadowSetId};
use redb::backends::FileBackend;
use redb::{Database as Redb, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::DatabaseError;
use crate::quiet::{QUIET_AT_MOST, Quiet};
use crate::records::{Change, Content};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const LUNS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("luns");
const HOSTS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("hosts");
const MAPPINGS: TableDefinition<'_, (u128, u8), u128> = TableDefinition::new("mappings");
const SETS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("shadow-sets");
const RESERVATIONS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("reservations");
/// One record at most, under 0.
const SCRUB: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("scrub");
/// What internal LUNs are there for.
const WORK: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("work");

/// Who may read and write the file.
const OWNER_ONLY: u32 = 0o600;

const VERSION_KEY: &str = "version";
const VERSION: u64 = 1;

/// The open database.
#[derive(Debug)]
pub(crate) struct Database {
    redb: Arc<Redb>,
    /// Held while a transaction makes the medium busy, and never while one waits for quiet.
    writing: Mutex<()>,
    pub(crate) quiet: Quiet,
}

impl Database {
    /// Opens the file, or makes it, and reads all of it.
    pub(crate) async fn open(path: PathBuf) -> Result<(Self, Content), DatabaseError> {
        let (redb, content) = off_the_workers(move || {
            let backend = FileBackend::new(file(&path)?).map_err(redb::Error::from)?;
            let redb = Redb::builder().create_with_backend(backend).map_err(redb::Error::from)?;
            initialize(&redb)?;
            let content = read(&redb)?;
            Ok((redb, content))
        })
        .await?;
        Ok((Self { redb: Arc::new(redb), writing: Mutex::new(()), quiet: Quiet::new() }, content))
    }

    /// Writes all changes or none, durably. Waits while a set is armed or committing.
    pub(crate) async fn write(&self, changes: Vec<Change>) -> Result<(), DatabaseError> {
        if changes.is_empty() {
            return Ok(());
        }
        let give_up = Instant::now() + QUIET_AT_MOST;
        let _writing = loop {
            self.quiet.wait_over(give_up).await;
            let writing = self.writing.lock().await;
            // A set may have been armed while this transaction waited for the one before.
            if self.quiet.asked_until().is_none() || Instant::now() >= give_up {
                break writing;
            }
        };
        let redb = Arc::clone(&self.redb);
        off_the_workers(move || write(&redb, &changes)).await
    }

    /// Waits for the transaction that is under way, if one is.
    pub(crate) async fn wait_idle(&self) {
        drop(self.writing.lock().await);
    }
}

/// The file, which is its owner's alone: it has the secrets that initiators prove their names with.
fn file(path: &Path) -> Result<File, redb::Error> {
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(OWNER_ONLY).open(path)?;
    // One that an earlier version made may be open to others.
    file.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
    Ok(file)
}

async fn off_the_workers<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DatabaseError> + Send + 'static,
) -> Result<T, DatabaseError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| DatabaseError::Stopped)?
}

fn initialize(redb: &Redb) -> Result<(), DatabaseError> {
    let transaction = redb.begin_write().map_err(redb::Error::from)?;
    {
        let mut meta = transaction.open_table(META).map_err(redb::Error::from)?;
        let found = meta.get(VERSION_KEY).map_err(redb::Error::from)?.map(|version| version.value());
        match found {
            None => {
                meta.insert(VERSION_KEY, VERSION).map_err(redb::Error::from)?;
            }
            Some(VERSION) => {}
            Some(version) => return Err(DatabaseError::UnsupportedVersion(version)),
        }
        transaction.open_table(LUNS).map_err(redb::Error::from)?;
        transaction.open_table(HOSTS).map_err(redb::Error::from)?;
        transaction.open_table(MAPPINGS).map_err(redb::Error::from)?;
        transaction.open_table(SETS).map_err(redb::Error::from)?;
        transaction.open_table(RESERVATIONS).map_err(redb::Error::from)?;
        transaction.open_table(WORK).map_err(redb::Error::from)?;
        transaction.open_table(SCRUB).map_err(redb::Error::from)?;
    }
    transaction.commit().map_err(redb::Error::from)?;
    Ok(())
}

fn read(redb: &Redb) -> Result<Content, DatabaseError> {
    let transaction = redb.begin_read().map_err(redb::Error::from)?;
    let records = |table: TableDefinition<'static, u128, &'static [u8]>| -> Result<Vec<(u128, Vec<u8>)>, redb::Error> {
        let table = transaction.open_table(table)?;
        table
            .iter()?
            .map(|entry| entry.map(|(key, value)| (key.value(), value.value().to_vec())).map_err(Into::into))
            .collect()
    };
    let mut content = Content::default();
    for (key, bytes) in records(LUNS)? {
        content.luns.push((LunId::from_u128(key), decode(&bytes, "LUN")?));
    }
    for (key, bytes) in records(HOSTS)? {
        content.hosts.push((HostId(Uuid::from_u128(key)), decode(&bytes, "host")?));
    }
    for (key, bytes) in records(SETS)? {
        content.sets.push((ShadowSetId(Uuid::from_u128(key)), decode(&bytes, "shadow set")?));
    }
    for (key, bytes) in records(RESERVATIONS)? {
        content.reservations.push((LunId::from_u128(key), bytes.into()));
    }
    for (key, bytes) in records(WORK)? {
        content.work.push((LunId::from_u128(key), decode(&bytes, "copy, import or export")?));
    }
    for (_, bytes) in records(SCRUB)? {
        content.scrub = Some(decode(&bytes, "scrub")?);
    }
    let mappings = transaction.open_table(MAPPINGS).map_err(redb::Error::from)?;
    for entry in mappings.iter().map_err(redb::Error::from)? {
        let (key, lun) = entry.map_err(redb::Error::from)?;
        let (host, number) = key.value();
        content.mappings.push((HostId(Uuid::from_u128(host)), number, LunId::from_u128(lun.value())));
    }
    Ok(content)
}

fn write(redb: &Redb, changes: &[Change]) -> Result<(), DatabaseError> {
    let transaction = redb.begin_write().map_err(redb::Error::from)?;
    for change in changes {
        apply(&transaction, change)?;
    }
    transaction.commit().map_err(redb::Error::from)?;
    Ok(())
}

fn apply(transaction: &redb::WriteTransaction, change: &Change) -> Result<(), DatabaseError> {
    match change {
        Change::PutLun(lun, doc) => put(transaction, LUNS, lun.as_u128(), doc, "LUN"),
        Change::PutHost(host, doc) => put(transaction, HOSTS, host.0.as_u128(), doc, "host"),
        Change::PutSet(set, doc) => put(transaction, SETS, set.0.as_u128(), doc, "shadow set"),
        Change::DropHost(host) => remove(transaction, HOSTS, host.0.as_u128()),
        Change::DropLun(lun) => remove(transaction, LUNS, lun.as_u128()),
        Change::PutReservations(lun, record) => put_bytes(transaction, RESERVATIONS, lun.as_u128(), record),
        Change::DropReservations(lun) => remove(transaction, RESERVATIONS, lun.as_u128()),
        Change::PutWork(lun, doc) => put(transaction, WORK, lun.as_u128(), doc, "copy, import or export"),
        Change::DropWork(lun) => remove(transaction, WORK, lun.as_u128()),
        Change::PutScrub(doc) => put(transaction, SCRUB, 0, doc, "scrub"),
        Change::DropSet(set) => remove(transaction, SETS, set.0.as_u128()),
        Change::PutMapping(host, number, lun) => {
            let mut mappings = transaction.open_table(MAPPINGS).map_err(redb::Error::from)?;
            mappings.insert((host.0.as_u128(), *number), lun.as_u128()).map_err(redb::Error::from)?;
            Ok(())
        }
        Change::DropMapping(host, number) => {
            let mut mappings = transaction.open_table(MAPPINGS).map_err(redb::Error::from)?;
            mappings.remove((host.0.as_u128(), *number)).map_err(redb::Error::from)?;
            Ok(())
        }
    }
}

fn put(
    transaction: &redb::WriteTransaction,
    table: TableDefinition<'_, u128, &'static [u8]>,
    key: u128,
    doc: &impl Serialize,
    kind: &'static str,
) -> Result<(), DatabaseError> {
    let bytes = serde_json::to_vec(doc).map_err(|source| DatabaseError::Record { kind, source })?;
    put_bytes(transaction, table, key, &bytes)
}

fn put_bytes(
    transaction: &redb::WriteTransaction,
    table: TableDefinition<'_, u128, &'static [u8]>,
    key: u128,
    bytes: &[u8],
) -> Result<(), DatabaseError> {
    let mut table = transaction.open_table(table).map_err(redb::Error::from)?;
    table.insert(key, bytes).map_err(redb::Error::from)?;
    Ok(())
}

fn remove(
    transaction: &redb::WriteTransaction,
    table: TableDefinition<'_, u128, &'static [u8]>,
    key: u128,
) -> Result<(), DatabaseError> {
    let mut table = transaction.open_table(table).map_err(redb::Error::from)?;
    table.remove(key).map_err(redb::Error::from)?;
    Ok(())
}

fn decode<T: DeserializeOwned>(bytes: &[u8], kind: &'static str) -> Result<T, DatabaseError> {
    serde_json::from_slice(bytes).map_err(|source| DatabaseError::Record { kind, source })
}
