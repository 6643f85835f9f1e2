//! Which languages' plugins can be built on this machine.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `scripts/ensure-plugin-tools.sh` put here, so that nothing may be skipped for want of it.
const PROMISED: &str = "TIDEMILL_TOOLCHAINS";

/// Whether plugins in a language can be built. Where they cannot, what is not tested is said past what the test harness captures.
#[track_caller]
pub(crate) fn is_here(language: &str) -> bool {
    let is_here = match language {
        "rust" => has_rust(),
        "go" => runs(Path::new("go"), "version"),
        "python" => {
            let cached = cache().join("componentize-py/bin/componentize-py");
            [Path::new("componentize-py"), &cached].iter().any(|tool| runs(tool, "--version"))
        }
        other => panic!("no toolchain is known for `{other}`"),
    };
    if !is_here {
        let promised = std::env::var(PROMISED).unwrap_or_default();
        assert!(
            !promised.split_whitespace().any(|one| one == language),
            "{PROMISED} promises {language}, which is not here"
        );
        let skipped =
            format!("SKIPPED: there are no tools for plugins in {language}: scripts/ensure-plugin-tools.sh\n");
        std::io::stderr().write_all(skipped.as_bytes()).expect("stderr takes a line");
    }
    is_here
}

fn runs(tool: &Path, word: &str) -> bool {
    Command::new(tool).arg(word).output().is_ok_and(|output| output.status.success())
}

/// Whether this machine has a Rust that builds for wasm.
fn has_rust() -> bool {
    let has = |rustc: PathBuf| {
        let asked =
            Command::new(rustc).args(["--print", "target-libdir", "--target", "wasm32-unknown-unknown"]).output();
        let folder = asked.ok().map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
        folder.and_then(|folder| std::fs::read_dir(folder).ok()).is_some_and(|mut files| files.next().is_some())
    };
    let home = variable("WASM_HOME").unwrap_or_else(|| user_cache().join("tidemill-wasm"));
    has("rustc".into()) || has(home.join("bin/rustc"))
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

fn user_cache() -> PathBuf {
    variable("XDG_CACHE_HOME").unwrap_or_else(|| variable("HOME").unwrap_or_default().join(".cache"))
}

fn cache() -> PathBuf {
    variable("TIDEMILL_CACHE").unwrap_or_else(|| user_cache().join("tidemill"))
}
