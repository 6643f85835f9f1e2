//! A running plugin: a store with its limits, the instance in it, and what the guest said to the host.
//!
//! A call that trapped or ran out of something leaves the store in an unknown state: the caller drops the instance.

use std::collections::BTreeMap;
use std::time::Duration;

use wasmtime::component::{ComponentNamedList, Func, Lift, Linker, Lower};
use wasmtime::{ResourceLimiter, Store, StoreContextMut, Trap};
use wasmtime_wasi::{WasiCtxView, WasiView};

pub use crate::abi::Level;
use crate::abi::{self, Batch, Failure, FilterPlan, Schema, TransformPlan, Transformed, Verdict};
use crate::engine::ticks;
use crate::grants::{Grants, Wasi};
use crate::limits::{
    ANSWER_BYTES_MAX, INSTANCES_MAX, LOG_LINE_BYTES_MAX, LOG_LINES_A_CALL_MAX, LOG_LINES_MAX, METRIC_NAME_BYTES_MAX,
    METRICS_MAX, TABLE_ELEMENTS_MAX, cut,
};
use crate::{Limits, Plugin, World};

/// A line that a guest logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub stage: String,
    pub level: Level,
    pub message: String,
}

/// What guests logged since the last time that somebody asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    pub lines: Vec<LogLine>,
    /// Lines that were not kept because there were too many.
    pub dropped: u64,
}

/// A metric of a guest's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// What was added since the last time that somebody asked.
    Count(u64),
    Gauge(f64),
}

/// What a guest said in the calls since the last [`Said::drain_into`].
#[derive(Debug, Default)]
pub(crate) struct Said {
    lines: Vec<(Level, String)>,
    dropped: u64,
    pub(crate) metrics: BTreeMap<String, Metric>,
}

impl Said {
    fn log(&mut self, level: Level, message: String) {
        if self.lines.len() < LOG_LINES_A_CALL_MAX {
            self.lines.push((level, cut(message, LOG_LINE_BYTES_MAX)));
        } else {
            self.dropped += 1;
        }
    }

    fn metric(&mut self, name: &str) -> Option<&mut Metric> {
        let mut chars = name.bytes();
        let is_name = chars.next().is_some_and(|first| first.is_ascii_lowercase())
            && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
        if !is_name || name.len() > METRIC_NAME_BYTES_MAX {
            return None;
        }
        if !self.metrics.contains_key(name) {
            if self.metrics.len() >= METRICS_MAX {
                return None;
            }
            self.metrics.insert(name.to_owned(), Metric::Count(0));
        }
        self.metrics.get_mut(name)
    }

    /// What it printed becomes lines of the log.
    fn print(&mut self, wasi: &mut Wasi) {
        for (level, line) in wasi.drain() {
            self.log(level, line);
        }
    }

    /// The last thing it said before it trapped: an SDK logs the panic's message and place.
    fn panic(&self) -> Option<&str> {
        let (level, message) = self.lines.last()?;
        (*level == Level::Error).then_some(message)
    }

    pub(crate) fn drain_into(&mut self, stage: &str, logs: &mut Logs) {
        logs.dropped += std::mem::take(&mut self.dropped);
        for (level, message) in self.lines.drain(..) {
            if logs.lines.len() < LOG_LINES_MAX {
                logs.lines.push(LogLine { stage: stage.to_owned(), level, message });
            } else {
                logs.dropped += 1;
            }
        }
    }
}

/// The host's side of a store.
#[derive(Debug)]
pub(crate) struct Host {
    memory_bytes_max: usize,
    /// The limit that kept a memory or table from growing; a call that then fails, failed by it.
    breach: Option<String>,
    said: Said,
    /// What was granted; nothing of it where the plugin imports nothing of it.
    wasi: Option<Wasi>,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.as_mut().expect("a plugin that imports WASI is given one").view()
    }
}

impl Host {
    /// All that the guest said, by whatever way.
    fn said(&mut self) -> &mut Said {
        if let Some(wasi) = &mut self.wasi {
            self.said.print(wasi);
        }
        &mut self.said
    }
}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.memory_bytes_max;
        if !fits {
            let mib = self.memory_bytes_max >> 20;
            self.breach = Some(format!("it needs more than its {mib} MiB of memory: raise `limits.memory`"));
        }
        Ok(fits)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= TABLE_ELEMENTS_MAX;
        if !fits {
            self.breach = Some(format!("it needs a table of more than {TABLE_ELEMENTS_MAX} elements"));
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        INSTANCES_MAX
    }
}

/// What every plugin may import.
pub(crate) fn add_imports(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.instance(abi::LOG)?.func_wrap(
        "write",
        |mut store: StoreContextMut<'_, Host>, (level, message): (Level, String)| {
            store.data_mut().said.log(level, message);
            Ok(())
        },
    )?;
    let mut metrics = linker.instance(abi::METRICS)?;
    metrics.func_wrap("count", |mut store: StoreContextMut<'_, Host>, (name, add): (String, u64)| {
        if let Some(metric) = store.data_mut().said.metric(&name) {
            *metric = match *metric {
                Metric::Count(sum) => Metric::Count(sum.saturating_add(add)),
                Metric::Gauge(_) => Metric::Count(add),
            };
        }
        Ok(())
    })?;
    metrics.func_wrap("set", |mut store: StoreContextMut<'_, Host>, (name, value): (String, f64)| {
        if let Some(metric) = store.data_mut().said.metric(&name) {
            *metric = Metric::Gauge(value);
        }
        Ok(())
    })
}

/// A call that ended in no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) is_deadline: bool,
    /// A code for dead letters.
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Failed {
    pub(crate) fn limit(message: impl Into<String>) -> Failed {
        Failed { is_deadline: false, code: "limit", message: message.into() }
    }

    /// An answer that is none.
    pub(crate) fn answer(message: impl Into<String>) -> Failed {
        Failed { is_deadline: false, code: "bad_answer", message: message.into() }
    }
}

/// A guest's plan, whichever world it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GuestPlan {
    Filter(FilterPlan),
    Transform(TransformPlan),
}

/// A guest's answer, not yet looked at.
#[derive(Debug)]
pub(crate) enum GuestAnswer {
    Verdict(Verdict),
    Transformed(Transformed),
}

#[derive(Debug)]
pub(crate) struct Instance {
    store: Store<Host>,
    process: Func,
    world: World,
    deadline: Duration,
}

/// Why an instance could not be opened.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// The guest says so.
    Refused(String),
    Failed(Failed),
    /// Its functions are not those of the contract.
    Misfit(String),
}

impl Instance {
    /// Instantiates a plugin and opens it. What it says goes to `said` even where it fails.
    pub(crate) fn open(
        plugin: &Plugin,
        limits: &Limits,
        config: &str,
        schema: &Schema,
        grants: &Grants,
        logs: (&str, &mut Logs),
    ) -> Result<(Instance, GuestPlan), NotOpened> {
        grants.allow(plugin.imports()).map_err(NotOpened::Refused)?;
        let wasi = (!plugin.imports().is_empty()).then(|| Wasi::new(grants)).transpose().map_err(NotOpened::Refused)?;
        let host = Host { memory_bytes_max: limits.memory_bytes, breach: None, said: Said::default(), wasi };
        let mut store = Store::new(plugin.engine().wasmtime(), host);
        store.limiter(|host| host);
        store.set_hostcall_fuel(ANSWER_BYTES_MAX);
        store.epoch_deadline_trap();
        let result = Instance::open_in(&mut store, plugin, limits, config, schema);
        store.data_mut().said().drain_into(logs.0, logs.1);
        let (process, plan) = result?;
        let instance = Instance { store, process, world: plugin.world(), deadline: limits.deadline };
        Ok((instance, plan))
    }

    fn open_in(
        store: &mut Store<Host>,
        plugin: &Plugin,
        limits: &Limits,
        config: &str,
        schema: &Schema,
    ) -> Result<(Func, GuestPlan), NotOpened> {
        store.set_epoch_deadline(ticks(limits.deadline));
        let instance = match plugin.pre.instantiate(&mut *store) {
            Ok(instance) => instance,
            Err(error) => return Err(NotOpened::Failed(failed(store, &error, limits.deadline))),
        };
        let misfit = || NotOpened::Misfit(format!("plugin `{}` exports no functions of the contract", plugin.name()));
        let open = instance.get_func(&mut *store, plugin.open).ok_or_else(misfit)?;
        let process = instance.get_func(&mut *store, plugin.process).ok_or_else(misfit)?;
        let params = (config, schema);
        let plan = match plugin.world() {
            World::Filter => {
                typed::<(Batch<'_>,), (Result<Verdict, Failure>,)>(&process, store)?;
                let open = typed::<(&str, &Schema), (Result<FilterPlan, String>,)>(&open, store)?;
                open.call(&mut *store, params).map(|(plan,)| plan.map(GuestPlan::Filter))
            }
            World::Transform => {
                typed::<(Batch<'_>,), (Result<Transformed, Failure>,)>(&process, store)?;
                let open = typed::<(&str, &Schema), (Result<TransformPlan, String>,)>(&open, store)?;
                open.call(&mut *store, params).map(|(plan,)| plan.map(GuestPlan::Transform))
            }
        };
        match plan {
            Ok(Ok(plan)) => Ok((process, plan)),
            Ok(Err(message)) => Err(NotOpened::Refused(cut(message, LOG_LINE_BYTES_MAX))),
            Err(error) => Err(NotOpened::Failed(failed(store, &error, limits.deadline))),
        }
    }

    /// One call. After `Err` the instance must be dropped.
    pub(crate) fn process(&mut self, batch: Batch<'_>) -> Result<Result<GuestAnswer, Failure>, Failed> {
        let store = &mut self.store;
        store.set_epoch_deadline(ticks(self.deadline));
        // The functions' types were checked when the instance was opened; a borrowed batch has a type of its own a call.
        let answer = match self.world {
            World::Filter => self
                .process
                .typed::<(Batch<'_>,), (Result<Verdict, Failure>,)>(&*store)
                .and_then(|process| process.call(&mut *store, (batch,)))
                .map(|(answer,)| answer.map(GuestAnswer::Verdict)),
            World::Transform => self
                .process
                .typed::<(Batch<'_>,), (Result<Transformed, Failure>,)>(&*store)
                .and_then(|process| process.call(&mut *store, (batch,)))
                .map(|(answer,)| answer.map(GuestAnswer::Transformed)),
        };
        answer.map_err(|error| failed(store, &error, self.deadline))
    }

    pub(crate) fn said(&mut self) -> &mut Said {
        self.store.data_mut().said()
    }
}

fn typed<P, R>(function: &Func, store: &Store<Host>) -> Result<wasmtime::component::TypedFunc<P, R>, NotOpened>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    function.typed(store).map_err(|error| NotOpened::Misfit(format!("{error:#}")))
}

/// Says in a user's words why a call ended without an answer.
fn failed(store: &mut Store<Host>, error: &wasmtime::Error, deadline: Duration) -> Failed {
    let host = store.data_mut();
    if let Some(breach) = host.breach.take() {
        return Failed::limit(breach);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => Failed {
            is_deadline: true,
            code: "deadline",
            message: format!("it did not answer within its deadline of {deadline:?}: raise `limits.deadline`"),
        },
        Some(Trap::StackOverflow) => Failed::limit("it needs more stack than there is: does it recurse without end?"),
        Some(trap) => {
            let said = host.said().panic().map(|said| format!(": {said}")).unwrap_or_default();
            Failed { is_deadline: false, code: "trap", message: format!("it trapped ({trap}){said}") }
        }
        None => Failed::answer(format!("its answer is none: {}", error.root_cause())),
    }
}
