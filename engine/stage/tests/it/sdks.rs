//! The SDKs of other languages and their templates, by these languages' own tests. Where a toolchain is missing this says so and
//! passes, unless `scripts/ensure-plugin-tools.sh` promised it.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;

use crate::harness::root;

/// Runs a tool in a folder to its end, unless it is not here.
#[track_caller]
fn run(folder: &Path, program: &str, arguments: &[&str], environment: &[(&str, &str)]) {
    let mut command = Command::new(program);
    command.current_dir(folder).args(arguments).envs(environment.iter().copied());
    match command.output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
            assert!(output.status.success(), "{program} {arguments:?} in {}:\n{said}", folder.display());
        }
        Err(error) if error.kind() == ErrorKind::NotFound && !is_promised(program) => {
            // Past what the test harness captures.
            let skipped = format!("SKIPPED: `{program}` is not here, so {} was not tested\n", folder.display());
            std::io::stderr().write_all(skipped.as_bytes()).unwrap();
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

/// Whether the tools were put here, as the script says of the languages whose they are.
fn is_promised(program: &str) -> bool {
    let languages = std::env::var("TIDEMILL_TOOLCHAINS").unwrap_or_default();
    languages.split_whitespace().any(|language| program.starts_with(language))
}

/// Nothing is downloaded: the SDK needs Go and nothing else.
const GO: &[(&str, &str)] =
    &[("GOPROXY", "off"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "-mod=mod"), ("GOWORK", "off"), ("CGO_ENABLED", "0")];

#[test]
fn the_sdk_for_go_and_its_templates() {
    run(&root().join("sdk/go"), "go", &["vet", "./..."], GO);
    run(&root().join("sdk/go"), "go", &["test", "./..."], GO);
    run(&root().join("plugins/trio/go"), "go", &["vet", "./..."], GO);
}

const PYTHON: &[(&str, &str)] = &[("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONWARNINGS", "error")];

#[test]
fn the_sdk_for_python_and_its_templates() {
    run(&root().join("sdk/python"), "python3", &["-m", "unittest"], PYTHON);
}
