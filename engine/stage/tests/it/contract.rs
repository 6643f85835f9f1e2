//! The reference in docs/contract.md is what the interface's own words give.

use std::fmt::Write;
use std::fs;

use wit_parser::{Docs, Function, Interface, Resolve, Type, TypeDef, TypeDefKind, TypeId, WorldItem};

use crate::harness::root;

const PAGE: &str = "docs/contract.md";
/// What stands behind this line is made.
const MADE: &str =
    "<!-- From here on made of wit/0.1/plugin.wit: WRITE=1 cargo test -p tidemill-stage --test it contract -->\n";

#[test]
fn the_reference_is_made_of_the_interface() {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let (by_hand, _) = page.split_once(MADE).expect("the page has a reference");
    let now = [by_hand, MADE, &reference()].concat();
    if std::env::var_os("WRITE").is_some() {
        return fs::write(root().join(PAGE), &now).unwrap();
    }
    assert!(page == now, "{PAGE} is not what wit/0.1/plugin.wit says: run this test with WRITE=1 in its environment");
}

fn reference() -> String {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root().join("wit/0.1/plugin.wit")).unwrap();
    let package = &resolve.packages[package];
    let mut page = String::new();
    let interfaces: Vec<&Interface> = package.interfaces.values().map(|id| &resolve.interfaces[*id]).collect();
    writeln!(page, "\n## Reference\n\n### `{}`\n", package.name).unwrap();
    writeln!(page, "{}", under(&package.docs, 4)).unwrap();
    for world in package.worlds.values().map(|id| &resolve.worlds[*id]) {
        writeln!(page, "\n### World `{}`\n\n{}\n", world.name, text(&world.docs)).unwrap();
        // What it imports of types alone is no import of a component.
        let named = |items: &mut dyn Iterator<Item = &WorldItem>, has_functions: bool| {
            let of = items.filter_map(|item| match item {
                WorldItem::Interface { id, .. } => Some(&resolve.interfaces[*id]),
                _ => None,
            });
            let of = of.filter(|interface| !has_functions || !interface.functions.is_empty());
            of.map(|interface| format!("`{}`", interface.name.as_deref().unwrap_or_default()))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (imports, exports) = (named(&mut world.imports.values(), true), named(&mut world.exports.values(), false));
        writeln!(page, "Imports {imports}; exports {exports}.").unwrap();
    }
    for interface in interfaces {
        self::interface(&resolve, interface, &mut page);
    }
    page
}

fn interface(resolve: &Resolve, interface: &Interface, page: &mut String) {
    let name = interface.name.as_deref().unwrap_or_default();
    writeln!(page, "\n### Interface `{name}`").unwrap();
    if !text(&interface.docs).is_empty() {
        writeln!(page, "\n{}", text(&interface.docs)).unwrap();
    }
    for id in interface.types.values() {
        type_of(resolve, &resolve.types[*id], page);
    }
    for function in interface.functions.values() {
        self::function(resolve, function, page);
    }
}

/// A type that is defined here: one that is used from elsewhere stands there.
fn type_of(resolve: &Resolve, of: &TypeDef, page: &mut String) {
    let name = of.name.as_deref().unwrap_or_default();
    let type_word = |ty: &Type| format!("`{}`", word(resolve, ty));
    let (kind, parts): (_, Vec<[String; 3]>) = match &of.kind {
        TypeDefKind::Record(record) => (
            "record",
            record.fields.iter().map(|field| [field.name.clone(), type_word(&field.ty), text(&field.docs)]).collect(),
        ),
        TypeDefKind::Variant(variant) => {
            let ty = |ty: &Option<Type>| ty.as_ref().map(type_word).unwrap_or_default();
            ("variant", variant.cases.iter().map(|case| [case.name.clone(), ty(&case.ty), text(&case.docs)]).collect())
        }
        TypeDefKind::Enum(of) => {
            ("enum", of.cases.iter().map(|case| [case.name.clone(), String::new(), text(&case.docs)]).collect())
        }
        TypeDefKind::Type(_) => return,
        other => panic!("the reference knows no {}", other.as_str()),
    };
    writeln!(page, "\n#### {kind} `{name}`").unwrap();
    if !text(&of.docs).is_empty() {
        writeln!(page, "\n{}", text(&of.docs)).unwrap();
    }
    if parts.iter().all(|[_, ty, docs]| ty.is_empty() && docs.is_empty()) {
        let names: Vec<String> = parts.iter().map(|[name, ..]| format!("`{name}`")).collect();
        writeln!(page, "\n{}.", names.join(", ")).unwrap();
        return;
    }
    let has_types = parts.iter().any(|[_, ty, _]| !ty.is_empty());
    let what = if kind == "record" { "field" } else { "case" };
    let (head, rule) = if has_types { (" type |", " --- |") } else { ("", "") };
    writeln!(page, "\n| {what} |{head} what |\n| --- |{rule} --- |").unwrap();
    for [name, ty, docs] in parts {
        let ty = if has_types { format!(" {ty} |") } else { String::new() };
        let docs = docs.replace('\n', " ").replace('|', "\\|");
        writeln!(page, "{}", format!("| `{name}` |{ty} {docs} |").replace("  |", " |")).unwrap();
    }
}

fn function(resolve: &Resolve, function: &Function, page: &mut String) {
    let params = function.params.iter().map(|param| format!("{}: {}", param.name, word(resolve, &param.ty)));
    let params = params.collect::<Vec<_>>().join(", ");
    let result = function.result.as_ref().map(|result| format!(" -> {}", word(resolve, result))).unwrap_or_default();
    writeln!(page, "\n#### `{}({params}){result}`", function.name).unwrap();
    if !text(&function.docs).is_empty() {
        writeln!(page, "\n{}", text(&function.docs)).unwrap();
    }
}

/// A type as the interface writes it.
fn word(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::U32 => "u32".to_owned(),
        Type::U64 => "u64".to_owned(),
        Type::U8 => "u8".to_owned(),
        Type::F64 => "f64".to_owned(),
        Type::String => "string".to_owned(),
        Type::Id(id) => defined(resolve, *id),
        other => panic!("the reference knows no {other:?}"),
    }
}

fn defined(resolve: &Resolve, id: TypeId) -> String {
    let of = &resolve.types[id];
    if let Some(name) = &of.name {
        return name.clone();
    }
    match &of.kind {
        TypeDefKind::List(of) => format!("list<{}>", word(resolve, of)),
        TypeDefKind::Option(of) => format!("option<{}>", word(resolve, of)),
        TypeDefKind::Result(of) => {
            let of = [of.ok, of.err].map(|of| of.map_or_else(|| "_".to_owned(), |of| word(resolve, &of)));
            format!("result<{}>", of.join(", "))
        }
        other => panic!("the reference knows no {}", other.as_str()),
    }
}

fn text(docs: &Docs) -> String {
    docs.contents.as_deref().unwrap_or_default().trim().to_owned()
}

/// With its headings so deep.
fn under(docs: &Docs, level: usize) -> String {
    let deeper = |line: &str| match line.strip_prefix("# ") {
        Some(heading) => format!("{} {heading}", "#".repeat(level)),
        None => line.to_owned(),
    };
    text(docs).lines().map(deeper).collect::<Vec<_>>().join("\n")
}
