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

/// Parts of a message put together: what `format!` and `concat` would do, and a third of their size in a component.
pub(crate) fn said(parts: &[&str]) -> String {
    let mut text = String::new();
    parts.iter().for_each(|part| text.push_str(part));
    text
}

/// Names in backticks, with commas between them.
pub(crate) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for name in names {
        text.push_str(if text.is_empty() { "`" } else { ", `" });
        text.push_str(name);
        text.push('`');
    }
    if text.is_empty() { "nothing".to_owned() } else { text }
}
