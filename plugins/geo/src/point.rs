//! A point as text: WKT and EWKT, hex WKB and EWKB, and Postgres' own `(x,y)`.

use tidemill_sdk::RowError;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Point {
    At { lat: f64, lon: f64 },
    Empty,
}

/// PostGIS' flags in the type of an EWKB geometry.
const HAS_Z: u32 = 0x8000_0000;
const HAS_M: u32 = 0x4000_0000;
const HAS_SRID: u32 = 0x2000_0000;
/// Longitude and latitude on WGS 84; 0 is PostGIS' for none said.
const SRIDS: [u32; 2] = [0, 4326];

fn no_point() -> RowError {
    RowError::new("geo_point", "this is no point: WKT, hex WKB or (x,y) is taken")
}

fn other_srid() -> RowError {
    RowError::new("geo_srid", "the point is not in SRID 4326: ST_Transform(…, 4326) makes it so")
}

pub(crate) fn parse(text: &str) -> Result<Point, RowError> {
    let text = text.trim();
    match text.as_bytes().first() {
        Some(b'0') => wkb(text),
        Some(b'(') => coordinates(text, ','),
        _ => wkt(text),
    }
}

fn wkt(text: &str) -> Result<Point, RowError> {
    let (srid, text) = match text.split_once(';') {
        Some((srid, text)) => (Some(srid), text.trim_start()),
        None => (None, text),
    };
    if let Some(srid) = srid {
        let number = srid.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("srid"));
        let number: u32 = number.and_then(|(_, number)| number.trim().parse().ok()).ok_or_else(no_point)?;
        if !SRIDS.contains(&number) {
            return Err(other_srid());
        }
    }
    let is_point = text.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("point"));
    let rest = text.get(5..).filter(|_| is_point).ok_or_else(no_point)?;
    let rest = rest.trim().trim_start_matches(['Z', 'M', 'z', 'm']).trim_start();
    if rest.eq_ignore_ascii_case("empty") {
        return Ok(Point::Empty);
    }
    coordinates(rest, ' ')
}

/// `(x y)` or `(x,y)`, with further ones that are not looked at.
fn coordinates(text: &str, between: char) -> Result<Point, RowError> {
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).ok_or_else(no_point)?;
    let mut numbers = inner.split(between).map(str::trim).filter(|number| !number.is_empty()).map(str::parse::<f64>);
    let (Some(Ok(lon)), Some(Ok(lat))) = (numbers.next(), numbers.next()) else { return Err(no_point()) };
    match numbers.all(|number| number.is_ok()) {
        true => Ok(Point::At { lat, lon }),
        false => Err(no_point()),
    }
}

/// The bytes that hex digits stand for, taken one number after the other.
struct Bytes<'a> {
    digits: &'a [u8],
    is_little: bool,
}

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (now, rest) = self.digits.split_at_checked(2 * N)?;
        self.digits = rest;
        let mut bytes = [0; N];
        for (byte, pair) in bytes.iter_mut().zip(now.as_chunks::<2>().0) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        if !self.is_little {
            bytes.reverse();
        }
        Some(bytes)
    }
}

fn wkb(text: &str) -> Result<Point, RowError> {
    let mut bytes = Bytes { digits: text.as_bytes(), is_little: true };
    let [order] = bytes.take().filter(|[order]| *order < 2).ok_or_else(no_point)?;
    bytes.is_little = order == 1;
    let of = bytes.take().map(u32::from_le_bytes).ok_or_else(no_point)?;
    if of & HAS_SRID != 0 {
        let srid = bytes.take().map(u32::from_le_bytes).ok_or_else(no_point)?;
        if !SRIDS.contains(&srid) {
            return Err(other_srid());
        }
    }
    // ISO counts dimensions in thousands, PostGIS in flags.
    let plain = of & !(HAS_Z | HAS_M | HAS_SRID);
    let more = usize::from(of & HAS_Z != 0) + usize::from(of & HAS_M != 0) + [0, 1, 1, 2][(plain / 1000 % 4) as usize];
    if plain % 1000 != 1 || plain > 3001 {
        return Err(no_point());
    }
    let mut number = || bytes.take().map(f64::from_le_bytes).ok_or_else(no_point);
    let (lon, lat) = (number()?, number()?);
    (0..more).try_for_each(|_| number().map(drop))?;
    match bytes.digits {
        [] if lon.is_nan() && lat.is_nan() => Ok(Point::Empty),
        [] => Ok(Point::At { lat, lon }),
        _ => Err(no_point()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As PostGIS writes them: `select st_asewkb(…)`, `st_astext(…)` and so on.
    #[test]
    fn every_form_of_a_point_is_read() {
        let berlin = Point::At { lat: 52.5, lon: 13.5 };
        for text in [
            "POINT(13.5 52.5)",
            "point ( 13.5  52.5 )",
            "SRID=4326;POINT(13.5 52.5)",
            "POINT Z (13.5 52.5 34)",
            "POINTZM(13.5 52.5 34 1)",
            "(13.5,52.5)",
            "01010000000000000000002B400000000000404A40",
            "0101000020E61000000000000000002B400000000000404A40",
            "0101000020e61000000000000000002b400000000000404a40",
            "0000000001402B000000000000404A400000000000",
            "01010000800000000000002B400000000000404A400000000000000000",
            "01E90300000000000000002B400000000000404A400000000000000000",
        ] {
            assert_eq!(parse(text), Ok(berlin), "{text}");
        }
        for text in ["POINT EMPTY", "SRID=4326;POINT Z EMPTY", "0101000000000000000000F87F000000000000F87F"] {
            assert_eq!(parse(text), Ok(Point::Empty), "{text}");
        }
    }

    #[test]
    fn what_is_no_point_is_told_apart() {
        let code = |text: &str| parse(text).unwrap_err().code().to_owned();
        for text in [
            "",
            "0",
            "01",
            "02",
            "POINT",
            "POINT(1)",
            "POINT(1 2",
            "POINT(a b)",
            "POLYGON((0 0,1 1,1 0,0 0))",
            "POINTé(1 2)",
            "(1 2)",
            "SRID=;POINT(1 2)",
            "01010000000000000000002B400000000000404A",
            "01010000000000000000002B400000000000404A4000",
            "01020000000000000000002B400000000000404A40",
            "0101000000zz00000000002B400000000000404A40",
        ] {
            assert_eq!(code(text), "geo_point", "{text}");
        }
        assert_eq!(code("SRID=3857;POINT(1 2)"), "geo_srid");
        assert_eq!(code("0101000020110F00000000000000002B400000000000404A40"), "geo_srid");
    }
}
