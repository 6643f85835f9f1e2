//! The replication stream: see `fuzz_pgoutput`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidemill_decode::testing::fuzz_pgoutput(data));
