//! LUNs in memory, and a map that shows them to initiators.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use lunshadow_lun::{
    BlockCount, ChapAccounts, InitiatorName, Inventory, LOGICAL_BLOCK_BYTES, Lba, Lun, LunError, LunHandle, LunId,
    LunMap, LunNumber, PortalGroupStates, UnitRecord, UnitStore, UnitStoreError,
};
use parking_lot::Mutex;

/// A LUN whose blocks are a vector.
pub(crate) struct MemoryLun {
    id: LunId,
    bytes: Mutex<Vec<u8>>,
    /// All contents that are kept of the LUN have one of these.
    kept: Arc<()>,
    /// Which requests are done at once, if that is asked for, by their number.
    is_at_once: fn(u64) -> bool,
    asked_for_that: AtomicU64,
}

impl MemoryLun {
    pub(crate) fn new(id: u128, block_count: u64) -> Self {
        let len = usize::try_from(BlockCount(block_count).bytes()).expect("it fits into memory");
        let (bytes, kept) = (Mutex::new(vec![0; len]), Arc::default());
        Self { id: LunId::from_u128(id), bytes, kept, is_at_once: |_| false, asked_for_that: AtomicU64::default() }
    }

    /// The same that does some requests at once.
    pub(crate) fn at_once(self, is_at_once: fn(u64) -> bool) -> Self {
        Self { is_at_once, ..self }
    }

    fn is_done_at_once(&self) -> bool {
        (self.is_at_once)(self.asked_for_that.fetch_add(1, Ordering::Relaxed))
    }

    /// How many contents of it are kept.
    #[cfg(test)]
    pub(crate) fn pins(&self) -> usize {
        Arc::strong_count(&self.kept) - 1
    }

    /// Calls `with` with the bytes of a range.
    fn at<T>(&self, at: Lba, count: BlockCount, with: impl FnOnce(&mut [u8]) -> T) -> Result<T, LunError> {
        let mut bytes = self.bytes.lock();
        let size = BlockCount(bytes.len() as u64 / u64::from(LOGICAL_BLOCK_BYTES));
        let out_of_range = || LunError::OutOfRange { at, count, size };
        let end = at.checked_add(count).filter(|end| end.0 <= size.0).ok_or_else(out_of_range)?;
        let place = |lba: Lba| usize::try_from(BlockCount(lba.0).bytes()).map_err(|_| out_of_range());
        Ok(with(&mut bytes[place(at)?..place(end)?]))
    }
}

impl Lun for MemoryLun {
    fn id(&self) -> LunId {
        self.id
    }

    fn block_count(&self) -> BlockCount {
        BlockCount(self.bytes.lock().len() as u64 / u64::from(LOGICAL_BLOCK_BYTES))
    }

    async fn read(&self, at: Lba, count: BlockCount) -> Result<Bytes, LunError> {
        self.at(at, count, |bytes| Bytes::copy_from_slice(bytes))
    }

    fn read_now(&self, at: Lba, count: BlockCount) -> Option<Bytes> {
        let read = || self.at(at, count, |bytes| Bytes::copy_from_slice(bytes)).ok();
        self.is_done_at_once().then(read).flatten()
    }

    fn write_now(&self, at: Lba, data: Bytes) -> Result<(), Bytes> {
        let count = BlockCount::from_bytes(data.len() as u64).filter(|_| self.is_done_at_once());
        let written = count.and_then(|count| self.at(at, count, |bytes| bytes.copy_from_slice(&data)).ok());
        written.ok_or(data)
    }

    async fn write(&self, at: Lba, data: Bytes) -> Result<(), LunError> {
        let count =
            BlockCount::from_bytes(data.len() as u64).ok_or(LunError::NotWholeBlocks { byte_len: data.len() })?;
        self.at(at, count, |bytes| bytes.copy_from_slice(&data))
    }

    async fn flush(&self) -> Result<(), LunError> {
        Ok(())
    }

    async fn discard(&self, at: Lba, count: BlockCount) -> Result<(), LunError> {
        self.at(at, count, |bytes| bytes.fill(0))
    }

    async fn pin(&self) -> Result<Option<LunHandle>, LunError> {
        let (bytes, kept) = (Mutex::new(self.bytes.lock().clone()), self.kept.clone());
        let asked_for_that = AtomicU64::default();
        Ok(Some(LunHandle::new(Self { id: self.id, bytes, kept, is_at_once: self.is_at_once, asked_for_that })))
    }
}

/// Shows each initiator what it was told to; initiators that it was told nothing about are unknown.
#[derive(Default)]
pub(crate) struct Map {
    generation: AtomicU64,
    inventories: Mutex<HashMap<InitiatorName, Arc<Inventory>>>,
    chap: Mutex<HashMap<InitiatorName, ChapAccounts>>,
    portal_groups: Arc<PortalGroupStates>,
    /// What is kept of LUNs, if anything is.
    kept: Option<Kept>,
}

/// Keeps records of LUNs as long as the process lives.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) records: Mutex<HashMap<(LunId, UnitRecord), Bytes>>,
    pub(crate) fails: AtomicBool,
}

impl Map {
    pub(crate) fn show(&self, initiator: &InitiatorName, luns: impl IntoIterator<Item = (u8, LunHandle)>) {
        let luns: BTreeMap<_, _> = luns.into_iter().map(|(number, lun)| (LunNumber(number), lun)).collect();
        let generation = 1 + self.generation.fetch_add(1, Ordering::Relaxed);
        self.inventories.lock().insert(initiator.clone(), Arc::new(Inventory { generation, luns }));
    }

    /// Has an initiator prove who it is.
    #[cfg(test)]
    pub(crate) fn demand(&self, initiator: &InitiatorName, accounts: ChapAccounts) {
        self.chap.lock().insert(initiator.clone(), accounts);
    }

    /// A map that keeps reservations and the like.
    #[cfg(test)]
    pub(crate) fn keeping() -> Self {
        Self { kept: Some(Kept::default()), ..Self::default() }
    }

    #[cfg(test)]
    pub(crate) fn kept(&self) -> &Kept {
        self.kept.as_ref().expect("it keeps them")
    }

    #[cfg(test)]
    pub(crate) fn forget(&self, initiator: &InitiatorName) {
        self.inventories.lock().remove(initiator);
    }
}

impl LunMap for Map {
    fn inventory(&self, initiator: &InitiatorName) -> Option<Arc<Inventory>> {
        self.inventories.lock().get(initiator).cloned()
    }

    fn chap(&self, initiator: &InitiatorName) -> Option<ChapAccounts> {
        self.chap.lock().get(initiator).cloned()
    }

    fn portal_groups(&self) -> Arc<PortalGroupStates> {
        self.portal_groups.clone()
    }

    fn unit_store(&self) -> Option<&dyn UnitStore> {
        self.kept.as_ref().map(|_| self as &dyn UnitStore)
    }
}

impl Map {
    fn records(&self) -> &Kept {
        self.kept.as_ref().expect("a map without it has no store")
    }
}

impl UnitStore for Map {
    fn kept(&self, lun: LunId, record: UnitRecord) -> Option<Bytes> {
        self.records().records.lock().get(&(lun, record)).cloned()
    }

    fn all_kept(&self, record: UnitRecord) -> Vec<LunHandle> {
        let shown = self.inventories.lock();
        let shown: BTreeMap<_, _> =
            shown.values().flat_map(|inventory| inventory.luns.values()).map(|lun| (lun.id(), lun.clone())).collect();
        let records = self.records().records.lock();
        let luns = records.keys().filter(|(_, of)| *of == record).filter_map(|(lun, _)| shown.get(lun).cloned());
        luns.collect()
    }

    fn keep(
        &self,
        lun: LunId,
        record: UnitRecord,
        bytes: Option<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<(), UnitStoreError>> + Send + '_>> {
        Box::pin(async move {
            // Whoever looks meanwhile sees what was there before.
            tokio::task::yield_now().await;
            if self.records().fails.load(Ordering::Relaxed) {
                return Err(UnitStoreError { lun, source: "no space".into() });
            }
            let mut records = self.records().records.lock();
            match bytes {
                Some(bytes) => records.insert((lun, record), bytes),
                None => records.remove(&(lun, record)),
            };
            Ok(())
        })
    }
}
