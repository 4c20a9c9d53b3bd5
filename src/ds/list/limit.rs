//! How much a node of a list holds: the directive `list-max-listpack-size`.

/// What a node may hold where its limit is a number of elements (Redis: `SIZE_SAFETY_LIMIT`).
const BYTES_SAFE: usize = 8192;

/// The limits in bytes that -1 to -5 name.
const BYTES: [usize; 5] = [4096, 8192, 16_384, 32_768, 65_536];

/// Bytes that an element is reckoned to take beyond its own (Redis: `SIZE_ESTIMATE_OVERHEAD`).
const ELEMENT_OVERHEAD: usize = 8;

/// A listpack's header and end, of which one goes when two become one.
const PACK_OVERHEAD: usize = 7;

/// The limit of one node, as the directive sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeLimit {
    Bytes(usize),
    Elements(usize),
}

impl NodeLimit {
    /// What the directive says.
    pub(super) fn new(directive: i32) -> NodeLimit {
        match usize::try_from(directive) {
            Ok(elements) => NodeLimit::Elements(elements.max(1)),
            Err(_) => {
                let class = directive.unsigned_abs() as usize - 1;
                NodeLimit::Bytes(BYTES[class.min(BYTES.len() - 1)])
            }
        }
    }

    /// Whether a node may be of this size.
    pub(super) fn allows(self, bytes: usize, elements: usize) -> bool {
        match self {
            NodeLimit::Bytes(max) => bytes <= max,
            NodeLimit::Elements(max) => bytes <= BYTES_SAFE && elements <= max,
        }
    }

    /// Whether a node of this size has room for an element of `len` bytes.
    pub(super) fn allows_one_more(self, bytes: usize, elements: usize, len: usize) -> bool {
        self.allows(bytes + len + ELEMENT_OVERHEAD, elements + 1)
    }

    /// Whether two nodes of these sizes may become one.
    pub(super) fn allows_both(self, bytes: [usize; 2], elements: [usize; 2]) -> bool {
        self.allows(bytes[0] + bytes[1] - PACK_OVERHEAD, elements[0] + elements[1])
    }

    /// Whether a node is at most half full: then a list with no other becomes a listpack.
    pub(super) fn allows_twice(self, bytes: usize, elements: usize) -> bool {
        match self {
            NodeLimit::Bytes(max) => bytes <= max / 2,
            NodeLimit::Elements(max) => elements <= max / 2,
        }
    }

    /// Whether an element is too long for any listpack, and has a node of its own.
    pub(super) fn is_large(self, len: usize) -> bool {
        match self {
            NodeLimit::Bytes(max) => len > max,
            NodeLimit::Elements(_) => len > BYTES_SAFE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directive_is_a_class_of_bytes_or_a_number_of_elements() {
        for (directive, limit) in [
            (-1, NodeLimit::Bytes(4096)),
            (-2, NodeLimit::Bytes(8192)),
            (-5, NodeLimit::Bytes(65_536)),
            (-6, NodeLimit::Bytes(65_536)),
            (i32::MIN, NodeLimit::Bytes(65_536)),
            (0, NodeLimit::Elements(1)),
            (1, NodeLimit::Elements(1)),
            (i32::MAX, NodeLimit::Elements(i32::MAX as usize)),
        ] {
            assert_eq!(NodeLimit::new(directive), limit, "{directive}");
        }
    }

    #[test]
    fn a_limit_in_elements_has_one_in_bytes_too() {
        let limit = NodeLimit::new(4);
        assert!(limit.allows(8192, 4) && !limit.allows(8193, 1) && !limit.allows(10, 5));
        assert!(limit.is_large(8193) && !limit.is_large(8192));
        assert!(limit.allows_twice(9000, 2) && !limit.allows_twice(10, 3));
        assert!(!NodeLimit::new(1).allows_twice(10, 1));
        let limit = NodeLimit::new(-1);
        assert!(limit.allows(4096, 4000) && !limit.allows(4097, 1));
        assert!(limit.allows_one_more(4000, 1, 88) && !limit.allows_one_more(4000, 1, 89));
        assert!(limit.allows_both([4000, 103], [1, 1]) && !limit.allows_both([4000, 104], [1, 1]));
        assert!(limit.allows_twice(2048, 1000) && !limit.allows_twice(2049, 1));
    }
}
