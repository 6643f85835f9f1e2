use std::fmt;
use std::str::FromStr;

/// A position in the write-ahead log, written as Postgres writes it: `16/B374D848`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    pub const ZERO: Lsn = Lsn(0);
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseLsnError(String);

impl fmt::Display for ParseLsnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not an LSN: it looks like 16/B374D848", self.0)
    }
}

impl std::error::Error for ParseLsnError {}

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Lsn, ParseLsnError> {
        let fail = || ParseLsnError(text.to_owned());
        let (high, low) = text.split_once('/').ok_or_else(fail)?;
        let half = |part: &str| match part.len() {
            1..=8 if part.bytes().all(|b| b.is_ascii_hexdigit()) => u64::from_str_radix(part, 16).map_err(|_| fail()),
            _ => Err(fail()),
        };
        Ok(Lsn(half(high)? << 32 | half(low)?))
    }
}

/// A range of whole commits, half-open like the slot's own account: after `from`, up to and with `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LsnSpan {
    from: Lsn,
    to: Lsn,
}

/// A span whose end lies before its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanError {
    pub from: Lsn,
    pub to: Lsn,
}

impl fmt::Display for SpanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a span cannot end at {} before its start {}", self.to, self.from)
    }
}

impl std::error::Error for SpanError {}

impl LsnSpan {
    pub fn new(from: Lsn, to: Lsn) -> Result<LsnSpan, SpanError> {
        if to < from {
            return Err(SpanError { from, to });
        }
        Ok(LsnSpan { from, to })
    }

    pub fn from(self) -> Lsn {
        self.from
    }

    pub fn to(self) -> Lsn {
        self.to
    }

    pub fn contains(self, lsn: Lsn) -> bool {
        self.from < lsn && lsn <= self.to
    }
}

impl fmt::Display for LsnSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {}]", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lsn_reads_what_it_writes() {
        for lsn in [Lsn(0), Lsn(0x16_B374_D848), Lsn(u64::MAX)] {
            assert_eq!(lsn.to_string().parse(), Ok(lsn));
        }
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
    }

    #[test]
    fn what_is_no_lsn_is_named() {
        for text in ["", "/", "16", "16/", "/1", "G/0", "123456789/0", "1/2/3", "+1/2", " 1/2"] {
            assert!(text.parse::<Lsn>().unwrap_err().to_string().contains(text));
        }
    }

    #[test]
    fn a_span_excludes_its_start() {
        let span = LsnSpan::new(Lsn(8), Lsn(16)).unwrap();
        assert!(!span.contains(Lsn(8)) && span.contains(Lsn(9)) && span.contains(Lsn(16)) && !span.contains(Lsn(17)));
        assert!(LsnSpan::new(Lsn(16), Lsn(8)).is_err());
    }
}
