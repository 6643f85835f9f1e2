//! The query language, as far as it is here, turned into tantivy's queries. What is not here is refused by name.

use std::borrow::Cow;
use std::ops::Bound;

use serde_json::{Map, Value};
use tantivy::Term;
use tantivy::query::{
    AllQuery, BooleanQuery, BoostQuery, ConstScoreQuery, EmptyQuery, InvertedIndexRangeQuery, Occur, PhraseQuery,
    Query, TermQuery, TermSetQuery,
};
use tantivy::schema::IndexRecordOption;

use crate::error::Refusal;
use crate::field::{Kind, Leaf, Scalar};
use crate::inverted::{Fields, edge_term, exists_term, id_term, value_term, word_terms};
use crate::json::Scanner;
use crate::mapping::Mapping;

type Built = Result<Box<dyn Query>, Refusal>;

/// Clauses within clauses, at most.
const NESTING_MAX: usize = 30;
const TERMS_MAX: usize = 65_536;

/// True when the query asks for every document: then nobody has to search.
pub(crate) fn is_everything(query: Option<&Value>) -> bool {
    let Some(query) = query else { return true };
    query.as_object().is_some_and(|clause| {
        clause.len() == 1 && clause.get("match_all").and_then(Value::as_object).is_some_and(Map::is_empty)
    })
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Builder<'a> {
    pub(crate) mapping: &'a Mapping,
    pub(crate) fields: Fields,
}

impl Builder<'_> {
    pub(crate) fn build(&self, query: &Value) -> Built {
        self.clause(query, 0)
    }

    fn clause(&self, query: &Value, depth: usize) -> Built {
        if depth > NESTING_MAX {
            return Err(Refusal::parsing(format!("queries are nested deeper than {NESTING_MAX}")));
        }
        let (kind, body) = one_entry(query, "query")?;
        let body = body
            .as_object()
            .ok_or_else(|| Refusal::parsing(format!("[{kind}] query malformed, no start_object after query name")))?;
        match kind.as_str() {
            "match_all" => self.boosted(Box::new(AllQuery), body, &[]),
            "match_none" => Ok(Box::new(EmptyQuery)),
            "match" => self.words(body, "match"),
            "match_phrase" => self.words(body, "match_phrase"),
            "term" => self.term(body),
            "terms" => self.terms(body),
            "range" => self.range(body),
            "ids" => self.ids(body),
            "exists" => self.exists(body),
            "bool" => self.bool(body, depth),
            "constant_score" => self.constant_score(body, depth),
            other => Err(Refusal::parsing(format!(
                "unknown query [{other}]: Tidemill's embedded index, made for demos and tests, has bool, constant_score, \
                 exists, ids, match, match_all, match_none, match_phrase, range, term and terms"
            ))),
        }
    }

    fn boosted(&self, query: Box<dyn Query>, body: &Map<String, Value>, known: &[&str]) -> Built {
        if let Some(key) = body.keys().find(|key| *key != "boost" && *key != "_name" && !known.contains(&key.as_str()))
        {
            return Err(Refusal::parsing(format!("[{key}] is not there in this query of Tidemill's embedded index")));
        }
        match body.get("boost") {
            None => Ok(query),
            Some(boost) => {
                let boost = boost.as_f64().ok_or_else(|| Refusal::parsing("[boost] has to be a number"))?;
                Ok(Box::new(BoostQuery::new(query, boost as f32)))
            }
        }
    }

    fn leaf(&self, field: &str) -> Result<Option<&Leaf>, Refusal> {
        match self.mapping.leaf(field) {
            Some(leaf) if !leaf.indexed => {
                Err(Refusal::illegal(format!("Cannot search on field [{field}] since it is not indexed.")))
            }
            leaf => Ok(leaf),
        }
    }

    fn words(&self, body: &Map<String, Value>, kind: &str) -> Built {
        let (field, value) = entry(body, kind)?;
        let empty = Map::new();
        let (text, options) = match value {
            Value::Object(options) => (options.get("query").unwrap_or(&Value::Null), options),
            other => (other, &empty),
        };
        let text = scalar_text(text, kind)?;
        let Some(leaf) = self.leaf(field)? else {
            return if field == "_id" {
                Ok(self.any(vec![id_term(self.fields, &text)]))
            } else {
                Ok(Box::new(EmptyQuery))
            };
        };
        if leaf.kind != Kind::Text {
            let query = self.value(field, leaf, &text)?;
            return self.boosted(query, options, &["query", "operator"]);
        }
        let terms = word_terms(self.fields, field, &text);
        if kind == "match_phrase" {
            return self.boosted(phrase(terms), options, &["query"]);
        }
        let all = match options.get("operator").map(|operator| operator.as_str().map(str::to_lowercase)) {
            None => false,
            Some(Some(operator)) if operator == "or" => false,
            Some(Some(operator)) if operator == "and" => true,
            Some(_) => return Err(Refusal::parsing("[match] query: [operator] has to be [and] or [or]")),
        };
        let occur = if all { Occur::Must } else { Occur::Should };
        let clauses: Vec<(Occur, Box<dyn Query>)> = terms.into_iter().map(|term| (occur, scored(term))).collect();
        let query: Box<dyn Query> =
            if clauses.is_empty() { Box::new(EmptyQuery) } else { Box::new(BooleanQuery::new(clauses)) };
        self.boosted(query, options, &["query", "operator"])
    }

    fn term(&self, body: &Map<String, Value>) -> Built {
        let (field, value) = entry(body, "term")?;
        let empty = Map::new();
        let (value, options) = match value {
            Value::Object(options) => (options.get("value").unwrap_or(&Value::Null), options),
            other => (other, &empty),
        };
        let text = scalar_text(value, "term")?;
        let query = match self.leaf(field)? {
            None if field == "_id" => self.any(vec![id_term(self.fields, &text)]),
            None => Box::new(EmptyQuery),
            Some(leaf) => self.value(field, leaf, &text)?,
        };
        self.boosted(query, options, &["value"])
    }

    /// One exact value of a field: on a text field, one of its words as it is indexed.
    fn value(&self, field: &str, leaf: &Leaf, text: &str) -> Built {
        Ok(match self.value_term(field, leaf, text)? {
            Some(term) => scored(term),
            None => Box::new(EmptyQuery),
        })
    }

    fn value_term(&self, field: &str, leaf: &Leaf, text: &str) -> Result<Option<Term>, Refusal> {
        if leaf.kind == Kind::Text {
            return Ok(Some(Term::from_field_text(self.fields.text, &format!("{field}\0{text}"))));
        }
        Ok(match read(leaf, field, text)? {
            Scalar::Nothing => None,
            scalar => Some(value_term(self.fields, field, &scalar)),
        })
    }

    fn terms(&self, body: &Map<String, Value>) -> Built {
        let mut entries = body.iter().filter(|(key, _)| *key != "boost" && *key != "_name");
        let (Some((field, values)), None) = (entries.next(), entries.next()) else {
            return Err(Refusal::parsing("[terms] query requires a field name"));
        };
        let values = values.as_array().ok_or_else(|| Refusal::parsing("[terms] query: the field needs an array"))?;
        if values.len() > TERMS_MAX {
            let reason = format!(
                "The number of terms [{}] used in the Terms Query request has exceeded the allowed maximum of [{TERMS_MAX}].",
                values.len()
            );
            return Err(Refusal::illegal(reason));
        }
        let leaf = self.leaf(field)?;
        let mut terms = Vec::with_capacity(values.len());
        for value in values {
            let text = scalar_text(value, "terms")?;
            match leaf {
                None if field == "_id" => terms.push(id_term(self.fields, &text)),
                None => {}
                Some(leaf) => terms.extend(self.value_term(field, leaf, &text)?),
            }
        }
        let query = self.any(terms);
        self.boosted(query, body, &[field])
    }

    fn any(&self, terms: Vec<Term>) -> Box<dyn Query> {
        Box::new(ConstScoreQuery::new(Box::new(TermSetQuery::new(terms)), 1.0))
    }

    fn ids(&self, body: &Map<String, Value>) -> Built {
        let values = match body.get("values") {
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
            None => return Err(Refusal::parsing("[ids] requires providing the values parameter")),
        };
        let term = |value| Ok(id_term(self.fields, &scalar_text(value, "ids")?));
        let query = self.any(values.iter().map(term).collect::<Result<_, Refusal>>()?);
        self.boosted(query, body, &["values"])
    }

    fn exists(&self, body: &Map<String, Value>) -> Built {
        let Some(field) = body.get("field").and_then(Value::as_str) else {
            return Err(Refusal::parsing("[exists] must be provided with a [field]"));
        };
        let path = if self.mapping.leaf(field).is_some() || self.mapping.has_object(field) { field } else { "" };
        self.boosted(self.any(vec![exists_term(self.fields, path)]), body, &["field"])
    }

    fn range(&self, body: &Map<String, Value>) -> Built {
        let (field, bounds) = entry(body, "range")?;
        let bounds = bounds
            .as_object()
            .ok_or_else(|| Refusal::parsing(format!("[range] query does not support a plain value for [{field}]")))?;
        let Some(leaf) = self.leaf(field)? else { return Ok(Box::new(EmptyQuery)) };
        if leaf.kind == Kind::Text || leaf.kind == Kind::Ip {
            return Err(Refusal::not_there(format_args!("a [range] over a field of type [{}]", leaf.kind.name())));
        }
        let term = |value: &Value| {
            let text = scalar_text(value, "range")?;
            let scalar = read(leaf, field, &text)?;
            Ok::<_, Refusal>(value_term(self.fields, field, &scalar))
        };
        let mut lower = Bound::Included(edge_term(self.fields, field, false));
        let mut upper = Bound::Excluded(edge_term(self.fields, field, true));
        for (key, value) in bounds.iter().filter(|(_, value)| !value.is_null()) {
            // A whole-number field reads 1.5 as 1: what lies on which side of it has to be said here.
            let cut = whole(leaf) && has_fraction(value);
            match key.as_str() {
                "gte" if cut && is_positive(value) => lower = Bound::Excluded(term(value)?),
                "gt" if cut && !is_positive(value) => lower = Bound::Included(term(value)?),
                "lte" if cut && !is_positive(value) => upper = Bound::Excluded(term(value)?),
                "lt" if cut && is_positive(value) => upper = Bound::Included(term(value)?),
                "gte" => lower = Bound::Included(term(value)?),
                "gt" => lower = Bound::Excluded(term(value)?),
                "lte" => upper = Bound::Included(term(value)?),
                "lt" => upper = Bound::Excluded(term(value)?),
                _ => {}
            }
        }
        let query = Box::new(ConstScoreQuery::new(Box::new(InvertedIndexRangeQuery::new(lower, upper)), 1.0));
        self.boosted(query, bounds, &["gte", "gt", "lte", "lt"])
    }

    fn constant_score(&self, body: &Map<String, Value>, depth: usize) -> Built {
        let filter =
            body.get("filter").ok_or_else(|| Refusal::parsing("[constant_score] requires a 'filter' element"))?;
        let query = Box::new(ConstScoreQuery::new(self.clause(filter, depth + 1)?, 1.0));
        self.boosted(query, body, &["filter"])
    }

    fn bool(&self, body: &Map<String, Value>, depth: usize) -> Built {
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        let (mut should_count, mut required) = (0, false);
        for (key, value) in body {
            let occur = match key.as_str() {
                "must" | "filter" => Occur::Must,
                "should" => Occur::Should,
                "must_not" => Occur::MustNot,
                _ => continue,
            };
            let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            for clause in list {
                let mut query = self.clause(clause, depth + 1)?;
                if key == "filter" {
                    query = Box::new(ConstScoreQuery::new(query, 0.0));
                }
                should_count += usize::from(occur == Occur::Should);
                required |= occur == Occur::Must;
                clauses.push((occur, query));
            }
        }
        if !required && should_count == 0 {
            clauses.push((
                Occur::Must,
                Box::new(ConstScoreQuery::new(Box::new(AllQuery), if clauses.is_empty() { 1.0 } else { 0.0 })),
            ));
        }
        let minimum = match body.get("minimum_should_match") {
            None => usize::from(!required && should_count > 0),
            Some(value) => value
                .as_u64()
                .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
                .ok_or_else(|| Refusal::not_there("a [minimum_should_match] other than a whole number"))?
                as usize,
        };
        let query = Box::new(BooleanQuery::with_minimum_required_clauses(clauses, minimum));
        self.boosted(query, body, &["must", "filter", "should", "must_not", "minimum_should_match"])
    }
}

fn scored(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs))
}

fn phrase(mut terms: Vec<Term>) -> Box<dyn Query> {
    match terms.len() {
        0 => Box::new(EmptyQuery),
        1 => scored(terms.remove(0)),
        _ => Box::new(PhraseQuery::new(terms)),
    }
}

fn whole(leaf: &Leaf) -> bool {
    matches!(leaf.kind, Kind::Byte | Kind::Short | Kind::Integer | Kind::Long | Kind::UnsignedLong)
}

fn has_fraction(value: &Value) -> bool {
    number_of(value).is_some_and(|number| number.fract() != 0.0)
}

fn is_positive(value: &Value) -> bool {
    number_of(value).is_some_and(|number| number > 0.0)
}

fn number_of(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

fn one_entry<'a>(value: &'a Value, what: &str) -> Result<(&'a String, &'a Value), Refusal> {
    let object = value.as_object().ok_or_else(|| Refusal::parsing(format!("[{what}] has to be an object")))?;
    entry(object, what)
}

fn entry<'a>(object: &'a Map<String, Value>, what: &str) -> Result<(&'a String, &'a Value), Refusal> {
    let mut entries = object.iter();
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(entry),
        (None, _) => Err(Refusal::illegal(format!("[{what}] malformed: empty clause found"))),
        _ => Err(Refusal::parsing(format!("[{what}] malformed: it takes one entry and has {}", object.len()))),
    }
}

fn scalar_text<'a>(value: &'a Value, kind: &str) -> Result<Cow<'a, str>, Refusal> {
    match value {
        Value::String(text) => Ok(Cow::Borrowed(text)),
        Value::Number(number) => Ok(Cow::Owned(number.to_string())),
        Value::Bool(flag) => Ok(Cow::Borrowed(if *flag { "true" } else { "false" })),
        Value::Null => Err(Refusal::illegal(format!("[{kind}] query: no value given"))),
        _ => Err(Refusal::parsing(format!("[{kind}] query does not take an array or an object there"))),
    }
}

fn read<'a>(leaf: &Leaf, field: &str, text: &'a str) -> Result<Scalar<'a>, Refusal> {
    let value = crate::json::Value::String(Cow::Borrowed(text));
    leaf.read(value).map_err(|(kind, reason)| {
        Refusal::new(400, "query_shard_exception", format!("failed to create query: [{field}] {reason}"))
            .caused_by(kind, reason)
    })
}

/// A request's body as JSON; nothing at all is an empty object.
pub(crate) fn parse_body(body: &[u8]) -> Result<Value, Refusal> {
    let text = std::str::from_utf8(body).map_err(|_| Refusal::parsing("the body is not UTF-8"))?;
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let mut scanner = Scanner::new(text);
    scanner.skip().and_then(|_| scanner.end()).map_err(|error| Refusal::json(&error))?;
    serde_json::from_str(text).map_err(|error| Refusal::parsing(error.to_string()))
}
