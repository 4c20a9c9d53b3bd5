//! Glob patterns as Redis matches them (KEYS, SCAN MATCH, PSUBSCRIBE, CONFIG GET, ACL): `*`, `?`, `[a-z]`, `[^x]`,
//! `\x`.
//!
//! The match runs in `pattern * text` steps at worst: a failed match goes back to the last `*` only, because every
//! other element takes exactly one byte, so an earlier `*` taking more could not help. Nothing recurses.

/// Whether `pattern` matches all of `text`; `nocase` folds ASCII letters.
///
/// Redis's corner cases are kept: an empty text is matched by the empty pattern only, an unclosed class ends with the
/// pattern, a final `\` stands for itself, an escaped byte inside a class is compared with its case, and the bounds of
/// a range are signed bytes.
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // Where the pattern goes on after the last `*`, and the first byte of the text that this `*` has not taken.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += run_of_stars(&pattern[p..]);
            if p == pattern.len() {
                return true;
            }
            retry = Some((p, t));
            continue;
        }
        if let Some(taken) = one_byte(&pattern[p..], text[t], nocase) {
            p += taken;
            t += 1;
            continue;
        }
        let Some((after_star, untaken)) = retry else { return false };
        (p, t) = (after_star, untaken + 1);
        retry = Some((p, t));
    }
    p + run_of_stars(&pattern[p..]) == pattern.len()
}

/// Whether `pattern` has a character that makes it more than a plain name, by CONFIG GET's rule.
pub fn is_pattern(pattern: &[u8]) -> bool {
    pattern.iter().any(|byte| b"[*?".contains(byte))
}

fn run_of_stars(pattern: &[u8]) -> usize {
    pattern.iter().take_while(|&&byte| byte == b'*').count()
}

/// How many bytes of the pattern the element at its head has, if that element matches `byte`.
fn one_byte(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    let (literal, length) = match *pattern.first()? {
        b'?' => return Some(1),
        b'[' => return class(pattern, byte, nocase),
        b'\\' if pattern.len() > 1 => (pattern[1], 2),
        literal => (literal, 1),
    };
    is_same(literal, byte, nocase).then_some(length)
}

/// The same for a class; `pattern` starts with its `[`.
fn class(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    let is_negated = pattern.get(1) == Some(&b'^');
    let mut p = if is_negated { 2 } else { 1 };
    let mut is_member = false;
    let length = loop {
        match pattern[p..] {
            [] => break p,
            [b'\\', escaped, ..] => {
                is_member |= escaped == byte;
                p += 2;
            }
            [b']', ..] => break p + 1,
            [from, b'-', to, ..] => {
                is_member |= is_between(from, to, byte, nocase);
                p += 3;
            }
            [member, ..] => {
                is_member |= is_same(member, byte, nocase);
                p += 1;
            }
        }
    };
    (is_member != is_negated).then_some(length)
}

fn is_same(a: u8, b: u8, nocase: bool) -> bool {
    a == b || nocase && a.eq_ignore_ascii_case(&b)
}

fn is_between(from: u8, to: u8, byte: u8, nocase: bool) -> bool {
    // Redis puts the bounds in order before it folds their case, so that `[Z-a]` without case matches nothing.
    let (mut low, mut high, mut byte) = ((from as i8).min(to as i8), (from as i8).max(to as i8), byte as i8);
    if nocase {
        for letter in [&mut low, &mut high, &mut byte] {
            *letter = (*letter as u8).to_ascii_lowercase() as i8;
        }
    }
    (low..=high).contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn matches_what_redis_matches() {
        let table: &[(&str, &str, bool)] = &[
            ("", "", true),
            ("*", "", false),
            ("**", "a", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "bca", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hbllo", true),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            (r"h\*llo", "h*llo", true),
            (r"h\*llo", "hxllo", false),
            (r"a\", r"a\", true),
            ("[abc", "b", true),
            ("[^abc", "b", false),
            ("[", "[", false),
            ("[^", "x", true),
            ("[a-]", "b", false),
            ("[a-]", "^", true),
            (r"[\]]", "]", true),
            (r"[\a-c]", "b", false),
            ("*[0-9]?end", "x17-end", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
        ];
        for &(pattern, text, expected) in table {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), false), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn folds_case_only_where_redis_does() {
        assert!(matches(b"MAXmem*", b"maxmemory", true));
        assert!(!matches(b"MAXmem*", b"maxmemory", false));
        assert!(matches(b"[A-C]", b"b", true));
        assert!(!matches(br"[\A]", b"a", true));
    }

    #[test]
    fn many_stars_stay_cheap() {
        let pattern = b"a*".repeat(500);
        let mut text = vec![b'a'; 20_000];
        text.push(b'b');
        assert!(matches(&pattern, &text, false));
        let pattern = [&pattern[..], b"c"].concat();
        assert!(!matches(&pattern, &text, false));
    }

    /// The definition, by trying everything; exponential, so for short texts only.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|n| by_definition(rest, &text[n..])),
            (_, [byte, text @ ..]) => {
                one_byte(pattern, *byte, false).is_some_and(|length| by_definition(&pattern[length..], text))
            }
            (_, []) => pattern.is_empty(),
        }
    }

    proptest! {
        #[test]
        fn equals_its_definition(pattern in r"[ab*?\[\]^\\-]{0,10}", text in "[ab]{1,8}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text, false), by_definition(pattern, text));
        }

        #[test]
        fn never_panics(pattern: Vec<u8>, text: Vec<u8>, nocase: bool) {
            matches(&pattern, &text, nocase);
        }
    }
}
