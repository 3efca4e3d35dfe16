#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| orlop_fuzz::run("label_selector", bytes));
