//! SORT, SORT_RO: the elements of a list, set or sorted set in some order, or what keys named after them hold.
//!
//! Elements are compared as numbers, or as bytes (ALPHA); they themselves, or their weights, which BY finds under other
//! keys. Where elements compare equal as numbers their bytes decide, so the order does not depend on that of a set.
//!
//! Which other keys are read is known only when the elements are. Over several shards the coordinator asks the shard
//! of the first key for their names (`sort_keys`) and has them lent to the shard that runs the command.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Range;

use smallvec::SmallVec;

use crate::base::double;
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::command::Ctx;
use crate::ds::collection::Collection;
use crate::ds::list::End;
use crate::ds::listpack::Packed;
use crate::keyspace::{IntText, Keyspace, List, ValueRef};
use crate::resp::Args;

/// What SORT is asked for.
#[derive(Clone, Debug)]
pub struct SortOptions<'a> {
    /// The weights' keys.
    by: Option<Pattern<'a>>,
    /// BY something without a `*`: the elements come in the order that they have.
    unsorted: bool,
    descending: bool,
    alpha: bool,
    /// How many are left out, and how many come then; all, where that is negative.
    limit: (i64, i64),
    gets: SmallVec<[Get<'a>; 2]>,
    /// The key that the result is stored in.
    pub store: Option<&'a [u8]>,
}

/// A key's name with an element in it: `weight_*`, or a field of a hash, `weight_*->field`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pattern<'a> {
    before: &'a [u8],
    after: &'a [u8],
    field: Option<&'a [u8]>,
}

/// What is shown for an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Get<'a> {
    /// `#`
    Element,
    Value(Pattern<'a>),
    /// The same key for all elements would make no sense: Redis looks none up.
    Nothing,
}

/// How elements are compared.
#[derive(Clone, Copy, Debug)]
struct Comparison<'a> {
    by: Option<Pattern<'a>>,
    alpha: bool,
}

/// The elements that matter, and how they are to be sorted. Where they are not, only those that LIMIT leaves are there.
#[derive(Clone, Debug, Default)]
struct Elements<'a> {
    found: Vec<Vec<u8>>,
    comparison: Option<Comparison<'a>>,
}

/// What an element is compared by.
enum Weight {
    Number(f64),
    /// Nothing where BY found none.
    Text(Option<Vec<u8>>),
    Itself,
}

/// Finds the string under a key, or in a field of a hash.
type Lookup<'l> = dyn FnMut(&[u8], Option<&[u8]>) -> Option<Vec<u8>> + 'l;

pub(super) fn sort(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    run(ctx, args, SortOptions::parse(args, true)?)
}

pub(super) fn sort_ro(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    run(ctx, args, SortOptions::parse(args, false)?)
}

fn run(ctx: &mut Ctx<'_, '_>, args: Args<'_>, options: SortOptions<'_>) -> Result<(), CommandError> {
    let elements = ctx.source(args.at(1)).map(|value| options.elements(value)).transpose()?;
    let rows = options.rows(elements.unwrap_or_default(), &mut |name, field| read(ctx, name, field))?;
    let Some(destination) = options.store else {
        ctx.reply.array(rows.len());
        for row in &rows {
            match row {
                Some(bytes) => ctx.reply.bulk(bytes),
                None => ctx.reply.null(),
            }
        }
        return Ok(());
    };
    let (key, now) = (ctx.key(destination), ctx.now_ms());
    let (_, mut edit) = ctx.keyspace.sources(now);
    let mut list = List::empty(edit.slab);
    list.push_all(&mut edit, End::Back, rows.iter().map(|row| row.as_deref().unwrap_or_default()));
    let (db, len) = (ctx.db, rows.len());
    let store = |keyspace: &mut Keyspace| keyspace.find(db, key, now).store(list);
    match len {
        // Nothing changes where there was nothing.
        0 => store(ctx.keyspace),
        _ => ctx.keyspace.counted_as(|()| len as u64, store),
    }
    ctx.reply.count(len);
    Ok(())
}

/// Lists the keys that SORT with the same arguments reads besides the first.
pub(in crate::command) fn sort_keys(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = SortOptions::parse(args, true)?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let entry = ctx.keyspace.peek(ctx.db, key, now);
    let elements = entry.map(|entry| options.elements(entry.value)).transpose()?.unwrap_or_default();
    let names = options.names(&elements);
    ctx.reply.array(names.len());
    names.iter().for_each(|name| ctx.reply.bulk(name));
    Ok(())
}

/// The string under a key, or in a field of the hash there.
fn read(ctx: &mut Ctx<'_, '_>, name: &[u8], field: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut text = IntText::new();
    let Some(field) = field else {
        let string = ctx.source(name)?.string().ok()?;
        return Some(string.bytes(&mut text).to_vec());
    };
    let (hasher, now) = (ctx.keyspace.hasher().clone(), ctx.now_ms());
    let item = ctx.source(name)?.hash().ok()?.get(&hasher, field, now)?;
    Some(item.value.bytes(&mut text).to_vec())
}

impl<'a> SortOptions<'a> {
    /// Reads the arguments of SORT, or of SORT_RO, which may not store.
    ///
    /// # Errors
    /// An option that is not known, or lacks its value.
    pub fn parse(args: Args<'a>, may_store: bool) -> Result<SortOptions<'a>, CommandError> {
        let mut options = SortOptions {
            by: None,
            unsorted: false,
            descending: false,
            alpha: false,
            limit: (0, -1),
            gets: SmallVec::new(),
            store: None,
        };
        let integer = |at: usize| parse_i64(args.at(at)).ok_or(CommandError::NOT_INTEGER);
        let mut at = 2;
        while at < args.len() {
            let value = args.get(at + 1);
            let is = |name: &str| args.is(at, name);
            at += 1 + match value {
                _ if is("asc") || is("desc") => {
                    options.descending = is("desc");
                    0
                }
                _ if is("alpha") => {
                    options.alpha = true;
                    0
                }
                Some(_) if is("limit") && at + 2 < args.len() => {
                    options.limit = (integer(at + 1)?, integer(at + 2)?);
                    2
                }
                Some(key) if is("store") && may_store => {
                    options.store = Some(key);
                    1
                }
                Some(pattern) if is("by") => {
                    options.by = Pattern::parse(pattern);
                    // Once that was said, a pattern that follows does not take it back.
                    options.unsorted |= options.by.is_none();
                    1
                }
                Some(pattern) if is("get") => {
                    options.gets.push(Get::parse(pattern));
                    1
                }
                _ => return Err(CommandError::SYNTAX),
            };
        }
        Ok(options)
    }

    /// Whether other keys than the first are read.
    pub fn reads_others(&self) -> bool {
        let sorts_by = self.by.is_some() && !self.unsorted;
        sorts_by || self.gets.iter().any(|get| matches!(get, Get::Value(_)))
    }

    /// The elements of a value.
    fn elements(&self, value: ValueRef<'_>) -> Result<Elements<'a>, CommandError> {
        // A set has no order to keep in a list: its members are sorted.
        let comparison = match (self.unsorted, value) {
            (true, ValueRef::Set(_)) if self.store.is_some() => Some(Comparison { by: None, alpha: true }),
            (true, _) => None,
            (false, _) => Some(Comparison { by: self.by, alpha: self.alpha }),
        };
        let range = |len: usize| if comparison.is_some() { 0..len } else { self.range(len) };
        let reverse = self.descending && comparison.is_none();
        let mut found = Vec::new();
        let mut text = IntText::new();
        let mut add = |element: Packed<'_>| found.push(element.bytes(&mut text).to_vec());
        match value {
            ValueRef::List(list) => {
                let range = range(list.len());
                let (start, toward) = if reverse {
                    (list.len().wrapping_sub(range.start + 1), End::Front)
                } else {
                    (range.start, End::Back)
                };
                list.range(start, toward, range.len(), add);
            }
            ValueRef::Set(set) => {
                let range = range(set.len());
                set.iter().skip(range.start).take(range.len()).for_each(add);
            }
            ValueRef::Zset(zset) => {
                let (len, range) = (zset.len(), range(zset.len()));
                let ranks = if reverse { len - range.end..len - range.start } else { range };
                zset.range(ranks, reverse).for_each(|item| add(item.member));
            }
            ValueRef::String(_) | ValueRef::Hash(_) => return Err(CommandError::WRONG_TYPE),
        }
        Ok(Elements { found, comparison })
    }

    /// Which of so many elements LIMIT leaves.
    fn range(&self, len: usize) -> Range<usize> {
        let (start, count) = self.limit;
        let start = start.clamp(0, len as i64) as usize;
        let count = if count < 0 { len } else { count.min(len as i64) as usize };
        start..len.min(start + count)
    }

    /// What is to be shown or stored, in order.
    fn rows(
        &self,
        elements: Elements<'_>,
        lookup: &mut Lookup<'_>,
    ) -> Result<Vec<Option<Vec<u8>>>, CommandError> {
        let Elements { mut found, comparison } = elements;
        if let Some(comparison) = comparison {
            let range = self.range(found.len());
            found = comparison.sorted(found, self.descending, lookup)?;
            found.truncate(range.end);
            found.drain(..range.start);
        }
        if self.gets.is_empty() {
            return Ok(found.into_iter().map(Some).collect());
        }
        let mut rows = Vec::with_capacity(found.len() * self.gets.len());
        for element in &found {
            rows.extend(self.gets.iter().map(|get| match get {
                Get::Element => Some(element.clone()),
                Get::Value(pattern) => lookup(&pattern.name(element), pattern.field),
                Get::Nothing => None,
            }));
        }
        Ok(rows)
    }

    /// The keys that `rows` may look up.
    fn names(&self, elements: &Elements<'_>) -> BTreeSet<Vec<u8>> {
        let by = elements.comparison.and_then(|comparison| comparison.by);
        let gets = self.gets.iter().filter_map(|get| match get {
            Get::Value(pattern) => Some(*pattern),
            Get::Element | Get::Nothing => None,
        });
        let patterns: SmallVec<[Pattern<'_>; 4]> = by.into_iter().chain(gets).collect();
        let of_element =
            |element: &Vec<u8>| patterns.iter().map(|pattern| pattern.name(element)).collect::<Vec<_>>();
        elements.found.iter().flat_map(of_element).collect()
    }
}

impl Comparison<'_> {
    fn sorted(
        self,
        elements: Vec<Vec<u8>>,
        descending: bool,
        lookup: &mut Lookup<'_>,
    ) -> Result<Vec<Vec<u8>>, CommandError> {
        let mut weighed = Vec::with_capacity(elements.len());
        for element in elements {
            weighed.push((self.weight(&element, lookup)?, element));
        }
        weighed.sort_by(|one, other| {
            let order = compare(one, other);
            if descending {
                order.reverse()
            } else {
                order
            }
        });
        Ok(weighed.into_iter().map(|(_, element)| element).collect())
    }

    fn weight(self, element: &[u8], lookup: &mut Lookup<'_>) -> Result<Weight, CommandError> {
        let found = self.by.map(|pattern| lookup(&pattern.name(element), pattern.field));
        Ok(match (self.alpha, found) {
            (true, None) => Weight::Itself,
            (true, Some(text)) => Weight::Text(text),
            // What has no weight weighs nothing.
            (false, Some(None)) => Weight::Number(0.0),
            (false, Some(Some(text))) => Weight::Number(number(&text)?),
            (false, None) => Weight::Number(number(element)?),
        })
    }
}

fn number(text: &[u8]) -> Result<f64, CommandError> {
    double::parse_weight(text).ok_or(CommandError::NO_WEIGHT)
}

fn compare((weight, element): &(Weight, Vec<u8>), (other_weight, other): &(Weight, Vec<u8>)) -> Ordering {
    match (weight, other_weight) {
        (Weight::Number(one), Weight::Number(two)) => {
            one.partial_cmp(two).unwrap_or(Ordering::Equal).then_with(|| element.cmp(other))
        }
        (Weight::Text(one), Weight::Text(two)) => one.cmp(two),
        _ => element.cmp(other),
    }
}

impl<'a> Pattern<'a> {
    /// The pattern, if there is a place for an element in it.
    fn parse(text: &'a [u8]) -> Option<Pattern<'a>> {
        let star = text.iter().position(|&byte| byte == b'*')?;
        let (before, after) = (&text[..star], &text[star + 1..]);
        let arrow = after.windows(2).position(|pair| pair == b"->").filter(|&at| at + 2 < after.len());
        let (after, field) = match arrow {
            Some(at) => (&after[..at], Some(&after[at + 2..])),
            None => (after, None),
        };
        Some(Pattern { before, after, field })
    }

    /// The key for an element.
    fn name(&self, element: &[u8]) -> Vec<u8> {
        [self.before, element, self.after].concat()
    }
}

impl<'a> Get<'a> {
    fn parse(text: &'a [u8]) -> Get<'a> {
        match text {
            b"#" => Get::Element,
            text => Pattern::parse(text).map_or(Get::Nothing, Get::Value),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;
    use crate::resp::reply::{as_bulk, elements};

    const NO_WEIGHT: &str = "-ERR One or more scores can't be converted into double\r\n";

    /// The elements of the reply, `-` for null.
    fn run(shard: &mut Harness, line: &str) -> String {
        let reply = shard.run(line);
        assert!(reply.starts_with('*'), "{line}: {reply}");
        let shown = elements(reply.as_bytes()).map(|element| {
            as_bulk(element).map_or("-".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn elements_are_sorted_as_numbers_or_bytes() {
        let mut shard = Harness::new();
        shard.run("RPUSH l 10 9 -1 1e1 2.5 0x10");
        for (options, order) in [
            ("", "-1 2.5 9 10 1e1 0x10"),
            ("DESC", "0x10 1e1 10 9 2.5 -1"),
            ("desc ASC", "-1 2.5 9 10 1e1 0x10"),
            ("ALPHA", "-1 0x10 10 1e1 2.5 9"),
            ("alpha DESC", "9 2.5 1e1 10 0x10 -1"),
            ("LIMIT 1 2", "2.5 9"),
            ("LIMIT -3 2", "-1 2.5"),
            ("LIMIT 4 -7", "1e1 0x10"),
            ("LIMIT 6 1", ""),
            ("LIMIT 0 0", ""),
            ("LIMIT 1 9223372036854775807", "2.5 9 10 1e1 0x10"),
            ("LIMIT 1 1 LIMIT 2 1", "9"),
        ] {
            for command in ["SORT", "SORT_RO"] {
                assert_eq!(run(&mut shard, &format!("{command} l {options}")), order, "{options}");
            }
        }
        assert_eq!(run(&mut shard, "SORT none DESC"), "");
        shard.run("SADD s 3 1 2");
        assert_eq!(run(&mut shard, "SORT s DESC"), "3 2 1");
        shard.run("ZADD z 1 b 2 a 3 c");
        assert_eq!(run(&mut shard, "SORT z ALPHA"), "a b c");
    }

    #[test]
    fn weights_and_values_come_from_other_keys() {
        let mut shard = Harness::new();
        shard.run("RPUSH l a b c d");
        shard.run("MSET w_a 3 w_b 1 w_d 2 v_a A v_b B n 5");
        shard.run("HSET h_a w 1 v X");
        shard.run("HSET h_b w 7 v Y");
        shard.run("SADD w_s x");
        for (options, rows) in [
            ("BY w_*", "c b d a"),
            ("BY w_* DESC", "a d b c"),
            ("BY w_* LIMIT 1 2", "b d"),
            ("BY w_* ALPHA", "c b d a"),
            ("BY h_*->w", "c d a b"),
            ("BY h_*->w GET h_*->v GET #", "- c - d X a Y b"),
            ("BY nosort GET v_*", "A B - -"),
            ("BY nosort GET n GET # LIMIT 0 1", "- a"),
            ("BY nosort GET h_* LIMIT 0 1", "-"),
            ("BY nosort GET v_*->v LIMIT 0 1", "-"),
            ("BY nosort GET w_*-> LIMIT 0 1", "-"),
            ("BY none_*", "a b c d"),
            // That nothing is to be sorted stays said.
            ("BY nosort BY w_*", "a b c d"),
            ("BY w_* BY nosort", "a b c d"),
        ] {
            assert_eq!(run(&mut shard, &format!("SORT l {options}")), rows, "{options}");
        }
        shard.run("SET w_c x");
        assert_eq!(shard.run("SORT l BY w_*"), NO_WEIGHT);
        assert_eq!(run(&mut shard, "SORT l BY w_* ALPHA"), "b d a c");
        shard.run("RPUSH s s");
        assert_eq!(run(&mut shard, "SORT s BY w_* GET w_*"), "-", "a set is no weight");
    }

    #[test]
    fn without_sorting_the_order_is_that_of_the_key() {
        let mut shard = Harness::new();
        shard.run("RPUSH l c a d b");
        shard.run("ZADD z 1 c 2 a 3 d 4 b");
        for key in ["l", "z"] {
            for (options, order) in [
                ("", "c a d b"),
                ("DESC", "b d a c"),
                ("LIMIT 1 2", "a d"),
                ("DESC LIMIT 1 2", "d a"),
                ("DESC LIMIT 3 9", "c"),
                ("DESC LIMIT 4 1", ""),
                ("LIMIT 9 9", ""),
            ] {
                assert_eq!(
                    run(&mut shard, &format!("SORT {key} BY nosort {options}")),
                    order,
                    "{key} {options}"
                );
            }
        }
        shard.run("SADD s 3 1 2");
        assert_eq!(run(&mut shard, "SORT s BY nosort DESC LIMIT 1 1"), "2");
    }

    #[test]
    fn results_are_stored_as_lists() {
        let mut shard = Harness::new();
        shard.run("SADD s b a c");
        shard.run("SET d old EX 10");
        shard.run("SET v_a A");
        assert_eq!(shard.run("SORT s ALPHA DESC STORE d"), ":3\r\n");
        assert_eq!(run(&mut shard, "LRANGE d 0 -1"), "c b a");
        assert_eq!(shard.ttl_ms("d"), None);
        assert_eq!(shard.run("SORT s BY nosort GET # GET v_* STORE d"), ":6\r\n");
        assert_eq!(run(&mut shard, "LRANGE d 0 -1"), "a A b  c ", "a set is sorted, and nothing is empty");
        assert_eq!(shard.run("SORT s ALPHA LIMIT 3 1 STORE d"), ":0\r\n");
        assert_eq!(shard.run("EXISTS d"), ":0\r\n");
        assert_eq!(shard.run("SORT none STORE s"), ":0\r\n");
        assert_eq!(shard.run("EXISTS s"), ":0\r\n");
        shard.run("RPUSH l 2 1");
        assert_eq!(shard.run("SORT l STORE x STORE l"), ":2\r\n");
        assert_eq!(run(&mut shard, "LRANGE l 0 -1"), "1 2");
        assert_eq!(shard.run("EXISTS x"), ":0\r\n");
    }

    #[test]
    fn bad_arguments_and_elements() {
        let mut shard = Harness::new();
        shard.run("RPUSH l 1 x");
        shard.run("SET t 1");
        shard.run("HSET h f 1");
        let syntax = "-ERR syntax error\r\n";
        let wrong_type = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
        for (line, error) in [
            ("SORT l", NO_WEIGHT),
            ("SORT l DESC STORE d", NO_WEIGHT),
            ("SORT t", wrong_type),
            ("SORT h BY nosort", wrong_type),
            ("SORT l BY", syntax),
            ("SORT l GET", syntax),
            ("SORT l STORE", syntax),
            ("SORT l LIMIT 1", syntax),
            ("SORT l FOO", syntax),
            ("SORT_RO l STORE d", syntax),
            ("SORT l LIMIT x 1 FOO", "-ERR value is not an integer or out of range\r\n"),
            ("SORT l FOO LIMIT x 1", syntax),
        ] {
            assert_eq!(shard.run(line), error, "{line}");
        }
        assert_eq!(shard.run("EXISTS d"), ":0\r\n");
    }

    #[test]
    fn the_names_of_other_keys_can_be_asked_for() {
        let mut shard = Harness::new();
        shard.run("RPUSH l a b a");
        for (options, names) in [
            ("", ""),
            ("BY w_*->f GET # GET v_*x GET n", "v_ax v_bx w_a w_b"),
            ("BY nosort BY w_* GET v_* LIMIT 1 1", "v_b"),
            ("ALPHA STORE d", ""),
        ] {
            assert_eq!(run(&mut shard, &format!("_sort_keys l {options}")), names, "{options}");
        }
        assert_eq!(run(&mut shard, "_sort_keys none GET v_*"), "");
    }
}
