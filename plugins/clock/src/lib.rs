//! A component whose import nobody granted. That it is of no world of Tidemill's comes second: imports are read first.

#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, reason = "what wit-bindgen generates for an export")]

wit_bindgen::generate!({ path: "wit", world: "clock" });

struct Clock;

impl Guest for Clock {
    fn tick() -> u64 {
        fixture::clock::wall::now()
    }
}

export!(Clock);
