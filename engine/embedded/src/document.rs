//! One walk over a document by its mapping: it says whether the document may be stored, what it would add to the mapping,
//! and hands every value with its field to whoever asked (the inverted index, a sort).

use crate::error::Refusal;
use crate::field::{Cause, Leaf, Scalar};
use crate::json::{JsonError, Keys, Scanner, Value};
use crate::mapping::{DEPTH_MAX, Dynamic, Guess, Mapping, Node, Object};

/// Characters of a value that an error shows.
const PREVIEW_CHARACTERS: usize = 60;
const METADATA_FIELDS: [&str; 8] =
    ["_id", "_index", "_routing", "_source", "_version", "_seq_no", "_field_names", "_ignored"];

/// Takes the values of a document.
pub(crate) trait Values {
    /// A value that is not null. `path` is the field's full name.
    fn value(&mut self, path: &str, scalar: &Scalar<'_>);
}

/// Takes none: for a document that is only checked.
#[derive(Debug)]
pub(crate) struct Unused;

impl Values for Unused {
    fn value(&mut self, _path: &str, _scalar: &Scalar<'_>) {}
}

/// Fields that a document would add to its mapping, in their order.
pub(crate) type Additions = Vec<(String, Guess)>;

/// Walks over `source`. With additions, the values of the fields that they name were not looked at: add, and walk again.
pub(crate) fn walk(mapping: &Mapping, id: &str, source: &str, values: &mut impl Values) -> Result<Additions, Refusal> {
    let mut walker =
        Walker { scanner: Scanner::new(source), path: String::new(), depth: 0, additions: Vec::new(), id, values };
    walker.document(mapping)?;
    Ok(walker.additions)
}

struct Walker<'a, V> {
    scanner: Scanner<'a>,
    path: String,
    depth: usize,
    additions: Additions,
    id: &'a str,
    values: &'a mut V,
}

type Walked = Result<(), Refusal>;

impl<'a, V: Values> Walker<'a, V> {
    fn document(&mut self, mapping: &Mapping) -> Walked {
        match self.scanner.value().map_err(|e| self.broken(e))? {
            Value::Object if mapping.root.enabled => {
                self.object(Some(&mapping.root), mapping.root.dynamic.unwrap_or(Dynamic::Add))?;
            }
            value @ Value::Object => self.scanner.skip_entered(&value).map_err(|e| self.broken(e))?,
            _ => return Err(self.refuse("failed to parse: a document has to be an object", None)),
        }
        self.scanner.end().map_err(|e| self.broken(e))
    }

    /// The entries of the object that was entered.
    fn object(&mut self, object: Option<&Object>, dynamic: Dynamic) -> Walked {
        let mut keys = Keys::default();
        let mut first = true;
        while let Some(key) = self.scanner.next_key(first).map_err(|e| self.broken(e))? {
            first = false;
            keys.add(key.clone()).map_err(|what| self.broken(self.scanner.error(what)))?;
            let length = self.path.len();
            self.field(object, dynamic, &key)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    /// One entry. A key with dots in it means the same as objects in one another.
    fn field(&mut self, mut object: Option<&Object>, mut dynamic: Dynamic, key: &str) -> Walked {
        self.check_name(key)?;
        let depth = self.depth;
        let mut names = key.split('.').peekable();
        while let Some(name) = names.next() {
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(name);
            let node = object.and_then(|object| object.properties.get(name));
            if names.peek().is_none() {
                self.node(node, dynamic)?;
                break;
            }
            match node {
                Some(Node::Object(below)) if below.enabled => {
                    dynamic = below.dynamic.unwrap_or(dynamic);
                    object = Some(below);
                }
                Some(Node::Object(_)) => {
                    self.skip()?;
                    break;
                }
                Some(Node::Leaf(leaf)) => return Err(self.not_an_object(leaf)),
                None => object = None,
            }
            self.depth += 1;
        }
        self.depth = depth;
        Ok(())
    }

    fn check_name(&self, key: &str) -> Walked {
        if key.trim().is_empty() {
            return Err(self.refuse("field name cannot be an empty string", None));
        }
        if key.split('.').any(|name| name.trim().is_empty()) {
            let what = format!("object field starting or ending with a [.] makes object resolution ambiguous: [{key}]");
            return Err(self.refuse(&what, None));
        }
        if self.path.is_empty() && METADATA_FIELDS.contains(&key) {
            let what = format!(
                "Field [{key}] is a metadata field and cannot be added inside a document. Use the index API request parameters."
            );
            return Err(self.refuse(&what, None));
        }
        Ok(())
    }

    /// The value of the field whose full name is in `path`.
    fn node(&mut self, node: Option<&Node>, dynamic: Dynamic) -> Walked {
        match node {
            Some(Node::Leaf(leaf)) => self.leaf(leaf),
            Some(Node::Object(object)) if !object.enabled => self.skip(),
            Some(Node::Object(object)) => self.objects(Some(object), object.dynamic.unwrap_or(dynamic)),
            None => self.unknown(dynamic),
        }
    }

    fn skip(&mut self) -> Walked {
        self.scanner.skip().map(|_| ()).map_err(|e| self.broken(e))
    }

    /// An object where one is expected: or several in an array, or null.
    fn objects(&mut self, object: Option<&Object>, dynamic: Dynamic) -> Walked {
        match self.scanner.value().map_err(|e| self.broken(e))? {
            Value::Null => Ok(()),
            Value::Object => self.below(|walker| walker.object(object, dynamic)),
            Value::Array => {
                let mut first = true;
                while self.scanner.next_element(first).map_err(|e| self.broken(e))? {
                    first = false;
                    self.objects(object, dynamic)?;
                }
                Ok(())
            }
            _ => {
                let path = &self.path;
                let what = format!(
                    "object mapping for [{path}] tried to parse field [{path}] as object, but found a concrete value"
                );
                Err(self.refuse(&what, None))
            }
        }
    }

    fn below(&mut self, walk: impl FnOnce(&mut Self) -> Walked) -> Walked {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let path = &self.path;
            let what = format!("Limit of mapping depth [{DEPTH_MAX}] has been exceeded due to object field [{path}]");
            return Err(Refusal::illegal(what));
        }
        walk(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn unknown(&mut self, dynamic: Dynamic) -> Walked {
        let mut probe = self.scanner.clone();
        match (dynamic, probe.value().map_err(|e| self.broken(e))?) {
            (Dynamic::Ignore, _) => self.skip(),
            (Dynamic::Strict, _) => {
                let (above, name) = self.path.rsplit_once('.').unwrap_or(("_doc", &self.path));
                Err(Refusal::new(
                    400,
                    "strict_dynamic_mapping_exception",
                    format!("mapping set to strict, dynamic introduction of [{name}] within [{above}] is not allowed"),
                ))
            }
            (Dynamic::Add, Value::Null) => self.skip(),
            (Dynamic::Add, Value::Object) => {
                self.add(Guess::Object);
                self.objects(None, dynamic)
            }
            (Dynamic::Add, Value::Array) => {
                self.scanner = probe;
                let mut first = true;
                while self.scanner.next_element(first).map_err(|e| self.broken(e))? {
                    first = false;
                    self.unknown(dynamic)?;
                }
                Ok(())
            }
            (Dynamic::Add, value) => {
                self.scanner = probe;
                self.add(match value {
                    Value::String(_) => Guess::Text,
                    Value::Bool(_) => Guess::Boolean,
                    Value::Number(text) if text.contains(['.', 'e', 'E']) => Guess::Float,
                    _ => Guess::Long,
                });
                Ok(())
            }
        }
    }

    fn add(&mut self, guess: Guess) {
        if !self.additions.iter().any(|(path, _)| *path == self.path) {
            self.additions.push((self.path.clone(), guess));
        }
    }

    fn leaf(&mut self, leaf: &Leaf) -> Walked {
        let from = self.scanner.at();
        match self.scanner.value().map_err(|e| self.broken(e))? {
            Value::Null => Ok(()),
            Value::Array => {
                let mut first = true;
                while self.scanner.next_element(first).map_err(|e| self.broken(e))? {
                    first = false;
                    self.leaf(leaf)?;
                }
                Ok(())
            }
            value @ Value::Object => {
                self.scanner.skip_entered(&value).map_err(|e| self.broken(e))?;
                if leaf.ignore_malformed {
                    return Ok(());
                }
                let cause = leaf.read(value).err();
                Err(self.misfit(leaf, self.scanner.since(from), cause))
            }
            value => self.scalar(leaf, value, from),
        }
    }

    fn scalar(&mut self, leaf: &Leaf, value: Value<'a>, from: usize) -> Walked {
        match leaf.read(value.clone()) {
            Ok(scalar) => self.values.value(&self.path, &scalar),
            Err(_) if leaf.ignore_malformed => return Ok(()),
            Err(cause) if cause.0 == "max_bytes_length_exceeded_exception" => {
                let path = &self.path;
                let what = format!(
                    "Document contains at least one immense term in field=\"{path}\" (whose UTF8 encoding is longer than \
                     the max length {})",
                    crate::field::TERM_BYTES_MAX
                );
                return Err(Refusal::illegal(what).caused_by(cause.0, cause.1));
            }
            Err(cause) => return Err(self.misfit(leaf, self.scanner.since(from), Some(cause))),
        }
        for (name, form) in &leaf.forms {
            let length = self.path.len();
            self.path.push('.');
            self.path.push_str(name);
            match form.read(value.clone()) {
                Ok(scalar) => self.values.value(&self.path, &scalar),
                Err(_) if form.ignore_malformed => {}
                Err(cause) => return Err(self.misfit(form, self.scanner.since(from), Some(cause))),
            }
            self.path.truncate(length);
        }
        Ok(())
    }

    fn misfit(&self, leaf: &Leaf, text: &str, cause: Option<Cause>) -> Refusal {
        let preview = text.trim_start_matches([' ', ':', ',']).trim_matches('"');
        let preview: String = preview.chars().take(PREVIEW_CHARACTERS).collect();
        let what = format!(
            "failed to parse field [{}] of type [{}] in document with id '{}'. Preview of field's value: '{preview}'",
            self.path,
            leaf.kind.name(),
            self.id
        );
        self.refuse(&what, cause)
    }

    fn not_an_object(&self, leaf: &Leaf) -> Refusal {
        let (path, kind) = (&self.path, leaf.kind.name());
        self.refuse(&format!("failed to parse field [{path}] of type [{kind}]: it has fields below"), None)
    }

    fn broken(&self, error: JsonError) -> Refusal {
        let cause = ("x_content_parse_exception", format!("[1:{}] {}", error.at + 1, error.what));
        self.refuse("failed to parse", Some(cause))
    }

    fn refuse(&self, what: &str, cause: Option<Cause>) -> Refusal {
        let at = self.scanner.at() + 1;
        let refusal = Refusal::new(400, "document_parsing_exception", format!("[1:{at}] {what}"));
        match cause {
            Some((kind, reason)) => refusal.caused_by(kind, reason),
            None => refusal,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn additions(mapping: &Mapping, source: &str) -> Result<Vec<(String, Guess)>, Refusal> {
        walk(mapping, "1", source, &mut Unused)
    }

    #[test]
    fn the_first_value_decides() {
        let source =
            r#"{"s":"x","n":1,"f":[null,1.5],"b":true,"z":null,"e":[],"o":{"p":"y"},"a.b":2,"l":[{"m":1},{"m":2}]}"#;
        let found = additions(&Mapping::default(), source).expect("accepted");
        let expected = [
            ("s", Guess::Text),
            ("n", Guess::Long),
            ("f", Guess::Float),
            ("b", Guess::Boolean),
            ("o", Guess::Object),
            ("o.p", Guess::Text),
            ("a.b", Guess::Long),
            ("l", Guess::Object),
            ("l.m", Guess::Long),
        ];
        let expected: Vec<_> = expected.iter().map(|(path, guess)| (path.to_string(), *guess)).collect();
        assert_eq!(found, expected);
        let mut mapping = Mapping::default();
        found.iter().for_each(|(path, guess)| mapping.add(path, *guess));
        assert_eq!(additions(&mapping, source).expect("accepted"), []);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mapping = json!({"properties": {
            "n": {"type": "long"}, "t": {"type": "text"}, "o": {"properties": {"k": {"type": "keyword"}}},
            "s": {"type": "object", "dynamic": "strict"}
        }});
        let mapping = Mapping::parse(&mapping).expect("valid");
        let check = |source: &str, kind: &str, needle: &str| {
            let refusal = additions(&mapping, source).expect_err(source);
            assert_eq!(refusal.kind, kind, "{source}");
            assert!(refusal.reason.contains(needle), "{source}: {}", refusal.reason);
        };
        let parsing = "document_parsing_exception";
        check(
            r#"{"n":"abc"}"#,
            parsing,
            "failed to parse field [n] of type [long] in document with id '1'. Preview of field's value: 'abc'",
        );
        check(r#"{"n":{"x":1}}"#, parsing, "[n] of type [long]");
        check(r#"{"t":{"x":1}}"#, parsing, "[t] of type [text]");
        check(r#"{"o":1}"#, parsing, "as object, but found a concrete value");
        check(r#"{"s":{"x":1}}"#, "strict_dynamic_mapping_exception", "dynamic introduction of [x] within [s]");
        check(r#"{"a":1,"a":2}"#, parsing, "failed to parse");
        check(r#"{"a":1"#, parsing, "failed to parse");
        check(r#"[1]"#, parsing, "has to be an object");
        check(r#"{"_id":1}"#, parsing, "metadata field");
        check(r#"{"":1}"#, parsing, "empty");
        check(r#"{"a..b":1}"#, parsing, "ambiguous");
        check(r#"{} {}"#, parsing, "failed to parse");
    }
}
