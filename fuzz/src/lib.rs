//! Fuzz targets for everything that the pool reads from its medium and that the target takes from initiators: `cargo xtask fuzz`.
//!
//! What the targets do with a fuzzer's bytes is in `forgery` and `inputs`, which the tests of store and target run with a stable compiler.

#[path = "../../array/store/tests/images/forgery.rs"]
mod forgery;
#[path = "../../array/target/tests/target/inputs.rs"]
mod inputs;
#[path = "../../array/target/tests/target/memory.rs"]
mod memory;
#[path = "../../array/store/tests/images/ordeal.rs"]
mod ordeal;

/// The newest superblock with any fields.
pub fn superblock(data: &[u8]) {
    forgery::use_image(&forgery::forged_superblock(data));
}

/// A log that ends with any records.
pub fn log(data: &[u8]) {
    forgery::use_image(&forgery::forged_log(data));
}

/// Any blocks of a pool, with all checks made to fit.
pub fn blocks(data: &[u8]) {
    forgery::use_image(&forgery::forged_blocks(data));
}

/// A stream of PDUs.
pub fn iscsi_pdu(data: &[u8]) {
    inputs::pdus(data);
}

/// Keys and values.
pub fn iscsi_text(data: &[u8]) {
    inputs::text(data);
}

/// The requests of a login.
pub fn iscsi_login(data: &[u8]) {
    inputs::login(data);
}

/// Any CDBs with any data.
pub fn scsi_cdb(data: &[u8]) {
    inputs::cdbs(data);
}

/// Reads and writes of blocks, against a plain array of bytes.
pub fn scsi_blocks(data: &[u8]) {
    inputs::blocks(data);
}
