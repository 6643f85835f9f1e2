//! The committed components are those that the sources in this tree give.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::harness::{component, root};

pub(crate) fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All files under a path, relative to the root, but what cargo makes, and the template of new plugins.
fn files(path: &Path, into: &mut Vec<String>) {
    if path.is_file() {
        into.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
    } else if !path.ends_with("target") && !path.ends_with("sdk/rust/template") {
        for entry in fs::read_dir(path).unwrap() {
            files(&entry.unwrap().path(), into);
        }
    }
}

/// As `sources` in `scripts/plugins.sh`.
fn sources(plugin: &str) -> String {
    let plugin = format!("plugins/{plugin}");
    sources_of(&[&plugin, "plugins/Cargo.toml", "plugins/Cargo.lock", "plugins/.cargo", "sdk/rust", "wit/0.1"], |_| {
        true
    })
}

pub(crate) fn sources_of(parts: &[&str], is_source: fn(&str) -> bool) -> String {
    let mut paths = Vec::new();
    for part in parts {
        files(&root().join(part), &mut paths);
    }
    paths.retain(|path| is_source(path));
    paths.sort_unstable();
    let mut digest = Sha256::new();
    for path in paths {
        digest.update(format!("{path}\n"));
        digest.update(fs::read(root().join(path)).unwrap());
    }
    hex(digest.finalize())
}

#[test]
fn committed_components_are_made_of_these_sources() {
    for (folder, plugins) in
        [("shipped", &["select", "where"][..]), ("fixtures", &["clock", "hostile", "outsider", "pass", "splitter"])]
    {
        let digests = fs::read_to_string(root().join(format!("plugins/{folder}/DIGESTS"))).unwrap();
        let mut lines: Vec<Vec<&str>> = digests.lines().map(|line| line.split(' ').collect()).collect();
        lines.sort_unstable();
        assert_eq!(lines.iter().map(|line| line[0]).collect::<Vec<_>>(), plugins);
        for line in lines {
            let is = hex(Sha256::digest(component(folder, line[0])));
            assert_eq!(line[2], is, "plugins/{folder}/{}.wasm is not the one that was written down", line[0]);
            assert_eq!(line[1], sources(line[0]), "the sources of {} changed: run `make plugins`", line[0]);
        }
    }
}
