//! Typed configuration: what `#[derive(Config)]` reads by.

use crate::say::{listed, said};
use crate::{Error, Json};

/// What a setting may be. `#[derive(Config)]` makes it of a struct, whose fields are settings in turn.
pub trait Setting: Sized {
    /// An error says what is needed, without the setting's name: whoever holds the setting says that.
    fn read(json: Json) -> Result<Self, Error>;

    /// What stands where the setting is missing; `None` where it has to be there.
    fn missing() -> Option<Self> {
        None
    }
}

fn needed<T>(what: &str, found: &Json) -> Result<T, Error> {
    Err(said(&["must be ", what, ", not ", found.kind()]).into())
}

impl Setting for String {
    fn read(json: Json) -> Result<String, Error> {
        match json {
            Json::Text(text) => Ok(text),
            other => needed("a text", &other),
        }
    }
}

impl Setting for bool {
    fn read(json: Json) -> Result<bool, Error> {
        match json {
            Json::Bool(value) => Ok(value),
            other => needed("true or false", &other),
        }
    }
}

macro_rules! number {
    ($what:literal: $($of:ident)*) => {$(
        impl Setting for $of {
            fn read(json: Json) -> Result<$of, Error> {
                match &json {
                    Json::Number(number) => number.parse().or_else(|_| {
                        Err(said(&[concat!("must be ", $what, ", and is "), number]).into())
                    }),
                    other => needed($what, other),
                }
            }
        }
    )*};
}

number!("a whole number that fits": i16 i32 i64 u16 u32 u64 usize);
number!("a number": f64);

impl<T: Setting> Setting for Option<T> {
    fn read(json: Json) -> Result<Option<T>, Error> {
        match json {
            Json::Null => Ok(None),
            json => T::read(json).map(Some),
        }
    }

    fn missing() -> Option<Option<T>> {
        Some(None)
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(json: Json) -> Result<Vec<T>, Error> {
        match json {
            Json::List(items) => items.into_iter().map(T::read).collect(),
            other => needed("a list", &other),
        }
    }
}

/// A map, in the order in which it was written.
impl<T: Setting> Setting for Vec<(String, T)> {
    fn read(json: Json) -> Result<Vec<(String, T)>, Error> {
        let Json::Object(entries) = json else { return needed("a map", &json) };
        let read = |(name, json): (String, Json)| match T::read(json) {
            Ok(value) => Ok((name, value)),
            Err(error) => Err(below(&name, &*error)),
        };
        entries.into_iter().map(read).collect()
    }
}

impl Setting for Json {
    fn read(json: Json) -> Result<Json, Error> {
        Ok(json)
    }
}

/// No configuration.
impl Setting for () {
    fn read(json: Json) -> Result<(), Error> {
        Settings::of(json, &[]).map(|_| ())
    }
}

fn below(name: &str, error: &dyn std::error::Error) -> Error {
    let error = error.to_string();
    // Deeper names stand in backticks already: `a.b` must be …
    match error.strip_prefix('`') {
        Some(deeper) => said(&["`", name, ".", deeper]).into(),
        None => said(&["`", name, "` ", &error]).into(),
    }
}

/// The settings of a map, as the code that `#[derive(Config)]` writes takes them.
#[derive(Debug)]
pub struct Settings(Vec<(String, Json)>);

impl Settings {
    /// A map that has none but the known keys.
    pub fn of(json: Json, known: &[&str]) -> Result<Settings, Error> {
        let Json::Object(entries) = json else { return needed("a map", &json) };
        if let Some((other, _)) = entries.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            let known = listed(known.iter().copied());
            return Err(said(&["there is no setting called ", other, "; there are: ", &known]).into());
        }
        Ok(Settings(entries))
    }

    pub fn take<T: Setting>(&mut self, name: &str, default: Option<fn() -> T>) -> Result<T, Error> {
        let Some(at) = self.0.iter().position(|(known, _)| known == name) else {
            let missing = default.map(|default| default()).or_else(T::missing);
            return missing.ok_or_else(|| below(name, &*Error::from("is missing")));
        };
        T::read(self.0.swap_remove(at).1).map_err(|error| below(name, &*error))
    }

    /// The place of a text among those that there are.
    pub fn choice(json: Json, known: &[&str]) -> Result<usize, Error> {
        let Json::Text(text) = json else { return needed("a text", &json) };
        let place = known.iter().position(|known| *known == text);
        place.ok_or_else(|| said(&["must be one of ", &listed(known.iter().copied()), ", not ", &text]).into())
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[derive(Config, Debug, PartialEq)]
    struct Words {
        column: String,
        #[config(default = 3)]
        least: usize,
        other: Option<Vec<i64>>,
        #[config(default)]
        inner: Inner,
        #[config(default = Vec::new())]
        map: Vec<(String, How)>,
    }

    #[derive(Config, Debug, Default, PartialEq)]
    struct Inner {
        ratio: f64,
    }

    #[derive(Config, Debug, PartialEq)]
    enum How {
        Loud,
        Quiet,
    }

    fn read(json: &str) -> Result<Words, String> {
        Config::new(json).typed().map_err(|error| error.to_string())
    }

    #[test]
    fn settings_have_types_and_defaults() {
        let words = read(r#"{"column": "name"}"#).unwrap();
        let expected = Words { column: "name".into(), least: 3, other: None, inner: Inner { ratio: 0.0 }, map: vec![] };
        assert_eq!(words, expected);
        let words = read(
            r#"{"column": "name", "least": 5, "other": [1], "inner": {"ratio": 0.5}, "map": {"b": "quiet", "a": "loud"}}"#,
        );
        let map = vec![("b".into(), How::Quiet), ("a".into(), How::Loud)];
        let inner = Inner { ratio: 0.5 };
        assert_eq!(words.unwrap(), Words { column: "name".into(), least: 5, other: Some(vec![1]), inner, map });
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |json: &str, expected: &str| assert_eq!(read(json).unwrap_err(), expected, "{json}");
        refused("{}", "`column` is missing");
        refused("[]", "must be a map, not a list");
        refused(r#"{"column": 1}"#, "`column` must be a text, not a number");
        refused(r#"{"column": "a", "least": -1}"#, "`least` must be a whole number that fits, and is -1");
        refused(r#"{"column": "a", "inner": {"ratio": "x"}}"#, "`inner.ratio` must be a number, not a text");
        refused(r#"{"column": "a", "map": {"k": "soft"}}"#, "`map.k` must be one of `loud`, `quiet`, not soft");
        refused(
            r#"{"colum": "a"}"#,
            "there is no setting called colum; there are: `column`, `least`, `other`, `inner`, `map`",
        );
    }
}
