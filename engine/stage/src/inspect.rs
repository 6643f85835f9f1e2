//! What a component is, read from its bytes. None of its code runs, and no bytes make this panic: what cannot be read is told.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use wasmparser::{BinaryReaderError, KnownCustom, Parser, Payload, ProducersSectionReader};

use crate::givers;

/// How a core module begins.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
const PACKAGE: &str = "tidemill:plugin/";
/// What makers say of themselves is cut to so many entries, and each to so many characters.
const PRODUCERS_MAX: usize = 64;
const TEXT_MAX: usize = 200;
/// Imports and exports of a plugin are a handful.
const NAMES_MAX: usize = 1_000;

/// What bytes tell of a plugin.
#[derive(Debug, Default)]
pub struct Inspection {
    pub bytes: u64,
    pub sha256: String,
    /// `filter` or `transform`; none where it is no plugin.
    pub world: Option<&'static str>,
    /// Of the contract, by its exports.
    pub contract: Option<String>,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    /// What its makers say of themselves: `language`, `processed-by`, `sdk`, each with names and versions.
    pub producers: BTreeMap<String, Vec<String>>,
    /// Why it is no plugin.
    pub problem: Option<String>,
}

/// Reads any bytes.
pub fn inspect(bytes: &[u8]) -> Inspection {
    let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut found = Inspection { bytes: bytes.len() as u64, sha256, ..Inspection::default() };
    if !bytes.starts_with(b"\0asm") {
        found.problem = Some("it is not WebAssembly".to_owned());
        return found;
    }
    if let Err(error) = read(bytes, &mut found) {
        found.problem = Some(format!("it is damaged at byte {}: {}", error.offset(), cut(error.message())));
        return found;
    }
    add_language(&mut found.producers);
    judge(bytes, &mut found);
    found
}

fn read(bytes: &[u8], into: &mut Inspection) -> Result<(), BinaryReaderError> {
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    keep(&mut into.imports, import?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    keep(&mut into.exports, export?.name.name);
                }
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Producers(fields) = section.as_known() {
                    // What others wrote there says nothing about whether it runs.
                    let _unreadable = producers(fields, &mut into.producers);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn producers(
    fields: ProducersSectionReader<'_>,
    into: &mut BTreeMap<String, Vec<String>>,
) -> Result<(), BinaryReaderError> {
    for field in fields {
        let field = field?;
        for value in field.values {
            let value = value?;
            let text = cut(format!("{} {}", value.name, value.version).trim());
            if into.values().map(Vec::len).sum::<usize>() < PRODUCERS_MAX {
                let known = into.entry(cut(field.name)).or_default();
                if !known.contains(&text) {
                    known.push(text);
                }
            }
        }
    }
    Ok(())
}

/// Compilers that are stripped of their own word are known by what made their bindings.
const MAKERS: [(&str, &str); 8] = [
    ("rustc", "Rust"),
    ("wit-bindgen-rust", "Rust"),
    ("Go cmd/compile", "Go"),
    ("wit-bindgen-go", "Go"),
    ("componentize-py", "Python"),
    // What it is built with, which signs in its place.
    ("component-init-transform", "Python"),
    ("wit-bindgen-c", "C"),
    ("clang", "C or C++"),
];

/// What the makers say of the language, or else their names.
fn add_language(producers: &mut BTreeMap<String, Vec<String>>) {
    if producers.contains_key("language") {
        return;
    }
    let tools: Vec<&String> = producers.values().flatten().collect();
    let is_tool = |name: &str| {
        tools.iter().any(|tool| tool.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')))
    };
    if let Some((_, language)) = MAKERS.iter().find(|(tool, _)| is_tool(tool)) {
        producers.insert("language".to_owned(), vec![(*language).to_owned()]);
    }
}

fn keep(names: &mut Vec<String>, name: &str) {
    if names.len() < NAMES_MAX {
        names.push(cut(name));
    }
}

/// A text that can be shown: no line breaks or other controls of a terminal, and not too long.
fn cut(text: &str) -> String {
    text.chars().take(TEXT_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn judge(bytes: &[u8], found: &mut Inspection) {
    let version = |interface: &str| {
        let prefix = format!("{PACKAGE}{interface}@");
        found.exports.iter().find_map(|name| name.strip_prefix(&prefix)).map(str::to_owned)
    };
    (found.world, found.contract) = match (version("filtering"), version("transforming")) {
        (Some(version), None) => (Some("filter"), Some(version)),
        (None, Some(version)) => (Some("transform"), Some(version)),
        _ => (None, None),
    };
    if found.world.is_some() {
        return;
    }
    found.problem = Some(match bytes.starts_with(CORE_MODULE) {
        true => {
            "it is a core module, not a component: `tidemill plugin build FILE --world … -o COMPONENT` makes one of it"
                .to_owned()
        }
        false => format!("a plugin exports either {PACKAGE}filtering or {PACKAGE}transforming"),
    });
}

/// Who lets a plugin have an import; none where nobody does.
pub fn granted_by(import: &str) -> Option<String> {
    let Some(interface) = import.strip_prefix(PACKAGE) else {
        let grants: Vec<_> = givers(import).iter().map(|grant| format!("`{grant}`")).collect();
        return (!grants.is_empty()).then(|| grants.join(" or "));
    };
    let (name, _) = interface.split_once('@')?;
    ["types", "log", "metrics"].contains(&name).then(|| "the contract, always".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELECT: &[u8] = include_bytes!("../../../plugins/shipped/select.wasm");

    #[test]
    fn a_shipped_plugin_is_known_by_its_bytes() {
        let found = inspect(SELECT);
        assert_eq!((found.world, found.contract.as_deref(), found.problem), (Some("transform"), Some("0.1.0"), None));
        assert!(found.imports.iter().all(|import| granted_by(import).is_some()), "{:?}", found.imports);
        assert!(found.producers["language"].iter().any(|name| name.starts_with("Rust")), "{:?}", found.producers);
        assert_eq!(granted_by("wasi:clocks/wall-clock@0.2.0").as_deref(), Some("`clocks`"));
        assert_eq!(granted_by("wasi:sockets/tcp@0.2.0"), None);
    }

    #[test]
    fn what_is_no_plugin_is_told() {
        let problem = |bytes: &[u8]| inspect(bytes).problem.unwrap();
        assert!(problem(b"").contains("not WebAssembly"));
        assert!(problem(b"\0asm\x01\0\0\0").contains("core module"));
        assert!(problem(b"\0asm\x0d\0\x01\0").contains("a plugin exports"));
        assert!(problem(&SELECT[..5_000]).contains("damaged"));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        for _ in 0..300 {
            let mut bytes = SELECT.to_vec();
            for _ in 0..1 + next() % 8 {
                let at = next() % bytes.len();
                bytes[at] = next() as u8;
            }
            bytes.truncate(8 + next() % bytes.len());
            inspect(&bytes);
        }
    }
}
