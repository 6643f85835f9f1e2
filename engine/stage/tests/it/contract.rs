//! The page about the contract has all of it.

use std::collections::BTreeSet;
use std::fs;

use crate::harness::root;

/// What the interface names: types, their parts, functions, interfaces and worlds.
fn names(wit: &str) -> BTreeSet<String> {
    let code = wit.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let mut names = BTreeSet::new();
    for line in code {
        let is_name =
            |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let first = line.split([' ', ':', '(', ',', '{', ';', '.']).next().unwrap_or_default().trim_start_matches('%');
        let named = match first {
            "interface" | "record" | "enum" | "variant" | "world" => line.split([' ', '{']).nth(1).unwrap_or_default(),
            "package" | "use" | "import" | "export" | "}" | "" => continue,
            other => other,
        };
        if is_name(named) {
            names.insert(named.to_owned());
        }
    }
    names
}

#[test]
fn every_name_of_the_interface_is_on_its_page() {
    let wit = fs::read_to_string(root().join("wit/0.1/plugin.wit")).unwrap();
    let page = fs::read_to_string(root().join("docs/contract.md")).unwrap();
    let names = names(&wit);
    for name in ["data-type", "source", "naming", "many", "documents", "write", "transforming", "uint32", "list"] {
        assert!(names.contains(name), "`{name}` is not read out of the interface: {names:?}");
    }
    let words: BTreeSet<&str> =
        page.split(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '-' || sign == '_')).collect();
    let missing: Vec<_> = names.iter().filter(|name| !words.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "docs/contract.md says nothing of {missing:?}");
}
