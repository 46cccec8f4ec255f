//! Content that comes from outside (imports) or goes there (exports), block by block, at the hands of an administrator's program.
//!
//! An import fills a LUN that nobody sees until it is finished. An export reads a shadow LUN that is taken for it. A transfer that nobody has
//! touched for a while, and any that a restart finds, is removed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_control::{LunId, Outcome};
use lunshadow_lun::{BlockCount, LunHandle, Pool};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::catalog::Inner;
use crate::internal::WorkDoc;
use crate::records::Change;
use crate::{Catalog, CatalogError, Name};

/// For how long nobody may touch a transfer.
const IDLE_AT_MOST: Duration = Duration::from_secs(120);

/// The transfers under way, by the internal LUN of each.
#[derive(Debug, Default)]
pub(crate) struct Transfers(Mutex<BTreeMap<LunId, Transfer>>);

#[derive(Debug, Clone)]
struct Transfer {
    direction: Direction,
    handle: LunHandle,
    touched: Arc<watch::Sender<()>>,
}

/// Which way content goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

impl<P: Pool> Catalog<P> {
    /// Begins an import into a new LUN. Answers the id under which it is filled.
    ///
    /// # Errors
    /// `NameTaken`, `UnsupportedSize`, `OutOfSpace`, `LimitReached`, `PoolReadOnly`, `Medium`, `Database`.
    pub async fn begin_import(&self, name: Name, block_count: BlockCount) -> Result<LunHandle, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.begin_import(name, block_count).await }).await
    }

    /// Begins an export of a LUN or shadow LUN as it is now.
    ///
    /// # Errors
    /// `UnknownLun`, `WrongState`, `SetAborted`, `OutOfSpace`, `LimitReached`, `PoolReadOnly`, `Medium`, `Database`.
    pub async fn begin_export(&self, source: LunId) -> Result<LunHandle, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.begin_export(source).await }).await
    }

    /// What a transfer reads.
    ///
    /// # Errors
    /// `UnknownLun`.
    pub fn transfer(&self, transfer: LunId) -> Result<LunHandle, CatalogError> {
        self.inner.transfers.touch(transfer).map(|transfer| transfer.handle)
    }

    /// What an import fills.
    ///
    /// # Errors
    /// `UnknownLun`, also for an export.
    pub fn import(&self, transfer: LunId) -> Result<LunHandle, CatalogError> {
        let found = self.inner.transfers.touch(transfer)?;
        if found.direction == Direction::Out {
            return Err(CatalogError::UnknownLun(transfer));
        }
        Ok(found.handle)
    }

    /// Ends a transfer: the LUN of an import becomes one like any other, with all that was written.
    ///
    /// # Errors
    /// `UnknownLun`, `PoolReadOnly`, `Medium`, `Database`. The transfer is there still.
    pub async fn finish_transfer(&self, transfer: LunId) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.finish_transfer(transfer).await }).await
    }

    /// Gives a transfer up. Nothing is left of it.
    pub async fn cancel_transfer(&self, transfer: LunId) -> Outcome {
        self.inner.cancel_transfer(transfer).await
    }
}

impl Transfers {
    fn touch(&self, transfer: LunId) -> Result<Transfer, CatalogError> {
        let found = self.0.lock().get(&transfer).cloned().ok_or(CatalogError::UnknownLun(transfer))?;
        found.touched.send_replace(());
        Ok(found)
    }
}

impl<P: Pool> Inner<P> {
    async fn begin_import(self: &Arc<Self>, name: Name, block_count: BlockCount) -> Result<LunHandle, CatalogError> {
        let _source_luns = self.source_luns.lock().await;
        self.state.lock().check_name_free(&name)?;
        let lun = self.draw_internal();
        let made = async {
            self.make_filling(lun, name, block_count, WorkDoc::Import).await?;
            self.pool.create(lun, block_count).await.map_err(|error| self.pool_failed(error))
        };
        self.begun(lun, Direction::In, made.await).await
    }

    async fn begin_export(self: &Arc<Self>, source: LunId) -> Result<LunHandle, CatalogError> {
        self.state.lock().check_readable(source)?;
        let frozen = self.draw_internal();
        let made = async {
            {
                let _changes = self.changes.lock().await;
                self.write(vec![Change::PutWork(frozen, WorkDoc::Export)]).await?;
            }
            self.freeze(source, frozen).await
        };
        self.begun(frozen, Direction::Out, made.await).await
    }

    async fn begun(
        self: &Arc<Self>,
        lun: LunId,
        direction: Direction,
        made: Result<LunHandle, CatalogError>,
    ) -> Result<LunHandle, CatalogError> {
        let handle = match made {
            Ok(handle) => handle,
            Err(error) => {
                self.drop_internal(lun, &[lun]).await;
                return Err(error);
            }
        };
        let (touched, touches) = watch::channel(());
        let transfer = Transfer { direction, handle: handle.clone(), touched: Arc::new(touched) };
        self.transfers.0.lock().insert(lun, transfer);
        // Weak, so that a transfer that nobody ends does not keep the database open.
        tokio::spawn(remove_when_idle(Arc::downgrade(self), lun, touches));
        Ok(handle)
    }

    async fn finish_transfer(&self, transfer: LunId) -> Result<Outcome, CatalogError> {
        let found = self.transfers.touch(transfer)?;
        match found.direction {
            Direction::In => {
                let _source_luns = self.source_luns.lock().await;
                found.handle.flush().await.map_err(|error| CatalogError::NotImported(Arc::new(error)))?;
                self.show_filled(transfer, found.handle.clone()).await?;
                self.transfers.0.lock().remove(&transfer);
                self.drop_internal(transfer, &[]).await;
            }
            Direction::Out => {
                self.transfers.0.lock().remove(&transfer);
                self.drop_internal(transfer, &[transfer]).await;
            }
        }
        Ok(Outcome::Done)
    }

    async fn cancel_transfer(&self, transfer: LunId) -> Outcome {
        let _source_luns = self.source_luns.lock().await;
        let removed = self.transfers.0.lock().remove(&transfer);
        match removed {
            Some(_) => self.drop_internal(transfer, &[transfer]).await,
            None => Outcome::AlreadySo,
        }
    }
}

async fn remove_when_idle<P: Pool>(
    inner: std::sync::Weak<Inner<P>>,
    transfer: LunId,
    mut touches: watch::Receiver<()>,
) {
    loop {
        match timeout(IDLE_AT_MOST, touches.changed()).await {
            Ok(Ok(())) => {}
            // It has ended.
            Ok(Err(_)) => return,
            Err(_) => break,
        }
    }
    let Some(inner) = inner.upgrade() else { return };
    tracing::warn!(%transfer, "an import or export that nobody has touched for a while is removed");
    inner.cancel_transfer(transfer).await;
}
