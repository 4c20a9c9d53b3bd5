//! A list put together node by node, out of a snapshot.
//!
//! Nodes are kept as they come, whatever the limit of today: so Redis does it, and a list is split and joined as it is
//! changed.

use super::{limit::NodeLimit, node::Node, quicklist::Quicklist, Form, List};
use crate::ds::{collection::Edit, listpack::Listpack, slab::Slab};

/// The nodes of a list that is not there yet. Whoever has them must finish or free them.
#[derive(Default)]
pub struct ListBuilder {
    nodes: Vec<Node>,
}

impl ListBuilder {
    /// Adds the elements of a listpack at the back.
    pub fn push_pack(&mut self, pack: Listpack, slab: &mut Slab) {
        match pack.as_ref().is_empty() {
            true => pack.free(slab),
            false => self.nodes.push(Node::of_pack(pack)),
        }
    }

    /// Adds an element that has a node of its own.
    pub fn push_plain(&mut self, element: &[u8], slab: &mut Slab) {
        self.nodes.push(Node::of_element(element, slab));
    }

    /// The list: a listpack if it is a single one within the limit. `None` if it has no elements.
    pub fn finish(self, edit: &mut Edit<'_>) -> Option<List> {
        let limit = NodeLimit::new(edit.limits.list_node);
        Some(List(match self.nodes[..] {
            [] => return None,
            [node] if !node.is_plain() && limit.allows(node.bytes(), node.count()) => {
                // SAFETY: the node has its block, and ends here.
                Form::Packed(unsafe { node.into_pack(edit.slab) })
            }
            _ => {
                let mut quick = Quicklist::from_nodes(&self.nodes, edit.slab);
                quick.compress(edit);
                Form::Quick(quick)
            }
        }))
    }

    /// Frees the nodes.
    pub fn free(self, slab: &mut Slab) {
        for node in self.nodes {
            // SAFETY: the node has its block, from this slab, and ends here.
            unsafe { node.free(slab) };
        }
    }
}
