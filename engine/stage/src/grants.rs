//! What a configuration may give a plugin beside its rows: parts of WASI, each by its name.
//!
//! ```text
//! component's imports ──► each is always there, or a grant gives it ──► [refused otherwise, before any code runs]
//!                                        └──► WasiCtx with just what was granted
//! ```
//!
//! Invariants: what is not granted is not linked to anything that does something; a folder is only read; no call of WASI waits,
//! so that a deadline always holds. There is no network.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable, ResourceType};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sync};
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

use crate::Limits;
use crate::abi::Level;
use crate::limits::LOG_LINE_BYTES_MAX;

/// What a stage's plugin may use beside its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// It may name documents.
    pub identity: Option<Identity>,
    /// An environment: these variables and no others.
    pub env: Option<Vec<(String, String)>>,
    /// Folders to read; their files are looked at when the plugin asks for them.
    pub dirs: Option<Vec<Folder>>,
    /// What time it is.
    pub clocks: bool,
    pub random: bool,
    /// Standard output and error, which become lines of the log, and an empty standard input.
    pub stdio: bool,
}

/// How a stage may name documents: ids and routings as it likes, and indices that match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `*` stands for anything; where it is missing, indices stay those of the configuration.
    pub index: Option<Arc<str>>,
}

/// A folder of the host, and where the plugin has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    pub path: PathBuf,
    pub at: String,
}

/// The names of grants as the configuration has them.
const ENV: &str = "env";
const DIRS: &str = "dirs";
const CLOCKS: &str = "clocks";
const RANDOM: &str = "random";
const STDIO: &str = "stdio";

/// Each part of WASI, as far as its version, and the grants of which one is enough for it; the first is the one to name.
const GIVEN: [(&str, &[&str]); 19] = [
    ("wasi:cli/environment", &[ENV]),
    ("wasi:filesystem/types", &[DIRS]),
    ("wasi:filesystem/preopens", &[DIRS]),
    ("wasi:clocks/wall-clock", &[CLOCKS]),
    ("wasi:clocks/monotonic-clock", &[CLOCKS]),
    ("wasi:random/random", &[RANDOM]),
    ("wasi:random/insecure", &[RANDOM]),
    ("wasi:random/insecure-seed", &[RANDOM]),
    ("wasi:cli/exit", &[STDIO]),
    ("wasi:cli/stdin", &[STDIO]),
    ("wasi:cli/stdout", &[STDIO]),
    ("wasi:cli/stderr", &[STDIO]),
    ("wasi:cli/terminal-input", &[STDIO]),
    ("wasi:cli/terminal-output", &[STDIO]),
    ("wasi:cli/terminal-stdin", &[STDIO]),
    ("wasi:cli/terminal-stdout", &[STDIO]),
    ("wasi:cli/terminal-stderr", &[STDIO]),
    ("wasi:io/error", &[STDIO, DIRS, CLOCKS]),
    ("wasi:io/streams", &[STDIO, DIRS, CLOCKS]),
];
/// Waiting for something; it comes with whatever there may be to wait for.
const POLL: (&str, &[&str]) = ("wasi:io/poll", &[STDIO, DIRS, CLOCKS]);

/// The grants of which each gives an import: none where nothing does.
pub fn givers(import: &str) -> &'static [&'static str] {
    let (name, version) = import.split_once('@').unwrap_or((import, ""));
    if !version.starts_with("0.2.") {
        return &[];
    }
    GIVEN.iter().chain([&POLL]).find(|(of, _)| *of == name).map_or(&[], |(_, givers)| givers)
}

impl Grants {
    fn has(&self, grant: &str) -> bool {
        match grant {
            ENV => self.env.is_some(),
            DIRS => self.dirs.is_some(),
            CLOCKS => self.clocks,
            RANDOM => self.random,
            STDIO => self.stdio,
            _ => false,
        }
    }

    /// Says which of a plugin's imports are not granted, and what grants them.
    pub(crate) fn allow(&self, imports: &[String]) -> Result<(), String> {
        let is_given = |import: &&String| givers(import).iter().any(|grant| self.has(grant));
        let missing: Vec<&String> = imports.iter().filter(|import| !is_given(import)).collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let mut wanted: Vec<&str> = missing.iter().filter_map(|import| givers(import).first().copied()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let lines = wanted.iter().map(|grant| match *grant {
            DIRS => "dirs: []".to_owned(),
            STDIO | CLOCKS | RANDOM | ENV => format!("{grant}: {{}}"),
            other => other.to_owned(),
        });
        let more = match missing.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more of WASI"),
        };
        Err(format!(
            "its plugin imports `{first}`{more}, which is not granted: build it without WASI, or set `grants: {{ {} }}`",
            lines.collect::<Vec<_>>().join(", ")
        ))
    }

    /// Those on which an answer may depend beside the rows.
    pub fn outside(&self) -> Vec<&'static str> {
        let has_files = self.dirs.as_ref().is_some_and(|dirs| !dirs.is_empty());
        [(DIRS, has_files), (CLOCKS, self.clocks), (RANDOM, self.random)]
            .into_iter()
            .filter_map(|(grant, is_given)| is_given.then_some(grant))
            .collect()
    }
}

/// The WASI of one instance.
pub(crate) struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
    printed: [(Level, Printed); 2],
}

impl std::fmt::Debug for Wasi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wasi").finish_non_exhaustive()
    }
}

impl Wasi {
    pub(crate) fn new(grants: &Grants, limits: &Limits) -> Result<Wasi, String> {
        // As much as the log may take of one call.
        let bytes_max = limits.log_lines.saturating_mul(LOG_LINE_BYTES_MAX);
        let printed = [Level::Info, Level::Warn].map(|level| (level, Printed::new(bytes_max)));
        let mut ctx = WasiCtx::builder();
        // Each call is on the stage's own thread, which does nothing else meanwhile.
        ctx.allow_blocking_current_thread(true).allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        ctx.stdout(printed[0].1.clone()).stderr(printed[1].1.clone());
        for (name, value) in grants.env.iter().flatten() {
            ctx.env(name, value);
        }
        for Folder { path, at } in grants.dirs.iter().flatten() {
            ctx.preopened_dir(path, at, FsPerms::ReadOnly)
                .map_err(|error| format!("`grants.dirs`: {} cannot be read: {}", path.display(), error.root_cause()))?;
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Ok(Wasi { ctx: ctx.build(), table, printed })
    }

    pub(crate) fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }

    /// What was printed since the last time, line by line, and how many lines more were.
    pub(crate) fn drain(&mut self) -> (Vec<(Level, String)>, u64) {
        let (mut lines, mut dropped) = (Vec::new(), 0);
        for (level, printed) in &self.printed {
            let (text, more) = printed.take();
            lines.extend(text.lines().map(|line| (*level, line.to_owned())));
            dropped += more;
        }
        (lines, dropped)
    }
}

/// What a plugin printed and nobody has read yet; of what is too much the lines are counted, as in a flooded log.
#[derive(Clone, Debug)]
struct Printed {
    kept: Arc<Mutex<Kept>>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    lines_dropped: u64,
}

impl Printed {
    fn new(bytes_max: usize) -> Printed {
        Printed { kept: Arc::default(), bytes_max }
    }

    fn take(&self) -> (String, u64) {
        let Kept { bytes, lines_dropped } =
            self.kept.lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default();
        // The first line break that was dropped is of a line that is only cut.
        let is_cut = bytes.last().is_some_and(|byte| *byte != b'\n');
        (String::from_utf8_lossy(&bytes).into_owned(), lines_dropped.saturating_sub(u64::from(is_cut)))
    }

    fn append(&self, bytes: &[u8]) {
        if let Ok(mut kept) = self.kept.lock() {
            let room = self.bytes_max.saturating_sub(kept.bytes.len());
            let (fits, beyond) = bytes.split_at(bytes.len().min(room));
            kept.bytes.extend_from_slice(fits);
            kept.lines_dropped += beyond.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
    }
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only asked for by WASI 0.3, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}

impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.append(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

/// What a plugin prints at once; it may go on at once.
const WRITE_BYTES_MAX: usize = 64 << 10;

struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links what a grant may give. A plugin whose imports were not allowed is never instantiated.
pub(crate) fn add_wasi<T: WasiView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    fn table<T: WasiView>(host: &mut T) -> &mut ResourceTable {
        host.ctx().table
    }
    wasmtime_wasi_io::bindings::wasi::io::error::add_to_linker::<T, Io>(linker, table::<T>)?;
    sync::io::streams::add_to_linker::<T, Io>(linker, table::<T>)?;
    add_poll(linker)?;
    cli::environment::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::exit::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::stdin::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::stdout::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::stderr::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_input::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_output::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_stdin::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_stdout::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_stderr::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    clocks::wall_clock::add_to_linker::<T, WasiClocks>(linker, T::clocks)?;
    clocks::monotonic_clock::add_to_linker::<T, WasiClocks>(linker, T::clocks)?;
    random::random::add_to_linker::<T, WasiRandom>(linker, T::random)?;
    random::insecure::add_to_linker::<T, WasiRandom>(linker, T::random)?;
    random::insecure_seed::add_to_linker::<T, WasiRandom>(linker, T::random)?;
    filesystem::preopens::add_to_linker::<T, WasiFilesystem>(linker, T::filesystem)?;
    sync::filesystem::types::add_to_linker::<T, WasiFilesystem>(linker, T::filesystem)
}

/// `wasi:io/poll`, in which nothing is ever waited for: a guest that sleeps in the host would sleep through its deadline.
fn add_poll<T: WasiView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    const WAITS: &str = "a plugin may not wait: `wasi:io/poll` is there for its types alone";
    let mut poll = linker.instance("wasi:io/poll@0.2.0")?;
    poll.resource("pollable", ResourceType::host::<DynPollable>(), |mut store, handle| {
        store.data_mut().ctx().table.delete(Resource::<DynPollable>::new_own(handle))?;
        Ok(())
    })?;
    poll.func_wrap("[method]pollable.ready", |_, (_pollable,): (Resource<DynPollable>,)| Ok((true,)))?;
    poll.func_wrap("[method]pollable.block", |_, (_pollable,): (Resource<DynPollable>,)| -> wasmtime::Result<()> {
        wasmtime::bail!(WAITS)
    })?;
    poll.func_wrap("poll", |_, (_pollables,): (Vec<Resource<DynPollable>>,)| -> wasmtime::Result<(Vec<u32>,)> {
        wasmtime::bail!(WAITS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_missing_is_named_with_what_grants_it() {
        let wanted = imports(&["wasi:cli/environment@0.2.6", "wasi:io/streams@0.2.6", "wasi:filesystem/types@0.2.6"]);
        let message = Grants::default().allow(&wanted).unwrap_err();
        assert!(message.contains("`wasi:cli/environment@0.2.6` and 2 more"), "{message}");
        assert!(message.contains("`grants: { dirs: [], env: {}, stdio: {} }`"), "{message}");
        let some = Grants { env: Some(Vec::new()), dirs: Some(Vec::new()), ..Grants::default() };
        assert_eq!(some.allow(&wanted), Ok(()), "streams come with folders");
        assert!(some.allow(&imports(&["wasi:clocks/wall-clock@0.2.0"])).unwrap_err().contains("clocks: {}"));
    }

    #[test]
    fn there_is_no_network_and_no_other_version() {
        for import in ["wasi:sockets/tcp@0.2.6", "wasi:http/types@0.2.6", "wasi:cli/environment@0.3.0", "wasi:cli/run"]
        {
            assert!(givers(import).is_empty(), "{import}");
        }
    }

    #[test]
    fn what_lets_an_answer_depend_on_more_than_rows() {
        assert!(Grants { env: Some(Vec::new()), stdio: true, ..Grants::default() }.outside().is_empty());
        let dirs = Some(vec![Folder { path: "/etc".into(), at: "/".into() }]);
        assert_eq!(Grants { dirs, clocks: true, random: true, ..Grants::default() }.outside(), [DIRS, CLOCKS, RANDOM]);
    }
}
