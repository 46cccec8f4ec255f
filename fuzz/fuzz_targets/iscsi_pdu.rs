//! See `lunshadow_fuzz::iscsi_pdu`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lunshadow_fuzz::iscsi_pdu(data));
