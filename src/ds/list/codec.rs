//! The form in which a list goes to another shard of this process.
//!
//! ```text
//! encoding, u8 | node | node ...      each node: flags, u8 | elements, u32 | length, u32 | stored, u32 | stored bytes
//! ```
//!
//! Numbers are little-endian. Nodes stay compressed; they are decompressed once, to see that they can be.

use super::{
    node::{Node, NodeRef},
    quicklist::Quicklist,
    Form, List, ListRef,
};
use crate::{
    base::lzf,
    ds::{
        collection::{Collection, Encoding},
        listpack::Listpack,
        slab::Slab,
    },
};

const PLAIN: u8 = 1;
const COMPRESSED: u8 = 2;

pub(super) fn export(list: ListRef<'_>, out: &mut Vec<u8>) {
    out.push(u8::from(List::encoding(list) == Encoding::Quicklist));
    for node in list.nodes_from(0) {
        out.push(if node.is_plain { PLAIN } else { 0 } | if node.is_compressed { COMPRESSED } else { 0 });
        for number in [node.count, node.len, node.stored.len()] {
            out.extend_from_slice(&(number as u32).to_le_bytes());
        }
        out.extend_from_slice(node.stored);
    }
}

/// The list of an exported form; `None` if it is damaged.
pub(super) fn import(bytes: &[u8], slab: &mut Slab) -> Option<List> {
    let (&encoding, rest) = bytes.split_first()?;
    // All is read and checked before anything is allocated of the slab that would have to be freed again.
    let nodes = Nodes(rest).collect::<Option<Vec<_>>>()?;
    match (encoding, &nodes[..]) {
        (0, [node]) if !node.is_plain && !node.is_compressed => {
            Listpack::from_bytes(node.stored, slab).map(|pack| List(Form::Packed(pack)))
        }
        (1, nodes) if nodes.iter().all(|&node| is_sound(node, slab)) => {
            let nodes: Vec<Node> = nodes.iter().map(|&node| Node::from_ref(node, slab)).collect();
            Some(List(Form::Quick(Quicklist::from_nodes(&nodes, slab))))
        }
        _ => None,
    }
}

/// Whether a node holds what it says.
fn is_sound(node: NodeRef<'_>, slab: &mut Slab) -> bool {
    let decompressed = match node.is_compressed {
        true => lzf::decompress(node.stored, node.len),
        false => None,
    };
    let bytes = match (node.is_compressed, &decompressed) {
        (false, _) => node.stored,
        (true, Some(bytes)) => bytes,
        (true, None) => return false,
    };
    if node.is_plain {
        return bytes.len() == node.len && node.count == 1;
    }
    let Some(pack) = Listpack::from_bytes(bytes, slab) else { return false };
    // What was not in its shortest form would be another listpack now.
    let same = pack.as_ref().bytes() == bytes;
    let count = pack.as_ref().len();
    pack.free(slab);
    same && bytes.len() == node.len && count == node.count && count > 0
}

/// The nodes of a form; `None` where it is cut off, or has a flag that is none.
struct Nodes<'a>(&'a [u8]);

impl<'a> Iterator for Nodes<'a> {
    type Item = Option<NodeRef<'a>>;

    fn next(&mut self) -> Option<Option<NodeRef<'a>>> {
        (!self.0.is_empty()).then(|| self.read())
    }
}

impl<'a> Nodes<'a> {
    fn read(&mut self) -> Option<NodeRef<'a>> {
        let &flags = self.take(1)?.first()?;
        let (count, len, stored) = (self.read_u32()?, self.read_u32()?, self.read_u32()?);
        let stored = self.take(stored)?;
        (flags & !(PLAIN | COMPRESSED) == 0).then_some(NodeRef {
            is_plain: flags & PLAIN != 0,
            count,
            len,
            is_compressed: flags & COMPRESSED != 0,
            stored,
        })
    }

    fn read_u32(&mut self) -> Option<usize> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?) as usize)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}
