//! The host bus adapter below the simulated host: what it needs of a way to LUNs.
//!
//! [`IscsiAdapter`](super::IscsiAdapter) is the one over TCP. The seam is narrow, so that a test can put storage behind it that
//! fails or stalls as it likes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use lunshadow_scsi::vpd::DeviceIdentification;
use lunshadow_scsi::{LunAddress, StandardInquiry};

/// What an adapter answers, some time later.
pub type AdapterFuture<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// A way to LUNs.
pub trait HostAdapter: Send + Sync + 'static {
    /// REPORT LUNS.
    fn lun_addresses(&self) -> AdapterFuture<'_, Vec<LunAddress>>;

    /// Looks at a LUN: standard INQUIRY data, the pages 0x80 and 0x83, the capacity.
    fn attach(&self, lun: LunAddress) -> AdapterFuture<'_, AttachedLun>;

    /// Waits until the array says that the LUNs have changed (unit attention REPORTED LUNS DATA HAS CHANGED, SPC-4 6.33.2).
    fn wait_for_change(&self) -> AdapterFuture<'_, ()>;
}

/// A LUN as the adapter sees it.
pub struct AttachedLun {
    /// Standard INQUIRY data.
    pub inquiry: StandardInquiry,
    /// The unit serial number of page 0x80, if the LUN has that page.
    pub serial_number: Option<String>,
    /// Page 0x83.
    pub identification: DeviceIdentification,
    /// The way to the LUN's data.
    pub disk: Arc<dyn AdapterDisk>,
}

/// The data of a LUN. Offsets and lengths are whole blocks of 512 bytes. Requests run concurrently.
pub trait AdapterDisk: Send + Sync + 'static {
    /// The LUN's length in bytes.
    fn len_bytes(&self) -> u64;

    /// Reads.
    fn read_at(&self, offset_bytes: u64, len_bytes: usize) -> AdapterFuture<'_, Bytes>;

    /// Writes, not necessarily durably.
    fn write_at(&self, offset_bytes: u64, data: Bytes) -> AdapterFuture<'_, ()>;

    /// SYNCHRONIZE CACHE of the whole LUN.
    fn flush(&self) -> AdapterFuture<'_, ()>;
}
