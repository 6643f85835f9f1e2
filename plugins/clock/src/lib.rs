//! A component whose import nobody granted. That it is of no world of Tidemill's comes second: imports are read first.

#![allow(unsafe_code, reason = "what wit-bindgen generates for an export")]

wit_bindgen::generate!({ path: "wit", world: "clock" });

#[cfg(target_arch = "wasm32")]
struct Clock;

#[cfg(target_arch = "wasm32")]
impl Guest for Clock {
    fn tick() -> u64 {
        fixture::clock::wall::now()
    }
}

#[cfg(target_arch = "wasm32")]
export!(Clock);
