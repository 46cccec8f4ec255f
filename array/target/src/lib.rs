//! The SCSI device server and the iSCSI target over `array/lun`.

mod device_server;

pub use device_server::{
    Completion, DeviceServer, Nexus, TRANSFER_BLOCKS_MAX, TargetPort, Task, UNMAP_BLOCKS_MAX, UNMAP_DESCRIPTORS_MAX,
    UNMAP_GRANULARITY_BLOCKS, UnitId, sense_of,
};
