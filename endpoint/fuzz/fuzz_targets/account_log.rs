#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hushwire::fuzzing::account_log(data));
