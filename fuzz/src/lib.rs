//! Fuzz targets for everything that the pool reads from its medium: `cargo xtask fuzz`.
//!
//! What the targets do with a fuzzer's bytes is in `forgery`, which the store's tests run with a stable compiler.

#[path = "../../array/store/tests/images/forgery.rs"]
mod forgery;
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
