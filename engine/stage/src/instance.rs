//! A running plugin: a store with its limits, the instance in it, and what the guest said to the host.
//!
//! A call that trapped or ran out of something leaves the store in an unknown state: the caller drops the instance.

use wasmtime::component::{ComponentNamedList, Func, Lift, Linker, Lower, ResourceTableError};
use wasmtime::{FrameInfo, ResourceLimiter, Store, StoreContextMut, Trap, WasmBacktrace};
use wasmtime_wasi::{WasiCtxView, WasiView};

use crate::abi::{self, Batch, Failure, FilterPlan, Level, Rows, Schema, TransformPlan, Transformed, Verdict};
use crate::engine::ticks;
use crate::grants::{Grants, Wasi};
use crate::limits::{BACKTRACE_FRAMES_MAX, LOG_LINE_BYTES_MAX, cut};
use crate::said::{Heard, Metric, Said};
use crate::{Limits, Plugin, World};

/// The host's side of a store.
#[derive(Debug)]
pub(crate) struct Host {
    limits: Limits,
    /// What all its memories and tables have together.
    memory_bytes: usize,
    table_elements: usize,
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
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let together = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        let fits = together <= self.limits.memory_bytes;
        if fits {
            self.memory_bytes = together;
        } else {
            let mib = self.limits.memory_bytes >> 20;
            self.breach = Some(format!("it needs more than its {mib} MiB of memory: raise `limits.memory`"));
        }
        Ok(fits)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let max = self.limits.table_elements;
        let together = self.table_elements.saturating_add(desired.saturating_sub(current));
        let fits = together <= max;
        if fits {
            self.table_elements = together;
        } else {
            self.breach = Some(format!("it needs tables of more than {max} elements: raise `limits.tables`"));
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.instances
    }

    fn memories(&self) -> usize {
        self.limits.instances
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
    /// Instantiates a plugin and opens it. What it says is heard even where it fails.
    pub(crate) fn open(
        plugin: &Plugin,
        limits: &Limits,
        config: &str,
        schema: &Schema,
        grants: &Grants,
        heard: (&str, &mut Heard),
    ) -> Result<(Instance, GuestPlan), NotOpened> {
        grants.allow(plugin.imports()).map_err(NotOpened::Refused)?;
        let wasi = (!plugin.imports().is_empty())
            .then(|| Wasi::new(grants, limits))
            .transpose()
            .map_err(NotOpened::Refused)?;
        let host = Host {
            limits: Limits { stack_bytes: plugin.engine().stack_bytes(), ..*limits },
            memory_bytes: 0,
            table_elements: 0,
            breach: None,
            said: Said::new(limits.log_lines, limits.metrics),
            wasi,
        };
        let mut store = Store::new(plugin.engine().wasmtime(), host);
        store.limiter(|host| host);
        store.set_hostcall_fuel(limits.output_bytes);
        store.epoch_deadline_trap();
        let result = Instance::open_in(&mut store, plugin, limits, config, schema);
        heard.1.take(heard.0, store.data_mut().said());
        let (process, plan) = result?;
        let instance = Instance { store, process, world: plugin.world() };
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
            Err(error) => return Err(NotOpened::Failed(failed(store, &error))),
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
            Err(error) => Err(NotOpened::Failed(failed(store, &error))),
        }
    }

    /// One call. After `Err` the instance must be dropped.
    pub(crate) fn process(&mut self, batch: Batch<'_>) -> Result<Result<GuestAnswer, Failure>, Failed> {
        let store = &mut self.store;
        let limits = store.data().limits;
        store.set_epoch_deadline(ticks(limits.deadline));
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
        match answer {
            Ok(Ok(GuestAnswer::Transformed(Transformed { rows: Rows::Indices(indices), .. })))
                if indices.len() > limits.rows_out =>
            {
                let (rows, max) = (indices.len(), limits.rows_out);
                Err(Failed::limit(format!("{rows} rows come out of it, and {max} may: raise `limits.rows_out`")))
            }
            answer => answer.map_err(|error| failed(store, &error)),
        }
    }

    /// The memory that it has: there is none that shrinks.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().memory_bytes
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
fn failed(store: &mut Store<Host>, error: &wasmtime::Error) -> Failed {
    let host = store.data_mut();
    if let Some(breach) = host.breach.take() {
        return Failed::limit(breach);
    }
    let limits = host.limits;
    let Some(trap) = error.downcast_ref::<Trap>() else { return no_answer(error, &limits) };
    match trap {
        Trap::Interrupt => {
            let deadline = limits.deadline;
            let message = format!("it did not answer within its deadline of {deadline:?}: raise `limits.deadline`");
            Failed { is_deadline: true, code: "deadline", message }
        }
        Trap::StackOverflow => {
            let kib = limits.stack_bytes >> 10;
            let message = format!(
                "it needs more than its {kib} KiB of stack: raise `limits.stack`, unless it recurses without end"
            );
            Failed::limit(message)
        }
        trap => {
            let said = host.said().panic().map(|said| format!(": {said}")).unwrap_or_default();
            let message = format!("it trapped ({trap}){said}{}", backtrace(error));
            Failed { is_deadline: false, code: "trap", message }
        }
    }
}

/// What wasmtime has no type for is told by its words; a test holds them.
fn no_answer(error: &wasmtime::Error, limits: &Limits) -> Failed {
    if let Some(ResourceTableError::Full) = error.downcast_ref::<ResourceTableError>() {
        let max = limits.handles;
        return Failed::limit(format!(
            "it has more than {max} files, streams and the like open at once: raise `limits.handles`"
        ));
    }
    let message = error.root_cause().to_string();
    if message.contains("hostcalls has been exhausted") {
        let mib = limits.output_bytes >> 20;
        return Failed::limit(format!("it answers with more than {mib} MiB: raise `limits.output`"));
    }
    if message.contains("resource limit exceeded") {
        let max = limits.instances;
        return Failed::limit(format!(
            "it has more than {max} core instances, memories or tables: raise `limits.instances`"
        ));
    }
    Failed::answer(format!("its answer is none: {message}"))
}

/// The functions that it was in, innermost first, as far as it has their names.
fn backtrace(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let name = |frame: &FrameInfo| match frame.func_name() {
        Some(name) => format!("\n  in {:#}", rustc_demangle::demangle(name)),
        None => format!("\n  in function {}", frame.func_index()),
    };
    backtrace.frames().iter().take(BACKTRACE_FRAMES_MAX).map(name).collect()
}
