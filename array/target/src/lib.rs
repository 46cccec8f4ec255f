//! The SCSI device server and the iSCSI target over array/lun.
