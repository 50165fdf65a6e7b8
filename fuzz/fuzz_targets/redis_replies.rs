#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pyzord_properties::redis_replies(data));
