//! The compiler and the clock that all plugins of a process share.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wasmtime::{Config, EngineWeak};

use crate::Limits;
use crate::cache::Cache;
use crate::error::{Error, Kind};

/// How fine deadlines are. A hundred wake-ups a second cost nothing that shows.
const TICK: Duration = Duration::from_millis(10);

/// One a process. A clone is the same engine.
#[derive(Clone)]
pub struct Engine {
    wasmtime: wasmtime::Engine,
    cache: Option<Arc<Cache>>,
    stack_bytes: usize,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    pub fn new() -> Result<Engine, Error> {
        Engine::with_stack(Limits::default().stack_bytes)
    }

    /// Its stages may nest calls so deep. Threads that run or open them need [`Limits::THREAD_STACK_BYTES`].
    pub fn with_stack(stack_bytes: usize) -> Result<Engine, Error> {
        let mut config = Config::new();
        config.wasm_component_model(true);
        config.epoch_interruption(true);
        let stack_bytes = stack_bytes.min(Limits::STACK_BYTES_MAX);
        config.max_wasm_stack(stack_bytes);
        // The same rows give the same documents, on whatever processor.
        config.cranelift_nan_canonicalization(true);
        config.relaxed_simd_deterministic(true);
        let fail = |message: String| Error::new(Kind::Engine, "", message);
        let wasmtime = wasmtime::Engine::new(&config)
            .map_err(|error| fail(format!("wasmtime does not run on this machine: {error:#}")))?;
        let weak = wasmtime.weak();
        thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || tick(&weak))
            .map_err(|error| fail(format!("no thread can be made for the deadlines of plugins: {error}")))?;
        Ok(Engine { wasmtime, cache: None, stack_bytes })
    }

    /// Keeps what it compiles.
    pub fn with_cache(self, cache: Cache) -> Engine {
        Engine { cache: Some(Arc::new(cache)), ..self }
    }

    pub(crate) fn stack_bytes(&self) -> usize {
        self.stack_bytes
    }

    pub(crate) fn cache(&self) -> Option<&Cache> {
        self.cache.as_deref()
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.wasmtime
    }
}

/// Ends with the engine, at the tick after its last clone was dropped.
fn tick(engine: &EngineWeak) {
    loop {
        thread::sleep(TICK);
        match engine.upgrade() {
            Some(engine) => engine.increment_epoch(),
            None => return,
        }
    }
}

/// A deadline in ticks, never shorter than it says.
pub(crate) fn ticks(deadline: Duration) -> u64 {
    let ticks = deadline.as_nanos().div_ceil(TICK.as_nanos()).min(u128::from(u32::MAX));
    ticks as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_shortened() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(Duration::from_millis(1)), 2);
        assert_eq!(ticks(Duration::from_millis(10)), 2);
        assert_eq!(ticks(Duration::from_secs(10)), 1001);
        assert_eq!(ticks(Duration::MAX), u64::from(u32::MAX) + 1);
    }
}
