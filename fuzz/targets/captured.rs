#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| framelane_fuzz::captured(bytes));
