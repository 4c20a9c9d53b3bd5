//! A request's arguments as places in the bytes that brought them.

/// One argument: where it lies in the buffer that its request came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte, from the start of the buffer.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// The bytes of this span in `buffer`.
    ///
    /// # Panics
    /// If the span does not lie in the buffer; the decoder makes only spans that do.
    #[inline]
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.offset as usize..][..self.len as usize]
    }

    /// The same span in a buffer in which everything stands `by` bytes earlier.
    #[inline]
    pub fn earlier(self, by: u32) -> Span {
        Span { offset: self.offset - by, len: self.len }
    }
}

/// The arguments of one request, the command's name first. Never empty. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buffer: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// The arguments that lie at `spans` in `buffer`.
    #[inline]
    pub fn new(buffer: &'a [u8], spans: &'a [Span]) -> Self {
        Args { buffer, spans }
    }

    /// How many arguments, the name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is not even a name; the decoder never makes such a request.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `index`, 0 being the command's name.
    ///
    /// # Panics
    /// If there are not that many: the arity was checked before a command runs.
    #[inline]
    pub fn at(&self, index: usize) -> &'a [u8] {
        self.spans[index].of(self.buffer)
    }

    /// The argument at `index`, if there is one.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| span.of(self.buffer))
    }

    /// The arguments from `index` on.
    #[inline]
    pub fn iter_from(&self, index: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let buffer = self.buffer;
        self.spans[index.min(self.spans.len())..].iter().map(move |span| span.of(buffer))
    }

    /// Whether the argument at `index` is `word`, in either case.
    #[inline]
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.at(index).eq_ignore_ascii_case(word.as_bytes())
    }

    /// The places of the arguments.
    pub fn spans(&self) -> &'a [Span] {
        self.spans
    }

    /// The buffer that the places refer to.
    pub fn buffer(&self) -> &'a [u8] {
        self.buffer
    }

    /// The request as it came, if it stands around its arguments as an array of bulk strings: exactly the bytes that
    /// they would be written as. None where they came otherwise: inline, or as a copy.
    #[inline]
    pub fn as_request(&self) -> Option<&'a [u8]> {
        let first = self.spans.first()?.offset as usize;
        let mut end = first;
        let mut start = 0;
        for (index, span) in self.spans.iter().enumerate() {
            let offset = span.offset as usize;
            let head = head_before(self.buffer, offset, b'$', span.len as usize)?;
            match index {
                0 => start = head_before(self.buffer, head, b'*', self.spans.len())?,
                _ if head != end => return None,
                _ => {}
            }
            end = offset + span.len as usize + 2;
            if self.buffer.get(end - 2..end)? != b"\r\n" {
                return None;
            }
        }
        Some(&self.buffer[start..end])
    }

    /// A copy that owns its bytes, for a request that has to wait or to go to another core.
    pub fn to_owned(&self) -> OwnedArgs {
        let bytes = self.spans.iter().map(|span| span.len as usize).sum();
        let mut owned = OwnedArgs::with_room(self.len(), bytes);
        self.iter_from(0).for_each(|arg| owned.push(arg));
        owned
    }
}

/// Where a line begins that ends at `end` and is this kind of head with this number.
#[inline]
fn head_before(buffer: &[u8], end: usize, kind: u8, number: usize) -> Option<usize> {
    let mut at = end.checked_sub(3)?;
    if buffer.get(at + 1..end)? != b"\r\n" {
        return None;
    }
    let mut rest = number;
    loop {
        if buffer[at] != b'0' + (rest % 10) as u8 {
            return None;
        }
        (rest, at) = (rest / 10, at.checked_sub(1)?);
        if rest == 0 {
            return (buffer[at] == kind).then_some(at);
        }
    }
}

/// Arguments that own their bytes.
#[derive(Clone, Debug, Default)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgs {
    /// None, with room for so many, and so many bytes in all.
    pub fn with_room(args: usize, bytes: usize) -> Self {
        OwnedArgs { bytes: Vec::with_capacity(bytes), spans: Vec::with_capacity(args) }
    }

    /// Copies the arguments given.
    pub fn collect<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut owned = OwnedArgs::default();
        for arg in args {
            owned.push(arg);
        }
        owned
    }

    /// Adds one argument at the end.
    pub fn push(&mut self, arg: &[u8]) {
        self.spans.push(Span { offset: self.bytes.len() as u32, len: arg.len() as u32 });
        self.bytes.extend_from_slice(arg);
    }

    /// A view of them.
    pub fn as_args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }

    /// Bytes held, for limits and accounting.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * std::mem::size_of::<Span>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    fn spans(places: &[(usize, usize)]) -> Vec<Span> {
        places.iter().map(|&(offset, len)| Span { offset: offset as u32, len: len as u32 }).collect()
    }

    fn written(args: &[Vec<u8>]) -> (Vec<u8>, Vec<(usize, usize)>) {
        let (mut bytes, mut places) = (format!("*{}\r\n", args.len()).into_bytes(), Vec::new());
        for arg in args {
            bytes.extend(format!("${}\r\n", arg.len()).bytes());
            places.push((bytes.len(), arg.len()));
            bytes.extend(arg);
            bytes.extend(b"\r\n");
        }
        (bytes, places)
    }

    #[test]
    fn a_request_is_found_around_its_arguments() {
        let mut prng = Prng::new(1);
        for _ in 0..200 {
            let count = 1 + prng.below(12) as usize;
            let args: Vec<Vec<u8>> = (0..count).map(|_| vec![b'\n'; prng.below(120) as usize]).collect();
            let (bytes, places) = written(&args);
            let before = prng.below(5) as usize;
            let around = [&b"\r\n*1$"[..before], &bytes, b"*1\r\n"].concat();
            let moved: Vec<_> = places.iter().map(|&(offset, len)| (offset + before, len)).collect();
            assert_eq!(Args::new(&around, &spans(&moved)).as_request(), Some(&bytes[..]));
            // One byte is another, outside of the arguments: not what they would be written as.
            let at = prng.below(bytes.len() as u64) as usize;
            if !places.iter().any(|&(offset, len)| (offset..offset + len).contains(&at)) {
                let mut other = bytes.clone();
                other[at] ^= 1 << prng.below(8);
                assert_eq!(Args::new(&other, &spans(&places)).as_request(), None);
            }
        }
    }

    #[test]
    fn what_came_otherwise_is_no_request() {
        let owned = OwnedArgs::collect([&b"*1\r\n$1\r\n"[..], b"a", b"\r\n"]);
        assert_eq!(owned.as_args().as_request(), None);
        // It need not be the request it came with: it is what would be written.
        let one = &owned.as_args().spans()[1..2];
        assert_eq!(Args::new(owned.as_args().buffer(), one).as_request(), Some(&b"*1\r\n$1\r\na\r\n"[..]));
        for text in ["set a b\r\n", "*03\r\n$3\r\nset\r\n$1\r\na\r\n$1\r\nb\r\n", "$3\r\nset\r\n", "set", ""]
        {
            let places: Vec<_> =
                ["set", "a", "b"].iter().filter_map(|w| Some((text.find(w)?, w.len()))).collect();
            assert_eq!(Args::new(text.as_bytes(), &spans(&places)).as_request(), None, "{text}");
        }
    }
}
