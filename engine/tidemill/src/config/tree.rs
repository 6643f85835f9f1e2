//! The file as YAML gives it: a tree in which every key and value knows its line and column, so that any later step can say
//! where the trouble is. Scalars stay text until a type asks for them.

use std::collections::{HashMap, HashSet};
use std::fmt;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

/// Nodes a file may have, those that aliases repeat included: a few nested aliases could otherwise fill the memory.
const NODES_MAX: usize = 100_000;
/// How deep lists and maps may nest. The configuration's own shape needs seven; a plugin's may need more.
const DEPTH_MAX: usize = 64;

/// A place in the file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl From<Marker> for Position {
    fn from(marker: Marker) -> Position {
        Position { line: marker.line(), column: marker.col() + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What is wrong in the file, and where: the key's path (`streams[0].index`) and its position.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: Option<Position>,
    pub(super) path: String,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(at: Position, message: impl Into<String>) -> Fault {
        Fault { at: Some(at), path: String::new(), message: message.into() }
    }

    /// The fault as seen from the map above.
    pub(super) fn under(mut self, key: &str) -> Fault {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{key}{dot}{}", self.path);
        self
    }

    /// The fault as seen from the list above.
    pub(super) fn under_index(self, index: usize) -> Fault {
        self.under(&format!("[{index}]"))
    }
}

#[derive(Clone)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

#[derive(Clone)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Written without quotes: its text decides its type.
    pub(super) plain: bool,
    /// Holds what came from a variable: it may be text or anything else, since nobody could quote it.
    pub(super) filled: bool,
}

#[derive(Clone)]
pub(super) struct Key {
    pub(super) at: Position,
    pub(super) name: String,
}

/// The type that YAML's core schema gives to a scalar's text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Plain {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text,
}

impl Scalar {
    pub(super) fn plain(&self) -> Plain {
        if self.plain { resolve_plain(&self.text) } else { Plain::Text }
    }
}

pub(super) fn resolve_plain(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Plain::Float(f64::NAN),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Plain::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    let radix = |prefix, radix| {
        let rest = text.strip_prefix(prefix)?;
        rest.bytes().all(|b| b.is_ascii_hexdigit()).then(|| i128::from_str_radix(rest, radix).ok())?
    };
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Plain::Integer(number);
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !digits.bytes().any(|b| b.is_ascii_digit()) {
        return Plain::Text;
    }
    if digits.bytes().all(|b| b.is_ascii_digit())
        && let Ok(number) = text.parse()
    {
        return Plain::Integer(number);
    }
    text.parse().map_or(Plain::Text, Plain::Float)
}

impl Node {
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Map(entries) => entries.iter_mut().find(|(k, _)| k.name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    pub(super) fn nth(&self, index: usize) -> Option<&Node> {
        match &self.value {
            Value::List(items) => items.get(index),
            _ => None,
        }
    }

    fn count(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(_) => 0,
            Value::List(items) => items.iter().map(Node::count).sum(),
            Value::Map(entries) => entries.iter().map(|(_, node)| 1 + node.count()).sum(),
        }
    }
}

/// A node with its path, or the nearest node above where there is none of that name: where errors point to.
#[derive(Clone)]
pub(super) struct Place<'a> {
    near: &'a Node,
    found: bool,
    path: String,
}

impl<'a> Place<'a> {
    pub(super) fn root(node: &'a Node) -> Place<'a> {
        Place { near: node, found: true, path: String::new() }
    }

    fn step(&self, node: Option<&'a Node>, path: String) -> Place<'a> {
        let node = node.filter(|_| self.found);
        Place { near: node.unwrap_or(self.near), found: node.is_some(), path }
    }

    pub(super) fn key(&self, key: &str) -> Place<'a> {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.step(self.near.get(key), format!("{}{dot}{key}", self.path))
    }

    pub(super) fn nth(&self, index: usize) -> Place<'a> {
        self.step(self.near.nth(index), format!("{}[{index}]", self.path))
    }

    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault { at: Some(self.near.at), path: self.path.clone(), message: message.into() }
    }
}

/// Reads one YAML document.
pub(super) fn load(text: &str) -> Result<Node, Fault> {
    let mut loader = Loader::default();
    // A byte order mark is no content.
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| not_yaml(text, &error))?;
        loader.take(event, span)?;
    }
    loader.document.ok_or_else(|| {
        Fault::new(
            Position { line: 1, column: 1 },
            "the file is empty: it needs at least `source`, `sink` and `streams`",
        )
    })
}

fn not_yaml(text: &str, error: &ScanError) -> Fault {
    let at = Position::from(*error.marker());
    let line = text.lines().nth(at.line.saturating_sub(1)).unwrap_or("");
    let before: String = line.chars().take(at.column - 1).collect();
    let hint = if error.info().contains("tab") || before.trim().is_empty() && line.contains('\t') {
        " (indent with spaces, not with tabs)"
    } else if before.ends_with('$') {
        " (inside braces a variable stands in quotes: \"${X}\")"
    } else {
        ""
    };
    Fault::new(at, format!("this is not YAML: {}{hint}", error.info()))
}

/// A list or map whose end has not come.
struct Open {
    at: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, seen: HashSet<String>, key: Option<Key> },
}

#[derive(Default)]
struct Loader {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    node_count: usize,
    document: Option<Node>,
}

impl Loader {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let at = Position::from(span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !check_tag(tag.as_deref(), at)?;
                let scalar = Scalar { text: text.into_owned(), plain, filled: false };
                self.add(Node { at, value: Value::Scalar(scalar) }, anchor)
            }
            Event::SequenceStart(anchor, tag) => self.begin(at, anchor, tag.as_deref(), Content::List(Vec::new())),
            Event::MappingStart(anchor, tag) => {
                let content = Content::Map { entries: Vec::new(), seen: HashSet::new(), key: None };
                self.begin(at, anchor, tag.as_deref(), content)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let value = match open.content {
                    Content::List(items) => Value::List(items),
                    Content::Map { entries, .. } => Value::Map(entries),
                };
                self.add(Node { at: open.at, value }, open.anchor)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => {
                    self.node_count += node.count();
                    let node = node.clone();
                    self.add(node, 0)
                }
                None => Err(Fault::new(at, "this alias stands inside what it names")),
            },
            Event::DocumentStart(_) if self.document.is_some() => {
                Err(Fault::new(at, "a second document begins here: a configuration is one document"))
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, at: Position, anchor: usize, tag: Option<&Tag>, content: Content) -> Result<(), Fault> {
        check_tag(tag, at)?;
        if self.open.len() == DEPTH_MAX {
            return Err(Fault::new(at, format!("lists and maps nest deeper than {DEPTH_MAX} levels")));
        }
        self.open.push(Open { at, anchor, content });
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.node_count += 1;
        if self.node_count > NODES_MAX {
            return Err(Fault::new(node.at, format!("the file has more than {NODES_MAX} values, aliases included")));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.document = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, seen, key }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let Value::Scalar(scalar) = node.value else {
                        return Err(Fault::new(node.at, "a list or map cannot be a key: write a name"));
                    };
                    if !seen.insert(scalar.text.clone()) {
                        return Err(Fault::new(node.at, "this key is there twice").under(&scalar.text));
                    }
                    *key = Some(Key { at: node.at, name: scalar.text });
                }
            },
        }
        Ok(())
    }
}

/// Whether the tag says that a scalar is text.
fn check_tag(tag: Option<&Tag>, at: Position) -> Result<bool, Fault> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() => Ok(tag.suffix == "str"),
        Some(tag) => {
            Err(Fault::new(at, format!("the tag `{}{}` means nothing here: leave it out", tag.handle, tag.suffix)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_the_core_schemas_types() {
        let cases = [
            ("", Plain::Null),
            ("~", Plain::Null),
            ("true", Plain::Bool(true)),
            ("yes", Plain::Text),
            ("no", Plain::Text),
            ("12", Plain::Integer(12)),
            ("+12", Plain::Integer(12)),
            ("-007", Plain::Integer(-7)),
            ("0x1F", Plain::Integer(31)),
            ("0x", Plain::Text),
            ("0o17", Plain::Integer(15)),
            ("1.5", Plain::Float(1.5)),
            (".5e1", Plain::Float(5.0)),
            ("-.inf", Plain::Float(f64::NEG_INFINITY)),
            ("inf", Plain::Text),
            ("nan", Plain::Text),
            (".", Plain::Text),
            ("-", Plain::Text),
            ("1_000", Plain::Text),
            ("8MiB", Plain::Text),
            ("127.0.0.1:7070", Plain::Text),
        ];
        for (text, expected) in cases {
            assert_eq!(resolve_plain(text), expected, "{text}");
        }
    }

    #[test]
    fn every_node_knows_its_place() {
        let tree = load("a:\n  - b: 'x'\n    c: [1, 2]\n").unwrap();
        let place = Place::root(&tree).key("a").nth(0).key("c").nth(1);
        let fault = place.fault("m");
        assert_eq!((fault.path.as_str(), fault.at), ("a[0].c[1]", Some(Position { line: 3, column: 12 })));
        // What is not there points to what would hold it.
        let fault = Place::root(&tree).key("a").nth(0).key("zzz").key("y").fault("m");
        assert_eq!((fault.path.as_str(), fault.at), ("a[0].zzz.y", Some(Position { line: 2, column: 5 })));
    }

    #[test]
    fn aliases_are_followed_within_bounds() {
        let tree = load("a: &x { k: 1 }\nb: *x\n").unwrap();
        assert!(tree.get("b").and_then(|b| b.get("k")).is_some());
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..10 {
            let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb += &format!("a{i}: &a{i} [{aliases}]\n");
        }
        assert!(load(&bomb).err().unwrap().message.contains("more than 100000 values"));
        let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
        assert!(load(&deep).err().unwrap().message.contains("deeper than 64"));
    }
}
