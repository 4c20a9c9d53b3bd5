//! How long a core stops at most while something huge goes: a set, a hash, a sorted set or a list, or a database of
//! keys.
//!
//! `cargo bench --bench free -- [elements]` (10M by default) fills a keyspace, lets what is in it go by DEL, FLUSHALL
//! or expiry, and then does what the core's cron does, step by step (`host/cron.rs` has the same sizes of steps): a
//! client of the same shard waits for one slice of steps at most, and a slice ends with the first step that is over
//! after 100 microseconds. So what is printed is the longest command, the longest step, and the longest slice.
//!
//! Time is the thread's own: on a shared machine a wall clock shows the neighbours. What the kernel does for the
//! thread, such as taking pages back, is in it.

use ringward::base::ids::DbIndex;
use ringward::base::key::KeyHasher;
use ringward::base::time::UnixMs;
use ringward::ds::collection::Edit;
use ringward::ds::hash::FieldExpire;
use ringward::ds::list::End;
use ringward::keyspace::{Hash, Keyspace, KeyspaceOptions, List, NewValue, Set, SetExpire, Zset};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DB: DbIndex = DbIndex(0);
const NOW: UnixMs = UnixMs(1_700_000_000_000);

/// As in `host/cron.rs`.
const STEP_BUCKETS: usize = 64;
const STEP_SEGMENTS: usize = 8;
const SLICE_NS: u64 = 100_000;

#[derive(Clone, Copy, Debug)]
enum Way {
    Del,
    FlushAll,
    Expiry,
}

fn main() {
    let elements = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(10_000_000);
    println!("{elements} elements; microseconds of the thread's CPU");
    println!(
        "{:10} {:9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "what", "goes by", "command", "step", "slice", "slices", "all"
    );
    let ways = [Way::Del, Way::FlushAll, Way::Expiry];
    for way in ways {
        run("set", way, elements, |k, key| {
            fill(k, key, elements, |set: &mut Set, edit, number| {
                set.add(format!("member:{number:09}").as_bytes(), edit);
            })
        });
    }
    run("hash", Way::Del, elements, |k, key| {
        fill(k, key, elements, |hash: &mut Hash, edit, number| {
            let (name, value) = (format!("field:{number:09}"), format!("value:{number:09}"));
            hash.set(edit, name.as_bytes(), value.as_bytes(), FieldExpire::Keep);
        })
    });
    run("zset", Way::Del, elements, |k, key| {
        fill(k, key, elements, |zset: &mut Zset, edit, number| {
            let member = format!("member:{number:09}");
            zset.update(edit, member.as_bytes(), |_| Some(number as f64));
        })
    });
    run("list", Way::Del, elements, |k, key| {
        fill(k, key, elements, |list: &mut List, edit, number| {
            list.push(edit, End::Back, format!("element:{number:09}").as_bytes());
        })
    });
    for way in [Way::FlushAll, Way::Expiry] {
        run("keys", way, elements, |k, _| {
            for number in 0..elements {
                let name = format!("key:{number:012}");
                let key = k.hasher().clone();
                let key = key.key(name.as_bytes());
                k.set(DB, key, NOW, NewValue::Raw(b"a value"), SetExpire::At(UnixMs(NOW.0 + 1000)));
            }
        });
    }
}

/// Puts so many elements into the collection at `key`, which expires in a second.
fn fill<C: ringward::keyspace::Kept>(
    keyspace: &mut Keyspace,
    name: &[u8],
    elements: usize,
    mut add: impl FnMut(&mut C, &mut Edit<'_>, usize),
) {
    let hasher = keyspace.hasher().clone();
    let mut slot = keyspace.find(DB, hasher.key(name), NOW);
    let filled = slot.edit(|collection: &mut C, edit| {
        (0..elements).for_each(|number| add(collection, edit, number));
        edit.changed(elements as u64);
    });
    assert!(filled.is_ok() && slot.set_expire(Some(UnixMs(NOW.0 + 1000))));
}

fn run(what: &str, way: Way, elements: usize, fill: impl FnOnce(&mut Keyspace, &[u8])) {
    let mut keyspace = Keyspace::new(1, KeyHasher::new([1, 2, 3, 4]), KeyspaceOptions::default());
    fill(&mut keyspace, b"large");
    let full = keyspace.used_memory();
    assert!(full > elements as u64, "{full} bytes");
    let later = UnixMs(NOW.0 + 2000);
    let start = cpu_ns();
    match way {
        Way::Del => {
            let key = keyspace.hasher().clone();
            assert!(keyspace.remove(DB, key.key(b"large"), NOW));
        }
        Way::FlushAll => assert!(keyspace.flush_all() > 0),
        Way::Expiry => {}
    }
    let command_ns = cpu_ns() - start;
    let (mut step_max_ns, mut slice_max_ns, mut slices) = (0, 0, 0);
    let mut kinds = [true; 3];
    while kinds.contains(&true) {
        kinds = [true; 3];
        // One slice: the kinds of work take turns.
        let slice = cpu_ns();
        let mut now = slice;
        while now - slice < SLICE_NS && kinds.contains(&true) {
            for (kind, more) in kinds.iter_mut().enumerate().filter(|(_, more)| **more) {
                *more = match kind {
                    0 => keyspace.expire_step(later, STEP_BUCKETS).more,
                    1 => keyspace.free_step(STEP_BUCKETS),
                    _ => keyspace.maintain_step(STEP_SEGMENTS) || keyspace.defrag_step(STEP_BUCKETS).more,
                };
                let after = cpu_ns();
                step_max_ns = step_max_ns.max(after - now);
                now = after;
                if now - slice >= SLICE_NS {
                    break;
                }
            }
        }
        slice_max_ns = slice_max_ns.max(now - slice);
        slices += 1;
    }
    let all_ns = cpu_ns() - start;
    assert!(keyspace.used_memory() < full / 100, "{} of {full} bytes are left", keyspace.used_memory());
    let us = |ns: u64| format!("{:.1}", ns as f64 / 1000.0);
    println!(
        "{what:10} {:9} {:>9} {:>9} {:>9} {slices:>9} {:>9}",
        format!("{way:?}"),
        us(command_ns),
        us(step_max_ns),
        us(slice_max_ns),
        us(all_ns)
    );
}

/// The CPU time of this thread.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists, and the struct is ours to write.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
