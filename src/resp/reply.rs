//! Walking over replies that are already bytes: what a coordinator gets back from the shards.

/// Where the first RESP value in `bytes` ends; `None` if it is not whole or not RESP.
pub fn value_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Values still to skip: one, and the elements of each aggregate met on the way. No recursion: depth is data.
    let mut pending = 1u64;
    while pending > 0 {
        let line_end = memchr::memchr(b'\n', bytes.get(at..)?)? + at + 1;
        let line = bytes.get(at + 1..line_end.checked_sub(2)?)?;
        pending -= 1;
        match bytes[at] {
            b'$' | b'=' | b'!' => {
                let len = crate::base::num::parse_i64(line)?;
                at = if len < 0 { line_end } else { line_end.checked_add(len as usize)?.checked_add(2)? };
            }
            kind @ (b'*' | b'~' | b'>' | b'%' | b'|') => {
                let len = crate::base::num::parse_i64(line)?.max(0) as u64;
                let values = if matches!(kind, b'%' | b'|') { len.checked_mul(2)? } else { len };
                pending = pending.checked_add(values)?;
                // An attribute comes before the value that it describes.
                pending += u64::from(kind == b'|');
                at = line_end;
            }
            _ => at = line_end,
        }
    }
    (at <= bytes.len()).then_some(at)
}

/// The first error in a row of replies, in whatever depth: its line.
pub fn first_error(bytes: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    while let Some(&kind) = bytes.get(at) {
        let line_end = memchr::memchr(b'\n', &bytes[at..])? + at + 1;
        at = match kind {
            b'-' => return bytes.get(at..line_end - 2),
            // Its elements are looked at one by one.
            b'*' | b'~' | b'>' | b'%' | b'|' => line_end,
            _ => at + value_end(&bytes[at..])?,
        };
    }
    None
}

/// The integer that `bytes` hold as a `:` reply.
pub fn as_int(bytes: &[u8]) -> Option<i64> {
    let line = bytes.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    crate::base::num::parse_i64(line)
}

/// The string that `bytes` hold as one `$` reply; `None` for a null or anything else.
pub fn as_bulk(bytes: &[u8]) -> Option<&[u8]> {
    let head = bytes.strip_prefix(b"$")?;
    let line_end = memchr::memchr(b'\r', head)?;
    let len = usize::try_from(crate::base::num::parse_i64(&head[..line_end])?).ok()?;
    head.get(line_end + 2..line_end + 2 + len)
}

/// The elements of the array that `bytes` hold, each as its own RESP bytes.
pub fn elements(bytes: &[u8]) -> Elements<'_> {
    let rest = match (bytes.first(), memchr::memchr(b'\n', bytes)) {
        (Some(b'*'), Some(end)) => &bytes[end + 1..],
        _ => &[],
    };
    Elements { rest }
}

/// See `elements`.
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (value, rest) = self.rest.split_at_checked(value_end(self.rest)?)?;
        self.rest = rest;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_and_what_looks_like_one_is_not() {
        assert_eq!(first_error(b"+OK\r\n$4\r\na\n-b\r\n:1\r\n"), None);
        assert_eq!(first_error(b"*2\r\n+OK\r\n*1\r\n-ERR x\r\n-ERR y\r\n"), Some(&b"-ERR x"[..]));
        assert_eq!(first_error(b"$-1\r\n-ERR z\r\n"), Some(&b"-ERR z"[..]));
        assert_eq!(first_error(b""), None);
        assert_eq!(first_error(b"-\r\n"), Some(&b"-"[..]));
        assert_eq!(first_error(b"-\n"), Some(&b""[..]));
    }

    #[test]
    fn errors_are_told_from_data() {
        let error: &[u8] = b"-ERR no";
        for (replies, found) in [
            (&b""[..], None),
            (b"+OK\r\n:-5\r\n$2\r\n-5\r\n$-1\r\n*-1\r\n", None),
            (b"$8\r\na\r\n-ERR \r\n*2\r\n$0\r\n\r\n+-x\r\n", None),
            (b"-ERR no\r\n+OK\r\n", Some(error)),
            (b"*3\r\n+OK\r\n$4\r\n\n-X\n\r\n-ERR no\r\n", Some(error)),
            (b"$-1\r\n-ERR no\r\n", Some(error)),
        ] {
            assert_eq!(first_error(replies), found, "{}", replies.escape_ascii());
        }
    }

    #[test]
    fn values_end_where_they_should() {
        for value in [
            "+OK\r\n",
            ":12\r\n",
            "$-1\r\n",
            "$5\r\nhel\r\n\r\n",
            "*0\r\n",
            "*-1\r\n",
            "_\r\n",
            "#t\r\n",
            ",1.5\r\n",
            "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
            "%1\r\n+a\r\n~1\r\n:1\r\n",
            "=7\r\ntxt:abc\r\n",
            "|1\r\n+k\r\n+v\r\n:5\r\n",
        ] {
            let bytes = format!("{value}+MORE\r\n");
            assert_eq!(value_end(bytes.as_bytes()), Some(value.len()), "{value:?}");
            for cut in 0..value.len() {
                assert_eq!(value_end(&value.as_bytes()[..cut]), None, "{value:?} cut at {cut}");
            }
        }
        let nested: Vec<&[u8]> = elements(b"*3\r\n$1\r\na\r\n*1\r\n:1\r\n$-1\r\n").collect();
        assert_eq!(nested, [&b"$1\r\na\r\n"[..], b"*1\r\n:1\r\n", b"$-1\r\n"]);
        assert_eq!(as_int(b":-5\r\n"), Some(-5));
        assert_eq!(as_bulk(b"$2\r\nab\r\n"), Some(&b"ab"[..]));
        assert_eq!(as_bulk(b"$-1\r\n"), None);
    }
}
