//! The records in one file: a redb database, one transaction per change, off the async workers.

use std::fs::{File, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Database as Redb, ReadableDatabase, ReadableTable, TableDefinition};

use crate::DatabaseError;
use crate::record_store::{Record, RecordChange, RecordKey, RecordStore, Storing, Table};

type Records = TableDefinition<'static, u128, &'static [u8]>;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const LUNS: Records = TableDefinition::new("luns");
const HOSTS: Records = TableDefinition::new("hosts");
const MAPPINGS: TableDefinition<'_, (u128, u8), u128> = TableDefinition::new("mappings");
const SETS: Records = TableDefinition::new("shadow-sets");
const RESERVATIONS: Records = TableDefinition::new("reservations");
const SANITIZE: Records = TableDefinition::new("sanitize");
const PORT_GROUPS: Records = TableDefinition::new("port-groups");
const PORTAL_GROUPS: Records = TableDefinition::new("portal-groups");
const SCRUB: Records = TableDefinition::new("scrub");
const WORK: Records = TableDefinition::new("work");

/// Who may read and write the file.
const OWNER_ONLY: u32 = 0o600;

const VERSION_KEY: &str = "version";
const VERSION: u64 = 1;

/// The open file. It is this process' alone.
#[derive(Debug)]
pub(crate) struct RedbFile(Arc<Redb>);

impl RedbFile {
    /// Opens the file, or makes it.
    pub(crate) async fn open(path: PathBuf) -> Result<Self, DatabaseError> {
        off_the_workers(move || {
            let backend = FileBackend::new(file(&path)?).map_err(redb::Error::from)?;
            let redb = Redb::builder().create_with_backend(backend).map_err(redb::Error::from)?;
            initialize(&redb)?;
            Ok(Self(Arc::new(redb)))
        })
        .await
    }
}

impl RecordStore for RedbFile {
    fn load(&self) -> Storing<'_, Vec<Record>> {
        let redb = Arc::clone(&self.0);
        Box::pin(off_the_workers(move || read(&redb)))
    }

    fn write(&self, changes: Vec<RecordChange>) -> Storing<'_, ()> {
        let redb = Arc::clone(&self.0);
        Box::pin(off_the_workers(move || {
            let transaction = redb.begin_write().map_err(redb::Error::from)?;
            for change in &changes {
                apply(&transaction, change)?;
            }
            transaction.commit().map_err(redb::Error::from)?;
            Ok(())
        }))
    }
}

fn read(redb: &Redb) -> Result<Vec<Record>, DatabaseError> {
    let transaction = redb.begin_read().map_err(redb::Error::from)?;
    let mut records = Vec::new();
    let tables = [
        Table::Luns,
        Table::Hosts,
        Table::Sets,
        Table::Reservations,
        Table::Sanitize,
        Table::PortGroups,
        Table::PortalGroups,
        Table::Scrub,
        Table::Work,
    ];
    for table in tables {
        let Some(definition) = definition_of(table) else { continue };
        let entries = transaction.open_table(definition).map_err(redb::Error::from)?;
        for entry in entries.iter().map_err(redb::Error::from)? {
            let (key, value) = entry.map_err(redb::Error::from)?;
            let key = RecordKey { table, id: key.value(), number: 0 };
            records.push(Record { key, value: value.value().to_vec() });
        }
    }
    let mappings = transaction.open_table(MAPPINGS).map_err(redb::Error::from)?;
    for entry in mappings.iter().map_err(redb::Error::from)? {
        let (key, lun) = entry.map_err(redb::Error::from)?;
        let (id, number) = key.value();
        let key = RecordKey { table: Table::Mappings, id, number };
        records.push(Record { key, value: lun.value().to_be_bytes().to_vec() });
    }
    Ok(records)
}

/// The table of records with an id each; `None` for mappings, whose keys are pairs.
const fn definition_of(table: Table) -> Option<Records> {
    match table {
        Table::Luns => Some(LUNS),
        Table::Hosts => Some(HOSTS),
        Table::Mappings => None,
        Table::Sets => Some(SETS),
        Table::Reservations => Some(RESERVATIONS),
        Table::Sanitize => Some(SANITIZE),
        Table::PortGroups => Some(PORT_GROUPS),
        Table::PortalGroups => Some(PORTAL_GROUPS),
        Table::Scrub => Some(SCRUB),
        Table::Work => Some(WORK),
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
        for definition in [LUNS, HOSTS, SETS, RESERVATIONS, SANITIZE, PORT_GROUPS, PORTAL_GROUPS, WORK, SCRUB] {
            transaction.open_table(definition).map_err(redb::Error::from)?;
        }
        transaction.open_table(MAPPINGS).map_err(redb::Error::from)?;
    }
    transaction.commit().map_err(redb::Error::from)?;
    Ok(())
}

fn apply(transaction: &redb::WriteTransaction, change: &RecordChange) -> Result<(), DatabaseError> {
    let key = match change {
        RecordChange::Put(record) => record.key,
        RecordChange::Drop(key) => *key,
    };
    let Some(definition) = definition_of(key.table) else { return apply_to_mappings(transaction, change) };
    let mut table = transaction.open_table(definition).map_err(redb::Error::from)?;
    match change {
        RecordChange::Put(record) => drop(table.insert(key.id, &*record.value).map_err(redb::Error::from)?),
        RecordChange::Drop(_) => drop(table.remove(key.id).map_err(redb::Error::from)?),
    }
    Ok(())
}

fn apply_to_mappings(transaction: &redb::WriteTransaction, change: &RecordChange) -> Result<(), DatabaseError> {
    let mut mappings = transaction.open_table(MAPPINGS).map_err(redb::Error::from)?;
    match change {
        RecordChange::Put(Record { key, value }) => {
            let lun = u128::from_be_bytes(value.as_slice().try_into().map_err(|_| DatabaseError::Mapping)?);
            mappings.insert((key.id, key.number), lun).map_err(redb::Error::from)?;
        }
        RecordChange::Drop(key) => drop(mappings.remove((key.id, key.number)).map_err(redb::Error::from)?),
    }
    Ok(())
}
