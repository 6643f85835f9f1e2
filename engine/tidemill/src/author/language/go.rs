//! Go: the standard toolchain, whose core module becomes a component in here. What the Go runtime asks of WASI is answered inside
//! the component, so that it needs no grant; nothing is downloaded.

use std::path::Path;
use std::process::Command;

use super::{Language, Output, folder_name, run, said};
use crate::author::component::{Adapter, world_of};
use crate::error::{Error, Result};

pub(super) const GO: Language = Language {
    name: "go",
    template: "sdk/go/template",
    vendored: &["sdk/go"],
    marker: "go.mod",
    leavings: &["build"],
    build,
};

const GET_GO: &str = "install Go 1.24 or later, see https://go.dev/dl";
/// What answers WASI inside the component.
const NO_WASI: &[u8] = include_bytes!("../../../../../sdk/go/no-wasi.wasm");

fn build(folder: &Path) -> Result<Output> {
    let version =
        said(Command::new("go").arg("version")).ok_or_else(|| Error::failed(format!("`go` is not here: {GET_GO}")))?;
    if minor(&version).is_some_and(|minor| minor < 24) {
        return Err(Error::failed(format!("this Go is too old ({version}): {GET_GO}")));
    }
    let core = "build/core.wasm";
    let mut command = Command::new("go");
    command.current_dir(folder).args(["build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false"]);
    // A table of symbols is of no use in there, and the bindings link by name.
    command.args(["-ldflags=-s -w -buildid= -checklinkname=0", "-o", core, "."]);
    let settings = [("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")];
    command.envs(settings).env("GOFLAGS", "-mod=mod").env("GOWORK", "off");
    run(&mut command, GET_GO)?;
    let wasm = folder.join(core);
    let world = world_of(&std::fs::read(&wasm).map_err(|error| Error::unreadable(&wasm, error))?).ok_or_else(|| {
        Error::failed(
            "this Go program serves no plugin: its package main calls `filter.Serve` or `transform.Serve` in `init`",
        )
    })?;
    let adapters = vec![Adapter { imports: "wasi_snapshot_preview1", module: NO_WASI }];
    let name = folder_name(folder)?;
    let toolchain = version.trim_start_matches("go version ").to_owned();
    Ok(Output { name, wasm, world: Some(world), adapters, toolchain })
}

/// `go version go1.26.8 linux/amd64` has the minor version 26.
fn minor(version: &str) -> Option<u32> {
    let number = version.split(' ').find_map(|word| word.strip_prefix("go1."))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read() {
        assert_eq!(minor("go version go1.26.8 linux/amd64"), Some(26));
        assert_eq!(minor("go version go1.24rc1 linux/amd64"), Some(24));
        assert_eq!(minor("go version devel +a1b2c3 linux/amd64"), None);
    }
}
