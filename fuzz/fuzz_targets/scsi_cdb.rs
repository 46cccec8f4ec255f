//! See `lunshadow_fuzz::scsi_cdb`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lunshadow_fuzz::scsi_cdb(data));
