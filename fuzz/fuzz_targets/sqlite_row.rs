#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pyzord_properties::sqlite_row(data));
