//! `geo`: makes a `geo_point`, as Elasticsearch and OpenSearch take it, of two columns or of a PostGIS point.
//!
//! ```text
//! {"field": "location", "lat": "lat", "lon": "lon"}      two numbers
//! {"field": "location", "point": "geom"}                 (E)WKT, or hex (E)WKB as PostGIS writes it, or Postgres' (lon,lat)
//! ```

mod point;

use tidemill_sdk::{
    Batch, Column, Config, DataType, Error, Failure, MakeBytes, RowError, Transform, TransformPlan, Transformed,
};

use crate::point::Point;

#[derive(Config)]
struct Settings {
    field: String,
    lat: Option<String>,
    lon: Option<String>,
    point: Option<String>,
    #[config(default = Form::Object)]
    form: Form,
    #[config(default = Fate::Reject)]
    invalid: Fate,
    #[config(default = Fate::Null)]
    empty: Fate,
    /// The columns that it is made of come out too.
    #[config(default)]
    keep: bool,
}

/// How a point is written.
#[derive(Clone, Copy, Config, Debug)]
enum Form {
    /// `{"lat": 52.5, "lon": 13.4}`
    Object,
    /// `"52.5,13.4"`
    Text,
}

/// What becomes of a row without a point.
#[derive(Clone, Copy, Config, Debug, PartialEq)]
enum Fate {
    Reject,
    Null,
}

pub struct Geo {
    from: From,
    form: Form,
    invalid: Fate,
    empty: Fate,
}

enum From {
    Two(Number, Number),
    Point(Column<str>),
}

#[derive(Clone, Copy)]
enum Number {
    Float64(Column<f64>),
    Float32(Column<f32>),
    /// numeric, or what else is written as a number.
    Text(Column<str>),
}

impl Transform for Geo {
    fn open(config: Config<'_>, plan: &mut TransformPlan<'_>) -> Result<Geo, Error> {
        let settings: Settings = config.typed()?;
        let (from, of) = match (&settings.lat, &settings.lon, &settings.point) {
            (Some(lat), Some(lon), None) => {
                (From::Two(number(plan, lat)?, number(plan, lon)?), vec![lat.as_str(), lon.as_str()])
            }
            (None, None, Some(point)) => (From::Point(plan.require(point)?), vec![point.as_str()]),
            _ => return Err("say either `lat` and `lon`, or `point`: the columns to make the point of".into()),
        };
        let is_other = |name: &&str| **name != settings.field;
        let taken = plan.schema().fields.iter().any(|field| field.name == settings.field);
        if taken && of.iter().all(is_other) {
            return Err(["there is a column called `", &settings.field, "` already: call the field otherwise"]
                .concat()
                .into());
        }
        let mut left_out = if settings.keep { Vec::new() } else { of };
        left_out.push(&settings.field);
        plan.pass_all_but(&left_out);
        match settings.form {
            Form::Object => plan.make_json(settings.field.clone()),
            Form::Text => plan.make(settings.field.clone(), DataType::Utf8),
        }
        Ok(Geo { from, form: settings.form, invalid: settings.invalid, empty: settings.empty })
    }

    fn process(&mut self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        let (mut column, mut rejects) = (MakeBytes::default(), Vec::new());
        for row in 0..batch.rows() {
            let point = match self.point(batch, row) {
                Ok(Some(Point::Empty)) if self.empty == Fate::Reject => {
                    Err(RowError::new("geo_empty", "the point is empty"))
                }
                Ok(Some(Point::At { lat, lon })) => in_range(lat, lon),
                Ok(Some(Point::Empty) | None) => Ok(None),
                Err(error) => Err(error),
            };
            match point {
                Ok(point) => column.push(point.map(|(lat, lon)| self.written(lat, lon))),
                Err(error) => {
                    column.push(None::<&str>);
                    if self.invalid == Fate::Reject || error.code() == "geo_empty" {
                        rejects.push(error.at(row));
                    }
                }
            }
        }
        Ok(Transformed { rejects, ..Transformed::all(vec![column.finish()]) })
    }
}

fn number(plan: &mut TransformPlan<'_>, name: &str) -> Result<Number, Error> {
    let of = plan.schema().fields.iter().find(|field| field.name == name).map(|field| field.data_type);
    match of {
        Some(DataType::Float64) => plan.require(name).map(Number::Float64),
        Some(DataType::Float32) => plan.require(name).map(Number::Float32),
        _ => plan.require(name).map(Number::Text),
    }
}

fn in_range(lat: f64, lon: f64) -> Result<Option<(f64, f64)>, RowError> {
    // Not a number is in no range.
    match (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon) {
        true => Ok(Some((lat, lon))),
        false => Err(RowError::new(
            "geo_range",
            "the latitude is not within 90 degrees, or the longitude not within 180: are they the wrong way round?",
        )),
    }
}

impl Geo {
    fn point(&self, batch: &Batch<'_>, row: usize) -> Result<Option<Point>, RowError> {
        match &self.from {
            From::Two(lat, lon) => match (lat.get(batch, row)?, lon.get(batch, row)?) {
                (Some(lat), Some(lon)) => Ok(Some(Point::At { lat, lon })),
                (None, None) => Ok(None),
                _ => Err(RowError::new("geo_half", "of latitude and longitude one is null")),
            },
            From::Point(column) => batch.column(*column).get(row).map(point::parse).transpose(),
        }
    }

    fn written(&self, lat: f64, lon: f64) -> String {
        match self.form {
            Form::Object => format!(r#"{{"lat":{lat},"lon":{lon}}}"#),
            Form::Text => format!("{lat},{lon}"),
        }
    }
}

impl Number {
    fn get(self, batch: &Batch<'_>, row: usize) -> Result<Option<f64>, RowError> {
        match self {
            Number::Float64(column) => Ok(batch.column(column).get(row)),
            // By its own shortest text: 52.1 is not 52.09999847412109.
            Number::Float32(column) => {
                Ok(batch.column(column).get(row).and_then(|value| value.to_string().parse().ok()))
            }
            Number::Text(column) => match batch.column(column).get(row).map(str::parse) {
                None => Ok(None),
                Some(Ok(number)) => Ok(Some(number)),
                Some(Err(_)) => Err(RowError::new("geo_number", "the latitude or the longitude is no number")),
            },
        }
    }
}

tidemill_sdk::transform!(Geo);

#[cfg(test)]
mod tests {
    use tidemill_sdk::testing::{Outcome, Table};

    use super::*;

    fn run(rows: &str, config: &str) -> Result<Outcome, String> {
        Table::of(rows).transform::<Geo>(config)
    }

    #[test]
    fn two_columns_make_a_point() {
        let rows = r#"{"id": 1, "lat": 52.5, "lon": 13.4, "name": "a"} {"id": 2, "lat": null, "lon": null, "name": "b"}
                      {"id": 3, "lat": 91, "lon": 0, "name": "c"} {"id": 4, "lat": 1, "lon": null, "name": "d"}"#;
        let config = r#"{"field": "location", "lat": "lat", "lon": "lon"}"#;
        for of in ["numeric", "float8", "real"] {
            let out = Table::of(rows).column("lat", of).column("lon", of).transform::<Geo>(config).unwrap();
            let documents =
                [r#"{"id":1,"name":"a","location":{"lat":52.5,"lon":13.4}}"#, r#"{"id":2,"name":"b","location":null}"#];
            assert_eq!(out.documents, documents);
            let codes: Vec<_> = out.rejects.iter().map(|refused| refused.1.split(':').next().unwrap()).collect();
            assert_eq!(codes, ["geo_range", "geo_half"]);
        }
        let config = r#"{"field": "at", "lat": "lat", "lon": "lon", "form": "text", "invalid": "null", "keep": true}"#;
        let out = run(rows, config).unwrap();
        assert_eq!(out.documents[0], r#"{"id":1,"lat":52.5,"lon":13.4,"name":"a","at":"52.5,13.4"}"#);
        assert_eq!(out.documents[2], r#"{"id":3,"lat":91,"lon":0,"name":"c","at":null}"#);
        assert!(out.rejects.is_empty(), "{:?}", out.rejects);
    }

    #[test]
    fn a_point_takes_the_place_of_its_column() {
        let rows = r#"{"id": 1, "geom": "SRID=4326;POINT(13.4 52.5)"} {"id": 2, "geom": "POINT EMPTY"} {"id": 3, "geom": "LINESTRING(0 0, 1 1)"}"#;
        let out = run(rows, r#"{"field": "geom", "point": "geom"}"#).unwrap();
        assert_eq!(out.documents, [r#"{"id":1,"geom":{"lat":52.5,"lon":13.4}}"#, r#"{"id":2,"geom":null}"#]);
        assert_eq!(out.rejects.len(), 1);
        let out = run(rows, r#"{"field": "geom", "point": "geom", "empty": "reject", "invalid": "null"}"#).unwrap();
        assert_eq!(out.rejects, [(2, "geo_empty: the point is empty")]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |config: &str, part: &str| {
            let error = run(r#"{"id": 1, "lat": 1.5, "n": 1}"#, config).unwrap_err();
            assert!(error.contains(part), "{config}: {error}");
        };
        refused("{}", "`field` is missing");
        refused(r#"{"field": "a"}"#, "either `lat` and `lon`, or `point`");
        refused(r#"{"field": "a", "lat": "lat", "lon": "lno"}"#, "no column `lno`");
        refused(r#"{"field": "a", "lat": "lat", "lon": "n"}"#, "column `n` is int64");
        refused(r#"{"field": "n", "point": "lat"}"#, "already");
        refused(r#"{"field": "a", "point": "lat", "form": "wkt"}"#, "`form` must be one of `object`, `text`");
    }
}
