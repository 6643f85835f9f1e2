//! `like` and `ilike`: `%` is any text, `_` one character. Compiled once to what can be decided by comparing bytes.

use tidemill_sdk::Bytes;

use crate::bits::Bits;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Bytes(Vec<u8>),
    /// `_`
    One,
    /// `%`
    Any,
}

/// The frequent patterns need no search back and forth.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    Equal(Vec<u8>),
    Begins(Vec<u8>),
    Ends(Vec<u8>),
    Contains(Vec<u8>),
    General(Parts),
}

#[derive(Clone, Debug)]
pub(crate) struct Parts(Vec<Part>);

/// Why a pattern is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndsWithEscape;

impl Pattern {
    pub fn new(pattern: &str, escape: Option<char>) -> Result<Pattern, EndsWithEscape> {
        let mut parts = Vec::new();
        let mut bytes = Vec::new();
        let mut chars = pattern.chars();
        let flush = |parts: &mut Vec<Part>, bytes: &mut Vec<u8>, part: Option<Part>| {
            if !bytes.is_empty() {
                parts.push(Part::Bytes(std::mem::take(bytes)));
            }
            // Two `%` are one.
            parts.extend(part.filter(|part| *part != Part::Any || parts.last() != Some(&Part::Any)));
        };
        while let Some(char) = chars.next() {
            match char {
                char if Some(char) == escape => {
                    let literal = chars.next().ok_or(EndsWithEscape)?;
                    bytes.extend_from_slice(literal.encode_utf8(&mut [0; 4]).as_bytes());
                }
                '%' => flush(&mut parts, &mut bytes, Some(Part::Any)),
                '_' => flush(&mut parts, &mut bytes, Some(Part::One)),
                char => bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        flush(&mut parts, &mut bytes, None);
        Ok(match parts.as_mut_slice() {
            [] => Pattern::Equal(Vec::new()),
            [Part::Bytes(bytes)] => Pattern::Equal(std::mem::take(bytes)),
            [Part::Bytes(bytes), Part::Any] => Pattern::Begins(std::mem::take(bytes)),
            [Part::Any, Part::Bytes(bytes)] => Pattern::Ends(std::mem::take(bytes)),
            [Part::Any, Part::Bytes(bytes), Part::Any] => Pattern::Contains(std::mem::take(bytes)),
            _ => Pattern::General(Parts(parts)),
        })
    }

    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            Pattern::Equal(bytes) => same(text, bytes),
            Pattern::Begins(bytes) => begins(text, bytes),
            Pattern::Ends(bytes) => text.ends_with(bytes),
            Pattern::Contains(bytes) => find(text, bytes),
            Pattern::General(parts) => general(&parts.0, text),
        }
    }

    /// A bit for each text, with a loop for each kind of pattern.
    pub fn find_in(&self, texts: Bytes<'_>) -> Bits {
        match self {
            Pattern::Equal(bytes) => find_equal(bytes, texts),
            Pattern::Begins(bytes) => find_start(bytes, texts, |_| true),
            other => Bits::of_texts(texts, |text| other.matches(text)),
        }
    }
}

/// A bit for each text that is the same.
pub(crate) fn find_equal(value: &[u8], texts: Bytes<'_>) -> Bits {
    let len = value.len();
    find_start(value, texts, move |text| text.len() == len)
}

/// A bit for each text that begins so and passes the test, with a loop for each length of what it begins with.
fn find_start(start: &[u8], texts: Bytes<'_>, test: impl Fn(&[u8]) -> bool) -> Bits {
    let len = start.len();
    macro_rules! ends_of {
        ($word:ident) => {{
            let (Some(first), Some(last)) = (start.first_chunk(), start.last_chunk()) else {
                unreachable!("chosen by its length")
            };
            let (first, last) = ($word::from_le_bytes(*first), $word::from_le_bytes(*last));
            let is = |bytes: Option<&_>, word| bytes.is_some_and(|bytes| $word::from_le_bytes(*bytes) == word);
            let more = (len - size_of::<$word>()) as u8;
            Bits::of_texts(texts, move |text| {
                // Said in this way, the compiler knows that both words fit.
                let len = size_of::<$word>() + usize::from(more);
                text.get(..len).is_some_and(|text| is(text.first_chunk(), first) && is(text.last_chunk(), last))
                    && test(text)
            })
        }};
    }
    match len {
        2..=3 => ends_of!(u16),
        4..=7 => ends_of!(u32),
        8..=16 => ends_of!(u64),
        _ => Bits::of_texts(texts, |text| begins(text, start) && test(text)),
    }
}

/// Equality that decides most rows by length and first bytes: wasm has no fast `memcmp`.
#[inline]
pub(crate) fn same(text: &[u8], other: &[u8]) -> bool {
    text.len() == other.len() && begins(text, other)
}

#[inline]
fn begins(text: &[u8], start: &[u8]) -> bool {
    if text.len() < start.len() {
        return false;
    }
    let (words, rest) = start.as_chunks::<8>();
    let (text_words, text_rest) = text[..start.len()].as_chunks::<8>();
    words.iter().zip(text_words).all(|(a, b)| u64::from_le_bytes(*a) == u64::from_le_bytes(*b))
        && rest.iter().zip(text_rest).all(|(a, b)| a == b)
}

fn find(text: &[u8], part: &[u8]) -> bool {
    let Some(first) = part.first() else { return true };
    let last = text.len().wrapping_sub(part.len());
    text.len() >= part.len() && (0..=last).any(|at| text[at] == *first && text[at..].starts_with(part))
}

/// Walks both; where it does not go on, the last `%` takes one character more.
fn general(parts: &[Part], text: &[u8]) -> bool {
    let (mut part, mut at) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        let goes_on = match parts.get(part) {
            None if at == text.len() => return true,
            None => None,
            Some(Part::Any) => {
                back = Some((part + 1, at));
                part += 1;
                continue;
            }
            Some(Part::One) => (at < text.len()).then(|| next_char(text, at)),
            Some(Part::Bytes(bytes)) => text[at..].starts_with(bytes).then_some(bytes.len()),
        };
        if let Some(by) = goes_on {
            (part, at) = (part + 1, at + by);
            continue;
        }
        let Some((after, from)) = &mut back else { return false };
        if *from >= text.len() {
            return false;
        }
        *from += next_char(text, *from);
        (part, at) = (*after, *from);
    }
}

/// The length of the character that begins here.
fn next_char(text: &[u8], at: usize) -> usize {
    1 + text[at + 1..].iter().take_while(|byte| **byte & 0xc0 == 0x80).count()
}

/// A pattern for `ilike`.
#[derive(Clone, Debug)]
pub(crate) struct IgnoreCase(Pattern);

impl IgnoreCase {
    /// Of a pattern in ASCII, in lower case.
    pub fn new(pattern: Pattern) -> IgnoreCase {
        IgnoreCase(pattern)
    }

    /// Under collation C: letters beyond ASCII have no case.
    pub fn matches_c(&self, text: &[u8], scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        scratch.extend(text.iter().map(u8::to_ascii_lowercase));
        self.0.matches(scratch)
    }

    /// None where it depends on the locale: the text has letters beyond ASCII, and whether those are made small matters.
    pub fn matches(&self, text: &str, scratch: &mut Vec<u8>) -> Option<bool> {
        scratch.clear();
        scratch.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
        let plain = self.0.matches(scratch);
        if text.is_ascii() {
            return Some(plain);
        }
        let small: String = text.chars().flat_map(char::to_lowercase).collect();
        // This letter becomes one letter or two.
        let is_sure = !text.contains('\u{130}') && self.0.matches(small.as_bytes()) == plain;
        is_sure.then_some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::tests::with_texts;

    #[test]
    fn patterns_match_as_in_postgres() {
        for (text, pattern, matches) in [
            ("", "", true),
            ("", "%", true),
            ("", "_", false),
            ("abc", "abc", true),
            ("abc", "a%", true),
            ("abc", "%c", true),
            ("abc", "%b%", true),
            ("abc", "%d%", false),
            ("abc", "___", true),
            ("abc", "__", false),
            ("abc", "_%_", true),
            ("añb", "a_b", true),
            ("a日本b", "a__b", true),
            ("a日本b", "a_b", false),
            ("abc", "%%%", true),
            ("abcabc", "%abc", true),
            ("ababab", "a%ab", true),
            ("ab", "a%ab", false),
            ("a%c", r"a\%c", true),
            ("abc", r"a\%c", false),
            (r"a\c", r"a\\c", true),
            ("aXbXc", "a%X_", true),
            ("mississippi", "m%iss%ip%i", true),
            ("mississippi", "m%iss%ipp", false),
            ("%", r"\%", true),
        ] {
            assert_eq!(
                Pattern::new(pattern, Some('\\')).unwrap().matches(text.as_bytes()),
                matches,
                "{text} like {pattern}"
            );
        }
        assert!(Pattern::new("a!%", Some('!')).unwrap().matches(b"a%"));
        assert!(Pattern::new(r"a\%", None).unwrap().matches(br"a\bc"));
        assert_eq!(Pattern::new(r"a\", Some('\\')).unwrap_err(), EndsWithEscape);
    }

    /// What columns are searched with is chosen by the length of what is looked for.
    #[test]
    fn a_column_is_searched_as_its_texts_are() {
        let alphabet = "abcdefghijklmnopqrstuvwxyz";
        let texts: Vec<String> = (0..=alphabet.len())
            .flat_map(|len| [alphabet[..len].to_owned(), format!("{}x", &alphabet[..len]), "x".repeat(len)])
            .collect();
        for len in 0..=alphabet.len() {
            for pattern in [&alphabet[..len], &format!("{}%", &alphabet[..len]), &format!("%{}", &alphabet[..len])] {
                let pattern = Pattern::new(pattern, None).unwrap();
                let found = with_texts(&texts, |texts| pattern.find_in(texts));
                assert_eq!(
                    found,
                    Bits::by_row(texts.len(), |row| pattern.matches(texts[row].as_bytes())),
                    "{pattern:?}"
                );
            }
        }
    }

    #[test]
    fn case_is_ignored_where_no_locale_could_differ() {
        let matches = |text: &str, pattern: &str| {
            IgnoreCase::new(Pattern::new(pattern, Some('\\')).unwrap()).matches(text, &mut Vec::new())
        };
        assert_eq!(matches("HeLLo", "hello"), Some(true));
        assert_eq!(matches("HÉllo", "h_llo"), Some(true));
        assert_eq!(matches("Éa", "%b"), Some(false));
        // The Kelvin sign is a `k` in some locales, and none in others.
        assert_eq!(matches("\u{212a}", "k"), None);
        assert_eq!(matches("\u{130}", "_"), None);
    }
}
