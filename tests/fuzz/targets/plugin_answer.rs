//! Plans and answers of plugins: see `fuzz_plugin_answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidemill_stage::testing::fuzz_plugin_answer(data));
