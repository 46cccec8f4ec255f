//! See `lunshadow_fuzz::log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lunshadow_fuzz::log(data));
