//! The device server and the iSCSI target against LUNs in memory.

mod device_server;
mod faulty;
mod memory;
mod oracle;
