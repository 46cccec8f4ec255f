//! See `lunshadow_fuzz::iscsi_login`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lunshadow_fuzz::iscsi_login(data));
