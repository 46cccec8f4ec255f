//! SCSI on the wire: what SPC-4 and SBC-3 put into CDBs, data-in, data-out and sense data. Bytes and types only.
//!
//! Everything is there in both directions, so that the device server in `array/target` and the initiator in
//! `host/initiator` share one definition:
//!
//! * [`Command`] is a command; [`Command::parse`] reads it from a CDB, [`Command::to_cdb`] builds the CDB. [`CommandForm`] is a
//!   row of the table of all CDBs, with the bits that are looked at.
//! * [`Sense`] is sense data in either format, [`AdditionalSense`] names what it can say, [`Status`] the status byte.
//! * The rest is parameter data, one type for each shape: [`StandardInquiry`], the pages of [`vpd`], [`LunList`],
//!   [`Capacity10`], [`Capacity16`], [`LbaStatus`], [`ModeData`], [`UnmapRange`]. Each has `to_bytes` and `parse`.
//!
//! The device side answers malformed CDBs by [`CdbError`], which is a sense in itself; the initiator's side reads parameter
//! data leniently, with the defaults of the standard for what an older device leaves out, and else says [`ResponseError`].

mod capacity;
mod cdb;
mod command;
mod defects;
mod inquiry;
mod lba_status;
mod log;
mod mode;
mod report_luns;
mod reservation;
mod response;
mod sanitize;
mod sense;
mod status;
mod supported_commands;
mod target_port_groups;
mod third_party_copy;
mod unmap;
pub mod vpd;

pub use capacity::{Capacity10, Capacity16};
pub use cdb::{Cdb, opcode};
pub use command::{
    Access, BlockRange, ByteCheck, CdbError, CdbForm, Command, CommandForm, PageControl, Power, Reach, Readiness,
    ReserveForm,
};
pub use defects::{DefectForm, DefectRequest};
pub use inquiry::{DeviceType, Peripheral, PeripheralQualifier, StandardInquiry, version_descriptor};
pub use lba_status::{LbaExtent, LbaStatus, ProvisioningStatus};
pub use log::{LogPage, ProvisioningParameter, ResourceScope, log_page};
pub use mode::{
    CachingPage, ControlPage, ListedPage, ModeData, ModeForm, ModeList, ModeListError, ModePage, ProvisioningPage,
    Threshold, page_code,
};
pub use report_luns::{LunAddress, LunList, SelectReport};
pub use reservation::{
    FullStatus, IscsiTransportId, MoveParameters, RegistrationStatus, ReservationCapabilities, ReservationKeys,
    ReservationKind, ReservationReport, ReserveInAction, ReserveOutAction, ReserveParameters,
};
pub use response::ResponseError;
pub use sanitize::{OverwriteListError, OverwriteParameters, SanitizeAction};
pub use sense::{AdditionalSense, FieldPointer, Sense, SenseFormat, SenseKey, SensePointer};
pub use status::Status;
pub use supported_commands::{CommandDescriptor, CommandList, OneCommand, OperationCodes, TaskManagementFunctions};
pub use target_port_groups::{AccessState, SetTargetPortGroup, TargetPortGroup};
pub use third_party_copy::{
    BlockSegment, CopyDescriptor, CopyList, CopyListError, CopyListLimits, CopyParameters, CopyProgress, CopyStatus,
    ListIdUsage, OffloadListError, PopulateToken, RodToken, RodTokenInformation, RodType, TokenRange, WriteUsingToken,
    descriptor_type,
};
pub use unmap::{UnmapListError, UnmapRange};
