#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hushwire_wire::fuzzing::body(data));
