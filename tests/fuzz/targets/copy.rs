//! COPY text: see `fuzz_copy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidemill_decode::testing::fuzz_copy(data));
