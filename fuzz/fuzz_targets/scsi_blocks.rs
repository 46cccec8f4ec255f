//! See `lunshadow_fuzz::scsi_blocks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lunshadow_fuzz::scsi_blocks(data));
