//! A sink's answers to bulk requests: see `fuzz_answer`.
#![no_main]

#[path = "../src/answer.rs"]
mod answer;

libfuzzer_sys::fuzz_target!(|data: &[u8]| answer::fuzz_answer(data));
