//! Lists against a model: whatever is done to one, it holds what a `VecDeque` holds, and its nodes keep their limits.

use std::collections::VecDeque;

use super::*;
use crate::{
    base::{prng::Prng, time::UnixMs},
    ds::collection::EncodingLimits,
};

type Model = VecDeque<Vec<u8>>;

/// A list with its slab, and a model of it.
struct Harness {
    slab: Slab,
    hasher: KeyHasher,
    limits: EncodingLimits,
    list: List,
    model: Model,
}

impl Harness {
    fn new(list_node: i32, list_compress_depth: u32) -> Harness {
        let mut slab = Slab::new();
        let list = List::empty(&mut slab);
        let limits = EncodingLimits { list_node, list_compress_depth, ..EncodingLimits::default() };
        Harness { slab, hasher: KeyHasher::new([1, 2, 3, 4]), limits, list, model: Model::new() }
    }

    fn edit<R>(&mut self, change: impl FnOnce(&mut List, &mut Edit<'_>) -> R) -> R {
        let mut edit = Edit::new(&mut self.slab, &self.hasher, &self.limits, UnixMs(0));
        change(&mut self.list, &mut edit)
    }

    fn push(&mut self, element: &[u8]) {
        self.edit(|list, edit| list.push(edit, End::Back, element));
        self.model.push_back(element.to_vec());
    }

    fn encoding(&self) -> Encoding {
        List::encoding(self.list.as_ref())
    }

    /// Elements of each node, plain ones as 0.
    fn nodes(&self) -> Vec<usize> {
        let count = |node: &NodeRef<'_>| if node.is_plain { 0 } else { node.count };
        self.list.as_ref().nodes_from(0).map(|node| count(&node)).collect()
    }

    /// Which nodes are compressed.
    fn compressed(&self) -> Vec<bool> {
        self.list.as_ref().nodes_from(0).map(|node| node.is_compressed).collect()
    }

    fn check(&self) {
        assert_eq!(contents(self.list.as_ref()), self.model);
        let nodes: Vec<NodeRef<'_>> = self.list.as_ref().nodes_from(0).collect();
        assert_eq!(nodes.iter().map(|node| node.count).sum::<usize>(), self.model.len());
        assert!(self.encoding() == Encoding::Listpack || nodes.iter().all(|node| node.count > 0));
        // The list and nothing else lies in the slab.
        let root = match self.list.0 {
            Form::Packed(_) => 0,
            Form::Quick(ref quick) => class_size(quick.as_ref().root_bytes()),
        };
        let blocks: usize = nodes.into_iter().map(NodeRef::memory_bytes).sum();
        assert_eq!(self.slab.allocated_bytes(), root + blocks);
    }

    /// Exports and imports the list, which is the same then.
    fn travel(&mut self) {
        let mut form = Vec::new();
        List::export(self.list.as_ref(), &mut form);
        let copy = List::import(&form, &mut self.slab, &self.hasher).unwrap();
        assert!(copy.as_ref().nodes_from(0).eq(self.list.as_ref().nodes_from(0)));
        std::mem::replace(&mut self.list, copy).free(&mut self.slab);
    }

    fn end(self) {
        let Harness { mut slab, list, .. } = self;
        list.free(&mut slab);
        assert_eq!(slab.allocated_bytes(), 0);
    }
}

fn owned(element: Packed<'_>) -> Vec<u8> {
    element.bytes(&mut itoa::Buffer::new()).to_vec()
}

fn contents(list: ListRef<'_>) -> Model {
    let mut model = Model::new();
    list.range(0, End::Back, usize::MAX, |element| model.push_back(owned(element)));
    model
}

/// Numbers, short and long texts, some that compress well, few that are too long for a node.
fn element(prng: &mut Prng, limit: NodeLimit) -> Vec<u8> {
    let long = match limit {
        NodeLimit::Bytes(max) => max,
        NodeLimit::Elements(_) => 8192,
    };
    let len = match prng.below(100) {
        0 => long + 1 + prng.below(100) as usize,
        1 => long - prng.below(100) as usize,
        2..=10 => prng.below(long as u64 / 4) as usize,
        11..=60 => prng.below(40) as usize,
        _ => return prng.below(30).to_string().into_bytes(),
    };
    let letters = [1, 3, 256][prng.below(3) as usize];
    (0..len).map(|_| b'a'.wrapping_add(prng.below(letters) as u8)).collect()
}

fn end(prng: &mut Prng) -> End {
    if prng.below(2) == 0 {
        End::Front
    } else {
        End::Back
    }
}

/// One random operation, on the list and on the model.
fn step(harness: &mut Harness, prng: &mut Prng, is_growing: bool) {
    let limit = NodeLimit::new(harness.limits.list_node);
    let len = harness.model.len();
    let index = prng.below(len as u64 + 2) as usize;
    let new = element(prng, limit);
    match prng.below(if is_growing { 14 } else { 20 }) {
        0..=3 => {
            let end = end(prng);
            let elements: Vec<Vec<u8>> = (0..prng.below(6)).map(|_| element(prng, limit)).collect();
            let slices = elements.iter().map(|element| &element[..]);
            harness.edit(|list, edit| list.push_all(edit, end, slices));
            for element in elements {
                match end {
                    End::Front => harness.model.push_front(element),
                    End::Back => harness.model.push_back(element),
                }
            }
        }
        4..=6 => {
            let side = if prng.below(2) == 0 { Side::Before } else { Side::After };
            let inserted = harness.edit(|list, edit| list.insert(edit, index, side, &new));
            assert_eq!(inserted, index < len);
            if inserted {
                harness.model.insert(index + usize::from(side == Side::After), new);
            }
        }
        7..=9 => {
            assert_eq!(harness.edit(|list, edit| list.set(edit, index, &new)), index < len);
            if index < len {
                harness.model[index] = new;
            }
        }
        10 => {
            let (from, to) = (end(prng), end(prng));
            let moved = harness.edit(|list, edit| list.rotate(edit, from, to, owned));
            let element = pop_model(&mut harness.model, from);
            assert_eq!(moved, element);
            match (element, to) {
                (Some(element), End::Front) => harness.model.push_front(element),
                (Some(element), End::Back) => harness.model.push_back(element),
                (None, _) => {}
            }
        }
        11 | 14 => {
            let end = end(prng);
            let popped = harness.edit(|list, edit| list.pop(edit, end, owned));
            assert_eq!(popped, pop_model(&mut harness.model, end));
        }
        12 | 15 | 16 => {
            let count = prng.below(if is_growing { 3 } else { len as u64 + 2 }) as usize;
            let removed = harness.edit(|list, edit| list.remove_range(edit, index, count));
            assert_eq!(removed, count.min(len.saturating_sub(index)));
            harness.model.drain(index.min(len)..(index + count).min(len));
        }
        _ => {
            let needle = match harness.model.get(index) {
                Some(element) => element.clone(),
                None => new,
            };
            let (from, count) = (end(prng), 1 + prng.below(if is_growing { 2 } else { 20 }) as usize);
            let removed = harness.edit(|list, edit| list.remove_equal(edit, &needle, from, count));
            assert_eq!(removed, remove_from_model(&mut harness.model, &needle, from, count));
        }
    }
}

fn pop_model(model: &mut Model, end: End) -> Option<Vec<u8>> {
    match end {
        End::Front => model.pop_front(),
        End::Back => model.pop_back(),
    }
}

fn remove_from_model(model: &mut Model, needle: &[u8], from: End, count: usize) -> usize {
    let equal = (0..model.len()).filter(|&index| model[index] == needle);
    let mut equal: Vec<usize> = match from {
        End::Front => equal.take(count).collect(),
        End::Back => equal.rev().take(count).collect(),
    };
    equal.sort_unstable();
    for &index in equal.iter().rev() {
        model.remove(index);
    }
    equal.len()
}

/// Looks at parts of the list in both directions.
fn look(harness: &Harness, prng: &mut Prng) {
    let (list, model) = (harness.list.as_ref(), &harness.model);
    let start = prng.below(model.len() as u64 + 2) as usize;
    let count = prng.below(10) as usize;
    let mut shown = Vec::new();
    list.range(start, End::Back, count, |element| shown.push(owned(element)));
    assert_eq!(shown, model.iter().skip(start).take(count).cloned().collect::<Vec<_>>());
    let mut shown = Vec::new();
    list.walk(start, End::Front, |index, element| {
        shown.push((index, owned(element)));
        ControlFlow::Continue(())
    });
    let expected = model.iter().cloned().enumerate().take(start + 1).rev();
    assert_eq!(shown, if start < model.len() { expected.collect() } else { Vec::new() });
    assert_eq!(list.at(start, owned).as_ref(), model.get(start));
    assert_eq!(list.at_end(End::Front, owned).as_ref(), model.front());
    assert_eq!(list.at_end(End::Back, owned).as_ref(), model.back());
}

#[test]
fn a_list_holds_what_a_deque_holds() {
    let mut prng = Prng::new(7);
    for list_node in [-5, -4, -3, -2, -1, 0, 1, 2, 3, 5, 16, 64, 1000] {
        for depth in [0, 1, 2, 5] {
            let mut harness = Harness::new(list_node, depth);
            for round in 0..600 {
                let is_growing = round % 200 < 120;
                step(&mut harness, &mut prng, is_growing);
                if round % 16 == 0 {
                    look(&harness, &mut prng);
                    harness.check();
                }
                if round % 97 == 0 {
                    harness.travel();
                }
                if round == 300 {
                    // CONFIG SET: nodes are as they were until they change.
                    harness.limits.list_compress_depth = (depth + 1) % 3;
                    harness.limits.list_node = if list_node > 0 { list_node / 2 + 1 } else { list_node + 1 };
                }
            }
            let copy = List::copy(harness.list.as_ref(), &mut harness.slab, &harness.hasher);
            assert_eq!(contents(copy.as_ref()), harness.model);
            copy.free(&mut harness.slab);
            harness.check();
            harness.end();
        }
    }
}

#[test]
fn encodings_change_where_redis_changes_them() {
    let mut harness = Harness::new(4, 0);
    for number in 0..4 {
        harness.push(number.to_string().as_bytes());
    }
    assert_eq!(harness.encoding(), Encoding::Listpack);
    harness.push(b"4");
    assert_eq!((harness.encoding(), harness.nodes()), (Encoding::Quicklist, vec![4, 1]));
    // One node is left, but more than half full; then it is half full.
    for (len, encoding) in
        [(4, Encoding::Quicklist), (3, Encoding::Quicklist), (2, Encoding::Listpack), (1, Encoding::Listpack)]
    {
        harness.edit(|list, edit| list.pop(edit, End::Back, owned));
        assert_eq!((harness.list.as_ref().len(), harness.encoding()), (len, encoding));
    }
    harness.end();

    // By bytes: those of the listpack and of what is added, not what that takes as an element.
    let mut harness = Harness::new(-1, 0);
    harness.push(&[b'a'; 4089]);
    assert_eq!(harness.encoding(), Encoding::Listpack);
    harness.edit(|list, edit| list.set(edit, 0, &[b'a'; 4090]));
    assert_eq!(harness.encoding(), Encoding::Quicklist);
    harness.edit(|list, edit| list.set(edit, 0, &[b'a'; 2037]));
    assert_eq!(harness.encoding(), Encoding::Listpack);
    // A long element has a node of its own, and is never packed.
    harness.edit(|list, edit| list.set(edit, 0, &[b'a'; 4097]));
    assert_eq!((harness.encoding(), harness.nodes()), (Encoding::Quicklist, vec![0]));
    harness.end();

    // All that is pushed at once counts.
    let mut harness = Harness::new(3, 0);
    harness.edit(|list, edit| list.push_all(edit, End::Front, [&b"a"[..], b"b", b"c", b"d"].into_iter()));
    assert_eq!((harness.encoding(), harness.nodes()), (Encoding::Quicklist, vec![1, 3]));
    harness.end();
}

#[test]
fn elements_go_into_full_nodes_as_in_redis() {
    let full = || {
        let mut harness = Harness::new(4, 0);
        (0..12).for_each(|number: u32| harness.push(number.to_string().as_bytes()));
        assert_eq!(harness.nodes(), [4, 4, 4]);
        harness
    };
    for (index, side, nodes) in [
        // Between nodes that are full: a node of its own.
        (4, Side::Before, vec![4, 1, 4, 4]),
        (7, Side::After, vec![4, 4, 1, 4]),
        (0, Side::Before, vec![1, 4, 4, 4]),
        (11, Side::After, vec![4, 4, 4, 1]),
        // Within: split, and what fits together joined.
        (5, Side::After, vec![4, 2, 3, 4]),
        (5, Side::Before, vec![4, 2, 3, 4]),
        (4, Side::After, vec![4, 1, 4, 4]),
    ] {
        let mut harness = full();
        assert!(harness.edit(|list, edit| list.insert(edit, index, side, b"x")));
        assert_eq!(harness.nodes(), nodes, "{side:?} {index}");
        harness.model.insert(index + usize::from(side == Side::After), b"x".to_vec());
        harness.check();
        harness.end();
    }
    // A neighbour with room takes it.
    let mut harness = full();
    harness.edit(|list, edit| list.remove_range(edit, 1, 1));
    assert!(harness.edit(|list, edit| list.insert(edit, 3, Side::Before, b"x")));
    assert_eq!(harness.nodes(), [4, 4, 4]);
    // A long element splits the node it goes into, or takes one's place.
    let long = vec![b'x'; 9000];
    assert!(harness.edit(|list, edit| list.insert(edit, 5, Side::After, &long)));
    assert_eq!(harness.nodes(), [4, 2, 0, 2, 4]);
    assert!(harness.edit(|list, edit| list.set(edit, 1, &long)));
    assert_eq!(harness.nodes(), [1, 0, 4, 0, 2, 4]);
    assert!(harness.edit(|list, edit| list.set(edit, 1, b"short")));
    assert_eq!(harness.nodes(), [1, 1, 4, 0, 2, 4]);
    harness.end();
}

#[test]
fn nodes_far_from_both_ends_are_compressed() {
    let mut harness = Harness::new(2, 1);
    let text = |number: usize| format!("{number:010} {}", "well compressible ".repeat(10)).into_bytes();
    (0..10).for_each(|number| harness.push(&text(number)));
    assert_eq!(harness.compressed(), [false, true, true, true, false]);
    harness.check();
    harness.edit(|list, edit| list.remove_range(edit, 0, 2));
    assert_eq!(harness.compressed(), [false, true, true, false]);
    harness.edit(|list, edit| list.set(edit, 3, b"short"));
    harness.edit(|list, edit| list.push(edit, End::Front, &text(11)));
    assert_eq!(harness.compressed(), [false, true, true, true, false]);
    harness.edit(|list, edit| list.insert(edit, 4, Side::After, &text(12)));
    assert!(harness.compressed()[1..].contains(&true) && !harness.compressed()[0]);
    let stored: usize = harness.list.as_ref().nodes_from(0).map(|node| node.stored.len()).sum();
    assert!(stored < 1500, "{stored} bytes");
    harness.end();

    // Noise is left as it is.
    let mut prng = Prng::new(3);
    let mut harness = Harness::new(1, 2);
    for _ in 0..20 {
        let noise: Vec<u8> = (0..200).map(|_| prng.next_u64() as u8).collect();
        harness.push(&noise);
    }
    assert!(!harness.compressed().contains(&true));
    harness.end();
}

#[test]
fn the_word_owns_the_list() {
    for count in [3, 3000] {
        let mut harness = Harness::new(-1, 1);
        (0..count).for_each(|number: u32| harness.push(number.to_string().as_bytes()));
        let Harness { mut slab, list, model, .. } = harness;
        let word = list.into_word();
        // SAFETY: the word is the list's.
        let list = unsafe {
            assert_eq!(contents(List::borrow(word)), model);
            List::from_word(word)
        };
        list.free(&mut slab);
        assert_eq!(slab.allocated_bytes(), 0);
    }
}

#[test]
fn a_long_list_is_freed_in_steps() {
    let mut harness = Harness::new(16, 0);
    (0..20_000).for_each(|number: u32| harness.push(number.to_string().as_bytes()));
    assert!(List::is_large(harness.list.as_ref()));
    let Harness { mut slab, mut list, .. } = harness;
    let mut steps = 1;
    while !list.free_step(&mut slab, 1000) {
        let left = 20_000 - steps * 1008;
        assert_eq!(list.as_ref().len(), left);
        assert_eq!(list.as_ref().at(0, owned), Some((20_000 - left).to_string().into_bytes()));
        steps += 1;
    }
    assert_eq!((steps, slab.allocated_bytes()), (20, 0));
}

#[test]
fn the_memory_is_estimated_from_the_first_nodes() {
    let mut harness = Harness::new(-2, 0);
    for number in 0..20_000 {
        let estimate = List::memory_bytes(harness.list.as_ref());
        let exact = harness.slab.allocated_bytes();
        assert!(estimate.abs_diff(exact) <= exact / 3, "{estimate} {exact}");
        harness.push(format!("element {number}").as_bytes());
    }
    harness.end();
}

#[test]
fn damaged_forms_are_refused_and_leave_nothing() {
    let mut prng = Prng::new(11);
    let hasher = KeyHasher::new([1, 2, 3, 4]);
    for (list_node, count) in [(-2, 5), (3, 20), (-1, 300)] {
        let mut harness = Harness::new(list_node, 1);
        for number in 0..count {
            harness.push(format!("{number} {}", "abc".repeat(number % 30)).as_bytes());
        }
        harness.edit(|list, edit| list.push(edit, End::Back, &[b'x'; 9000]));
        let mut form = Vec::new();
        List::export(harness.list.as_ref(), &mut form);
        let mut slab = Slab::new();
        let mut import = |bytes: &[u8]| {
            if let Some(list) = List::import(bytes, &mut slab, &hasher) {
                let whole = contents(list.as_ref()).len() == list.as_ref().len();
                list.free(&mut slab);
                assert!(whole);
            }
            assert_eq!(slab.allocated_bytes(), 0);
        };
        import(&form);
        for cut in (0..form.len()).step_by(7) {
            import(&form[..cut]);
        }
        for _ in 0..3000 {
            let mut damaged = form.clone();
            for _ in 0..1 + prng.below(3) {
                let at = prng.below(damaged.len() as u64) as usize;
                damaged[at] = match prng.below(3) {
                    0 => prng.next_u64() as u8,
                    1 => damaged[at].wrapping_add(1),
                    _ => [0, 1, 2, 3, 0xFF][prng.below(5) as usize],
                };
            }
            import(&damaged);
        }
        harness.end();
    }
}

#[test]
fn a_list_is_put_together_node_by_node() {
    let pack = |slab: &mut Slab, len: usize| {
        let mut pack = Listpack::new(slab);
        (0..len).for_each(|_| pack.push_back(slab, &[b'p'; 60]));
        pack
    };
    for (list_node, lens, encoding, nodes) in [
        (-2, &[3][..], Encoding::Listpack, &[3][..]),
        // More than the limit allows today.
        (2, &[3], Encoding::Quicklist, &[3]),
        (-2, &[3, 0, 4], Encoding::Quicklist, &[3, 4]),
        (-2, &[0, 2, 0], Encoding::Listpack, &[2]),
    ] {
        let mut harness = Harness::new(list_node, 0);
        let mut builder = ListBuilder::default();
        lens.iter().for_each(|&len| {
            let pack = pack(&mut harness.slab, len);
            builder.push_pack(pack, &mut harness.slab);
        });
        let built = harness.edit(|_, edit| builder.finish(edit)).expect("some elements");
        std::mem::replace(&mut harness.list, built).free(&mut harness.slab);
        harness.model.extend((0..lens.iter().sum()).map(|_| vec![b'p'; 60]));
        assert_eq!((harness.encoding(), &harness.nodes()[..]), (encoding, nodes));
        harness.check();
        harness.end();
    }

    // Those far from both ends are compressed, and elements of their own stay such.
    let mut harness = Harness::new(-2, 1);
    let mut builder = ListBuilder::default();
    for len in [2, 5, 5, 2] {
        let pack = pack(&mut harness.slab, len);
        builder.push_pack(pack, &mut harness.slab);
        builder.push_plain(&[b'x'; 100], &mut harness.slab);
        harness.model.extend((0..len).map(|_| vec![b'p'; 60]));
        harness.model.push_back(vec![b'x'; 100]);
    }
    let built = harness.edit(|_, edit| builder.finish(edit)).expect("some elements");
    std::mem::replace(&mut harness.list, built).free(&mut harness.slab);
    assert_eq!(harness.nodes(), [2, 0, 5, 0, 5, 0, 2, 0]);
    assert_eq!(harness.compressed(), [false, true, true, true, true, true, true, false]);
    harness.check();
    harness.end();

    let mut slab = Slab::new();
    let mut builder = ListBuilder::default();
    let empty = Listpack::new(&mut slab);
    builder.push_pack(empty, &mut slab);
    builder.push_plain(b"x", &mut slab);
    builder.free(&mut slab);
    assert_eq!(slab.allocated_bytes(), 0);
}
