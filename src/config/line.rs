//! One line of configuration as words, and a word as it is written back: `sdssplitargs` and `sdscatrepr`.
//!
//! Ours is one addition: a comment may follow the arguments (see `Line::parse`).

/// A line's words, unquoted, and where its trailing comment begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The directive's name and its arguments; empty for a blank line or a comment.
    pub words: Vec<Vec<u8>>,
    /// The offset of the comment's `#`, where there is one.
    pub comment: Option<usize>,
}

/// A quote that is not closed, or that is closed in the middle of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unbalanced;

impl Line {
    /// Splits a line of a configuration file.
    ///
    /// A word that begins with a bare `#` starts a comment if the directive has an argument before it: the first
    /// argument may begin with `#` (`requirepass #secret`), as in every file that stock Redis accepts. On the lines
    /// whose arguments often do (`user alice on #<hash of a password>`) only a `#` that stands alone starts a comment.
    pub fn parse(line: &[u8]) -> Result<Line, Unbalanced> {
        let mut parsed = Line::default();
        let mut at = 0;
        loop {
            at += blanks(&line[at..]);
            if at == line.len() {
                return Ok(parsed);
            }
            if line[at] == b'#' && parsed.may_end_at(&line[at..]) {
                parsed.comment = Some(at);
                return Ok(parsed);
            }
            let (word, length) = take_word(&line[at..])?;
            parsed.words.push(word);
            at += length;
        }
    }

    fn may_end_at(&self, rest: &[u8]) -> bool {
        let Some(directive) = self.words.first() else { return true };
        let has_hash_arguments =
            [&b"user"[..], b"loadmodule"].iter().any(|name| directive.eq_ignore_ascii_case(name));
        self.words.len() > 1 && (!has_hash_arguments || rest.get(1).is_none_or(|&next| is_blank(next)))
    }
}

/// Splits text into words with redis-cli's quoting, no comments: `sdssplitargs`.
pub fn split(text: &[u8]) -> Result<Vec<Vec<u8>>, Unbalanced> {
    let mut words = Vec::new();
    let mut at = blanks(text);
    while at < text.len() {
        let (word, length) = take_word(&text[at..])?;
        words.push(word);
        at += length;
        at += blanks(&text[at..]);
    }
    Ok(words)
}

/// A word in double quotes, so that `split` gives it back: `sdscatrepr`.
pub fn quoted(word: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'];
    for &byte in word {
        match byte {
            b'\\' | b'"' => text.extend([b'\\', byte]),
            b'\n' => text.extend(b"\\n"),
            b'\r' => text.extend(b"\\r"),
            b'\t' => text.extend(b"\\t"),
            0x07 => text.extend(b"\\a"),
            0x08 => text.extend(b"\\b"),
            b' '..=b'~' => text.push(byte),
            _ => text.extend(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    text.push(b'"');
    text
}

/// A word as it is, where that reads back as the same word anywhere on a line; else in double quotes.
pub(super) fn quoted_if_needed(word: &[u8]) -> Vec<u8> {
    let is_plain = |byte: &u8| matches!(byte, b'!'..=b'~') && !b"\"'\\#".contains(byte);
    if !word.is_empty() && word.iter().all(is_plain) {
        word.to_vec()
    } else {
        quoted(word)
    }
}

/// `isspace` in the C locale.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn blanks(text: &[u8]) -> usize {
    text.iter().take_while(|&&byte| is_blank(byte)).count()
}

/// The word at the head of `text`, which is not blank, and its length there.
fn take_word(text: &[u8]) -> Result<(Vec<u8>, usize), Unbalanced> {
    let mut word = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b' ' | b'\n' | b'\r' | b'\t' => break,
            // A quoted part may begin in the middle of a word, but it ends the word.
            quote @ (b'"' | b'\'') => {
                at += 1 + take_quoted(&text[at + 1..], quote, &mut word)?;
                if text.get(at).is_some_and(|&next| !is_blank(next)) {
                    return Err(Unbalanced);
                }
                break;
            }
            byte => {
                word.push(byte);
                at += 1;
            }
        }
    }
    Ok((word, at))
}

/// Appends what stands between the quotes to `word`; `text` begins after the opening one. Returns the length taken,
/// the closing quote included.
fn take_quoted(text: &[u8], quote: u8, word: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    let mut at = 0;
    loop {
        let (byte, length) = match (quote, &text[at..]) {
            (_, []) => return Err(Unbalanced),
            (_, [byte, ..]) if *byte == quote => return Ok(at + 1),
            (b'"', [b'\\', b'x', high, low, ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex_digit(*high) << 4 | hex_digit(*low), 4)
            }
            (b'"', [b'\\', escaped, ..]) => (unescaped(*escaped), 2),
            (b'\'', [b'\\', b'\'', ..]) => (b'\'', 2),
            (_, [byte, ..]) => (*byte, 1),
        };
        word.push(byte);
        at += length;
    }
}

fn unescaped(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        let line = Line::parse(line.as_bytes()).unwrap();
        line.words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect()
    }

    #[test]
    fn quotes_and_escapes() {
        assert_eq!(words(r#"a "b c" 'd e' f"g h""#), ["a", "b c", "d e", "fg h"]);
        assert_eq!(words(r#"a "\x41\n\r\t\"\\\q" '\'\n' """#), ["a", "A\n\r\t\"\\q", "'\\n", ""]);
        assert_eq!(words(r#"a "\b\a\xzz""#), ["a", "\u{8}\u{7}xzz"]);
        for bad in [r#"a "b"#, r#"a "b"c"#, "a 'b", "a 'b'c", r#"a "b\"#] {
            assert_eq!(Line::parse(bad.as_bytes()), Err(Unbalanced), "{bad}");
        }
    }

    #[test]
    fn a_comment_may_follow_the_arguments() {
        assert_eq!(words("port 6379   # don't use \"7000"), ["port", "6379"]);
        assert_eq!(words("requirepass <password>     # Set it"), ["requirepass", "<password>"]);
        assert_eq!(words("rename-command CONFIG \"\"   # off"), ["rename-command", "CONFIG", ""]);
        assert_eq!(words("  # only a comment"), [""; 0]);
        assert_eq!(words("dir /a#b"), ["dir", "/a#b"]);
        assert_eq!(words("dir \"#\" '#x'"), ["dir", "#", "#x"]);
        assert_eq!(Line::parse(b"port 1 #x").unwrap().comment, Some(7));
    }

    #[test]
    fn a_hash_that_redis_takes_as_an_argument_is_no_comment() {
        assert_eq!(words("requirepass #secret"), ["requirepass", "#secret"]);
        assert_eq!(words("USER bob on #2bb80d53 ~* # Bob"), ["USER", "bob", "on", "#2bb80d53", "~*"]);
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_read_back(word: Vec<u8>, next in "[a-z]{1,5}") {
            let mut line = b"name ".to_vec();
            line.extend(quoted(&word));
            line.push(b' ');
            line.extend(quoted_if_needed(&word));
            line.push(b' ');
            line.extend(next.as_bytes());
            let expected = vec![b"name".to_vec(), word.clone(), word, next.into_bytes()];
            prop_assert_eq!(&Line::parse(&line).unwrap().words, &expected);
            prop_assert_eq!(split(&line).unwrap(), expected);
        }

        #[test]
        fn never_panics(line: Vec<u8>) {
            let _ = Line::parse(&line);
            let _ = split(&line);
        }
    }
}
