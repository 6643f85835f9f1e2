//! What every plugin may call: the log and metrics of its own. Natively a line goes to stderr, and metrics nowhere.

#[cfg(target_arch = "wasm32")]
pub use crate::bindings::filter::tidemill::plugin::log::Level;
#[cfg(not(target_arch = "wasm32"))]
pub use crate::native::Level;

/// Writes a line for the operator. Never put row values or secrets into it.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::filter::tidemill::plugin::log::write(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}

/// Adds to a counter of the plugin's own.
pub fn count(name: &str, add: u64) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::filter::tidemill::plugin::metrics::count(name, add);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (name, add);
}

/// Sets a gauge of the plugin's own.
pub fn set(name: &str, value: f64) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::filter::tidemill::plugin::metrics::set(name, value);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (name, value);
}
