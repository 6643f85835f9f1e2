//! The mapping: which fields an index has and of which type. It grows by what documents bring (the first value decides) and
//! by what is put; a type never changes. Parameters that this index does not act upon are refused rather than kept silently.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::date;
use crate::error::Refusal;
use crate::field::{Kind, Leaf};

pub(crate) const DEPTH_MAX: usize = 20;

#[derive(Debug, Clone, Default)]
pub(crate) struct Mapping {
    pub(crate) root: Object,
    /// `_meta`, kept for whoever put it.
    meta: Option<Value>,
}

#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// None takes what the object above has.
    pub(crate) dynamic: Option<Dynamic>,
    /// An object that is not enabled is stored and not looked into.
    pub(crate) enabled: bool,
    pub(crate) properties: BTreeMap<String, Node>,
}

impl Default for Object {
    fn default() -> Self {
        Object { dynamic: None, enabled: true, properties: BTreeMap::new() }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Object(Object),
    Leaf(Leaf),
}

/// What becomes of a field that the mapping does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dynamic {
    Add,
    Ignore,
    Strict,
}

/// What a document would add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guess {
    Object,
    Text,
    Long,
    Float,
    Boolean,
}

impl Mapping {
    pub(crate) fn parse(body: &Value) -> Result<Mapping, Refusal> {
        let mut mapping = Mapping::default();
        mapping.merge(body)?;
        Ok(mapping)
    }

    /// Takes in what `PUT _mapping` brings.
    pub(crate) fn merge(&mut self, body: &Value) -> Result<(), Refusal> {
        let body = object_of(body, "_doc")?;
        for (key, value) in body {
            match key.as_str() {
                "_meta" => self.meta = Some(value.clone()),
                "properties" | "dynamic" | "enabled" => {}
                "date_detection" | "numeric_detection" if value == &json!(false) => {}
                key => return Err(unsupported(&format!("mapping parameter [{key}]"))),
            }
        }
        self.root.merge(body, "", 0)
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut out = Map::new();
        if let Some(meta) = &self.meta {
            out.insert("_meta".into(), meta.clone());
        }
        self.root.write(&mut out);
        Value::Object(out)
    }

    /// Fields and objects, several forms of one field counted too: what `total_fields.limit` is about.
    pub(crate) fn field_count(&self) -> usize {
        self.root.count()
    }

    /// The field of that full name; one of a field's several forms too (`name.keyword`).
    pub(crate) fn leaf(&self, path: &str) -> Option<&Leaf> {
        let mut object = &self.root;
        let mut names = path.split('.');
        while let Some(name) = names.next() {
            match object.properties.get(name)? {
                Node::Object(below) => object = below,
                Node::Leaf(leaf) => {
                    return match names.next() {
                        None => Some(leaf),
                        Some(form) => leaf.forms.get(form).filter(|_| names.next().is_none()),
                    };
                }
            }
        }
        None
    }

    /// True when an object has that full name.
    pub(crate) fn has_object(&self, path: &str) -> bool {
        let mut object = &self.root;
        for name in path.split('.') {
            match object.properties.get(name) {
                Some(Node::Object(below)) => object = below,
                _ => return false,
            }
        }
        true
    }

    /// Adds a field that a document brought, with the objects above it. A field that is there stays as it is.
    pub(crate) fn add(&mut self, path: &str, guess: Guess) {
        let mut object = &mut self.root;
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            let node = if names.peek().is_some() { Guess::Object } else { guess }.node();
            match object.properties.entry(name.to_owned()).or_insert(node) {
                Node::Object(below) => object = below,
                Node::Leaf(_) => return,
            }
        }
    }
}

impl Guess {
    fn node(self) -> Node {
        Node::Leaf(match self {
            Guess::Object => return Node::Object(Object::default()),
            Guess::Text => Leaf::text_with_keyword(),
            Guess::Long => Leaf::new(Kind::Long),
            Guess::Float => Leaf::new(Kind::Float),
            Guess::Boolean => Leaf::new(Kind::Boolean),
        })
    }
}

impl Object {
    fn merge(&mut self, body: &Map<String, Value>, path: &str, depth: usize) -> Result<(), Refusal> {
        if depth > DEPTH_MAX {
            return Err(Refusal::illegal(format!("Limit of mapping depth [{DEPTH_MAX}] has been exceeded")));
        }
        if let Some(dynamic) = body.get("dynamic") {
            self.dynamic = Some(Dynamic::parse(dynamic)?);
        }
        if let Some(enabled) = body.get("enabled") {
            self.enabled = flag(enabled, "enabled")?;
        }
        let Some(properties) = body.get("properties") else { return Ok(()) };
        for (name, definition) in object_of(properties, path)? {
            self.merge_property(name, object_of(definition, name)?, path, depth)?;
        }
        Ok(())
    }

    fn merge_property(
        &mut self,
        name: &str,
        definition: &Map<String, Value>,
        path: &str,
        depth: usize,
    ) -> Result<(), Refusal> {
        if let Some((first, rest)) = name.split_once('.') {
            let object = self.object(first, path)?;
            return object.merge_property(rest, definition, &join(path, first), depth + 1);
        }
        if name.trim().is_empty() {
            return Err(mapping_error("field name cannot be an empty string"));
        }
        let full = join(path, name);
        let kind = definition.get("type").and_then(Value::as_str);
        if kind.is_none_or(|kind| kind == "object") {
            if definition.contains_key("type") || definition.contains_key("properties") || kind.is_none() {
                check_object(definition, &full, kind)?;
            }
            return self.object(name, path)?.merge(definition, &full, depth + 1);
        }
        let leaf = parse_leaf(definition, &full)?;
        match self.properties.get_mut(name) {
            None => {
                self.properties.insert(name.to_owned(), Node::Leaf(leaf));
            }
            Some(Node::Leaf(known)) => known.merge(leaf, &full)?,
            Some(Node::Object(_)) => {
                let reason = format!("can't merge a non object mapping [{full}] with an object mapping");
                return Err(Refusal::illegal(reason));
            }
        }
        Ok(())
    }

    fn object(&mut self, name: &str, path: &str) -> Result<&mut Object, Refusal> {
        let node = self.properties.entry(name.to_owned()).or_insert_with(|| Node::Object(Object::default()));
        match node {
            Node::Object(object) => Ok(object),
            Node::Leaf(_) => {
                let full = join(path, name);
                let reason = format!("can't merge an object mapping [{full}] with a non object mapping");
                Err(Refusal::illegal(reason))
            }
        }
    }

    fn write(&self, out: &mut Map<String, Value>) {
        if let Some(dynamic) = self.dynamic {
            out.insert("dynamic".into(), dynamic.name().into());
        }
        if !self.enabled {
            out.insert("enabled".into(), false.into());
        }
        if self.properties.is_empty() {
            return;
        }
        let mut properties = Map::new();
        for (name, node) in &self.properties {
            let definition = match node {
                Node::Leaf(leaf) => leaf.to_json(),
                Node::Object(object) => {
                    let mut below = Map::new();
                    object.write(&mut below);
                    if object.properties.is_empty() {
                        below.insert("type".into(), "object".into());
                    }
                    Value::Object(below)
                }
            };
            properties.insert(name.clone(), definition);
        }
        out.insert("properties".into(), Value::Object(properties));
    }

    fn count(&self) -> usize {
        let count = |node: &Node| match node {
            Node::Object(object) => 1 + object.count(),
            Node::Leaf(leaf) => 1 + leaf.forms.len(),
        };
        self.properties.values().map(count).sum()
    }
}

impl Dynamic {
    fn parse(value: &Value) -> Result<Dynamic, Refusal> {
        match value {
            Value::Bool(true) => Ok(Dynamic::Add),
            Value::Bool(false) => Ok(Dynamic::Ignore),
            Value::String(text) if text == "true" => Ok(Dynamic::Add),
            Value::String(text) if text == "false" => Ok(Dynamic::Ignore),
            Value::String(text) if text == "strict" => Ok(Dynamic::Strict),
            other => Err(unsupported(&format!("mapping parameter [dynamic] with the value {other}"))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Dynamic::Add => "true",
            Dynamic::Ignore => "false",
            Dynamic::Strict => "strict",
        }
    }
}

fn check_object(definition: &Map<String, Value>, full: &str, kind: Option<&str>) -> Result<(), Refusal> {
    let known = ["type", "properties", "dynamic", "enabled"];
    match definition.keys().find(|key| !known.contains(&key.as_str())) {
        Some(_) if kind.is_none() && !definition.contains_key("properties") => {
            Err(mapping_error(format!("No type specified for field [{full}]")))
        }
        Some(key) => Err(unknown_parameter(key, full, "object")),
        None => Ok(()),
    }
}

fn parse_leaf(definition: &Map<String, Value>, full: &str) -> Result<Leaf, Refusal> {
    let name = definition.get("type").and_then(Value::as_str).unwrap_or_default();
    let Some(kind) = Kind::from_name(name) else {
        return Err(mapping_error(format!(
            "Failed to parse mapping: No handler for type [{name}] declared on field [{full}] in Tidemill's embedded index"
        )));
    };
    let mut leaf = Leaf::new(kind);
    for (key, value) in definition {
        match key.as_str() {
            "type" => {}
            "index" => leaf.indexed = flag(value, key)?,
            "coerce" => leaf.coerce = flag(value, key)?,
            "ignore_malformed" => leaf.ignore_malformed = flag(value, key)?,
            "ignore_above" => leaf.ignore_above = Some(number(value, key)? as usize),
            "scaling_factor" => leaf.scaling_factor = Some(number(value, key)?),
            "format" => {
                let format = value.as_str().unwrap_or_default();
                leaf.formats = date::Formats::parse(format)
                    .ok_or_else(|| unsupported(&format!("date format [{format}] of field [{full}]")))?;
            }
            "fields" => {
                for (form, definition) in object_of(value, full)? {
                    let below = parse_leaf(object_of(definition, form)?, &join(full, form))?;
                    leaf.forms.insert(form.clone(), below);
                }
                continue;
            }
            "doc_values" | "store" | "norms" | "index_options" | "meta" | "eager_global_ordinals" => {}
            "analyzer" if value == "standard" => {}
            key => return Err(unknown_parameter(key, full, name)),
        }
        if key != "type" {
            leaf.parameters.insert(key.clone(), value.clone());
        }
    }
    if kind == Kind::ScaledFloat && leaf.scaling_factor.is_none() {
        return Err(mapping_error(format!("Field [{full}] misses required parameter [scaling_factor]")));
    }
    Ok(leaf)
}

pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn object_of<'a>(value: &'a Value, name: &str) -> Result<&'a Map<String, Value>, Refusal> {
    value.as_object().ok_or_else(|| {
        mapping_error(format!("Expected map for property [fields] on field [{name}] but got something else: {value}"))
    })
}

fn flag(value: &Value, key: &str) -> Result<bool, Refusal> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if text == "true" || text == "false" => Ok(text == "true"),
        other => Err(mapping_error(format!(
            "Failed to parse value [{other}] of [{key}]: only [true] or [false] are allowed"
        ))),
    }
}

fn number(value: &Value, key: &str) -> Result<f64, Refusal> {
    let number = value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    number.ok_or_else(|| mapping_error(format!("Failed to parse value [{value}] of [{key}] as a number")))
}

fn mapping_error(reason: impl Into<String>) -> Refusal {
    Refusal::new(400, "mapper_parsing_exception", reason)
}

fn unknown_parameter(key: &str, field: &str, kind: &str) -> Refusal {
    mapping_error(format!(
        "unknown parameter [{key}] on mapper [{field}] of type [{kind}] in Tidemill's embedded index"
    ))
}

fn unsupported(what: &str) -> Refusal {
    mapping_error(format!("{what} is not there in Tidemill's embedded index"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_put() {
        let body = json!({
            "_meta": {"tidemill": {"epoch": 1}},
            "dynamic": "strict",
            "properties": {
                "created": {"type": "date", "format": "strict_date_optional_time||epoch_millis"},
                "name": {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}},
                "o": {"properties": {"n": {"type": "long"}}},
                "raw": {"enabled": false, "type": "object"},
            }
        });
        assert_eq!(Mapping::parse(&body).expect("accepted").to_json(), body);
    }

    #[test]
    fn keeps_types_and_says_what_it_lacks() {
        let mut mapping =
            Mapping::parse(&json!({"properties": {"n": {"type": "long"}, "o.x": {"type": "keyword"}}})).expect("ok");
        let check = |mapping: &mut Mapping, properties: Value, needle: &str| {
            let refusal = mapping.merge(&json!({"properties": properties})).expect_err("refused");
            assert!(refusal.reason.contains(needle), "{}", refusal.reason);
        };
        check(&mut mapping, json!({"n": {"type": "text"}}), "mapper [n] cannot be changed from type [long] to [text]");
        check(&mut mapping, json!({"n": {"properties": {}}}), "can't merge an object mapping [n]");
        check(&mut mapping, json!({"o": {"type": "long"}}), "can't merge a non object mapping [o]");
        check(&mut mapping, json!({"v": {"type": "dense_vector"}}), "No handler for type [dense_vector]");
        check(&mut mapping, json!({"v": {"type": "keyword", "null_value": "x"}}), "unknown parameter [null_value]");
        assert_eq!(mapping.leaf("o.x").map(|leaf| leaf.kind), Some(Kind::Keyword));
    }
}
