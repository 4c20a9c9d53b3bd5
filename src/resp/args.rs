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

    /// A copy that owns its bytes, for a request that has to wait or to go to another core.
    pub fn to_owned(&self) -> OwnedArgs {
        let bytes = self.spans.iter().map(|span| span.len as usize).sum();
        let mut owned = OwnedArgs::with_room(self.len(), bytes);
        self.iter_from(0).for_each(|arg| owned.push(arg));
        owned
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
