//! The tree against a sorted vector: whatever is done to it, it holds the same members in the same order, and its
//! invariants hold.

use super::*;
use crate::{base::prng::Prng, ds::table::Element, ds::zset::member::Member};

/// A tree with its members, and what it should hold: members by name, in order.
struct Both {
    slab: Slab,
    tree: Tree,
    model: Vec<(f64, Vec<u8>, NonNull<u8>)>,
}

impl Both {
    fn new() -> Both {
        Both { slab: Slab::new(), tree: Tree::new(), model: Vec::new() }
    }

    /// The rank of a score and name in the model, or where it would be.
    fn place(&self, score: f64, name: &[u8]) -> Result<usize, usize> {
        self.model.binary_search_by(|(s, n, _)| (s, &n[..]).partial_cmp(&(&score, name)).unwrap())
    }

    fn insert(&mut self, score: f64, name: &[u8]) {
        let Err(at) = self.place(score, name) else { return };
        let member = Member::new(&mut self.slab, name, score);
        self.tree.insert(&mut self.slab, score, member.as_ref());
        self.model.insert(at, (score, name.to_vec(), member.into_raw()));
    }

    fn member(&self, rank: usize) -> (f64, MemberRef<'static>) {
        // SAFETY: members of the model live.
        (self.model[rank].0, unsafe { MemberRef::from_raw(self.model[rank].2) })
    }

    fn free(slab: &mut Slab, member: NonNull<u8>) {
        // SAFETY: it came from `into_raw`, and is in neither tree nor model any more.
        unsafe { Member::from_raw(member) }.free(slab);
    }

    fn remove(&mut self, rank: usize) {
        let (score, member) = self.member(rank);
        self.tree.remove(&mut self.slab, score, member);
        Both::free(&mut self.slab, self.model.remove(rank).2);
    }

    fn remove_range(&mut self, ranks: Range<usize>) {
        let mut removed = Vec::new();
        self.tree.remove_range(&mut self.slab, ranks.start as u64..ranks.end as u64, |slab, member| {
            removed.push(member);
            Both::free(slab, member);
        });
        let expected: Vec<_> = self.model.drain(ranks).map(|(.., member)| member).collect();
        assert_eq!(removed, expected);
    }

    fn change_score(&mut self, rank: usize, to: f64) {
        let (from, member) = self.member(rank);
        let (_, name, raw) = self.model.remove(rank);
        match self.place(to, &name) {
            Ok(_) => self.model.insert(rank, (from, name, raw)),
            Err(at) => {
                self.tree.change_score(&mut self.slab, from, to, member);
                self.model.insert(at, (to, name, raw));
            }
        }
    }

    /// Everything: the order both ways, and the structure.
    fn check(&self) {
        let all: Vec<_> = self.tree.iter(0..self.tree.len(), false).map(|(s, m)| (s, m.raw())).collect();
        let expected: Vec<_> = self.model.iter().map(|&(score, _, member)| (score, member)).collect();
        assert_eq!(all, expected);
        let reverse = self.tree.iter(0..self.tree.len(), true).map(|(s, m)| (s, m.raw()));
        assert!(reverse.eq(expected.into_iter().rev()));
        let mut nodes = 0;
        if let Some(root) = self.tree.root {
            let count = check_node(root, self.tree.height, &mut nodes);
            assert_eq!(count, self.tree.len);
            // SAFETY: the root lives.
            assert!(self.tree.height == 0 || unsafe { root.cast::<Inner>().as_ref() }.len() > 1);
        }
        assert_eq!(nodes, self.tree.nodes);
    }

    fn free_all(mut self) {
        self.remove_range(0..self.model.len());
        self.check();
        assert_eq!((self.tree.memory_bytes(), self.slab.allocated_bytes()), (0, 0));
    }
}

/// Checks what is below a node; how many items that is.
fn check_node(node: NonNull<u8>, height: u32, nodes: &mut usize) -> u64 {
    *nodes += 1;
    if height == 0 {
        // SAFETY: the nodes of the tree live.
        let leaf = unsafe { node.cast::<Leaf>().as_ref() };
        assert!(leaf.len() > 0);
        return leaf.len() as u64;
    }
    // SAFETY: as before.
    let inner = unsafe { node.cast::<Inner>().as_ref() };
    assert!(inner.len() > 0);
    let mut sum = 0;
    for branch in inner.entries() {
        let count = check_node(branch.child, height - 1, nodes);
        assert_eq!(branch.count, count);
        // SAFETY: as before.
        let first = unsafe {
            match height {
                1 => branch.child.cast::<Leaf>().as_ref().entries()[0],
                _ => branch.child.cast::<Inner>().as_ref().entries()[0].first,
            }
        };
        assert_eq!((branch.first.score, branch.first.member), (first.score, first.member));
        sum += count;
    }
    sum
}

/// A score out of few, so that many are equal.
fn score(prng: &mut Prng, scores: u64) -> f64 {
    match prng.below(40) {
        0 => f64::INFINITY,
        1 => f64::NEG_INFINITY,
        2 => -0.0,
        _ => prng.below(scores) as f64 / 2.0 - scores as f64 / 4.0,
    }
}

fn name(prng: &mut Prng) -> Vec<u8> {
    (0..prng.below(6)).map(|_| b'a' + prng.below(4) as u8).collect()
}

#[test]
fn it_holds_what_a_sorted_vector_holds() {
    for (seed, scores) in [(1, 3), (2, 50), (3, 100_000), (4, 1)] {
        let mut prng = Prng::new(seed);
        let mut both = Both::new();
        for round in 0..12_000 {
            // It grows, shrinks, and grows again.
            let grows = if round / 3000 % 2 == 0 { 8 } else { 3 };
            let len = both.model.len() as u64;
            match prng.below(12) {
                draw if draw < grows || len == 0 => {
                    let (score, name) = (score(&mut prng, scores), name(&mut prng));
                    both.insert(score, &name);
                }
                8 => {
                    let (rank, to) = (prng.below(len) as usize, score(&mut prng, scores));
                    both.change_score(rank, to);
                }
                9 => {
                    let start = prng.below(len);
                    let most = if prng.below(20) == 0 { len } else { 5 };
                    let end = start + prng.below((len - start).min(most) + 1);
                    both.remove_range(start as usize..end as usize);
                }
                _ => both.remove(prng.below(len) as usize),
            }
            if round % 97 == 0 {
                both.check();
            }
            let (score, name) = (score(&mut prng, scores), name(&mut prng));
            let rank = both.tree.rank(|s, m| (s, m.bytes()) < (score, &name[..]));
            assert_eq!(rank as usize, both.place(score, &name).unwrap_or_else(|at| at));
            if !both.model.is_empty() {
                let len = both.model.len() as u64;
                let rank = prng.below(len);
                let (score, member) = both.member(rank as usize);
                assert_eq!(both.tree.rank_of(score, member), rank);
                let end = rank + prng.below((len - rank).min(70) + 1);
                let reverse = prng.below(2) == 1;
                let found: Vec<_> = both.tree.iter(rank..end, reverse).map(|(_, m)| m.raw()).collect();
                let mut expected: Vec<_> =
                    both.model[rank as usize..end as usize].iter().map(|&(.., member)| member).collect();
                if reverse {
                    expected.reverse();
                }
                assert_eq!(found, expected);
            }
        }
        both.check();
        both.free_all();
    }
}

#[test]
fn nodes_fill_whatever_the_order_of_insertion() {
    let fill = |ranks: &mut dyn Iterator<Item = u64>| {
        let mut both = Both::new();
        for rank in ranks {
            let member = Member::new(&mut both.slab, &rank.to_be_bytes(), rank as f64);
            both.tree.insert(&mut both.slab, rank as f64, member.as_ref());
            both.model.push((rank as f64, rank.to_be_bytes().to_vec(), member.into_raw()));
        }
        both.model.sort_by(|a, b| a.0.total_cmp(&b.0));
        both.check();
        let fill = both.tree.len() as f64 * size_of::<Item>() as f64 / both.tree.memory_bytes() as f64;
        let bytes = both.slab.allocated_bytes();
        both.free_all();
        (fill, bytes)
    };
    const LEN: u64 = 50_000;
    let mut prng = Prng::new(7);
    let mut shuffled: Vec<u64> = (0..LEN).collect();
    (1..LEN as usize).rev().for_each(|at| shuffled.swap(at, prng.below(at as u64 + 1) as usize));
    let two_ends = (0..LEN).map(|at| if at % 2 == 0 { LEN + at } else { LEN - at });
    // Two runs, the second in the middle of the first.
    let runs = (0..LEN / 2).map(|at| at * 2).chain((0..LEN / 2).map(|at| at * 2 + 1));
    for (least, name, (fill, _)) in [
        (0.90, "ascending", fill(&mut (0..LEN))),
        (0.90, "descending", fill(&mut (0..LEN).rev())),
        (0.90, "two ends", fill(&mut { two_ends })),
        (0.75, "shuffled", fill(&mut shuffled.iter().copied())),
        (0.60, "runs", fill(&mut { runs })),
    ] {
        println!("{name}: {fill:.3}");
        assert!(fill > least, "{name}: {fill:.3}");
    }
}

#[test]
fn it_is_freed_in_steps() {
    for len in [0, 1, 62, 63, 5000] {
        for budget in [1, 7, usize::MAX] {
            let mut both = Both::new();
            (0..len).for_each(|at: i32| both.insert(f64::from(at % 100), &at.to_le_bytes()));
            let mut steps = 1;
            while !both.tree.free_step(&mut both.slab, budget) {
                steps += 1;
                assert!(steps < 10_000);
            }
            assert_eq!((both.tree.memory_bytes(), both.tree.len()), (0, 0));
            both.model.drain(..).for_each(|(.., member)| Both::free(&mut both.slab, member));
            assert_eq!(both.slab.allocated_bytes(), 0);
        }
    }
}
