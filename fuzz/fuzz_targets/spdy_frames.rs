#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| orlop_apiserver::fuzz::spdy_frames(bytes));
