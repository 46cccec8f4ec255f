//! The database: changes become records of a [`RecordStore`], one transaction at a time, and none while a commit is near.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::DatabaseError;
use crate::quiet::{QUIET_AT_MOST, Quiet};
use crate::record_store::RecordStore;
use crate::records::{Change, Content};

/// The open database.
#[derive(Debug)]
pub(crate) struct Database {
    store: Arc<dyn RecordStore>,
    /// Held while a transaction makes the medium busy, and never while one waits for quiet.
    writing: Mutex<()>,
    pub(crate) quiet: Quiet,
}

impl Database {
    /// Reads all of it.
    pub(crate) async fn open(store: Arc<dyn RecordStore>) -> Result<(Self, Content), DatabaseError> {
        let content = Content::from_records(store.load().await?)?;
        Ok((Self { store, writing: Mutex::new(()), quiet: Quiet::new() }, content))
    }

    /// Writes all changes or none, durably. Waits while a set is armed or committing.
    pub(crate) async fn write(&self, changes: Vec<Change>) -> Result<(), DatabaseError> {
        if changes.is_empty() {
            return Ok(());
        }
        let changes = changes.iter().map(Change::to_record_change).collect::<Result<_, _>>()?;
        let give_up = Instant::now() + QUIET_AT_MOST;
        let _writing = loop {
            self.quiet.wait_over(give_up).await;
            let writing = self.writing.lock().await;
            // A set may have been armed while this transaction waited for the one before.
            if self.quiet.asked_until().is_none() || Instant::now() >= give_up {
                break writing;
            }
        };
        self.store.write(changes).await
    }

    /// Waits for the transaction that is under way, if one is.
    pub(crate) async fn wait_idle(&self) {
        drop(self.writing.lock().await);
    }
}
