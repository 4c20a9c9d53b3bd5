//! HyperLogLogs, which are strings.

use super::words::{key_of, keys_of, Family, Words};
use super::Random;

pub(super) fn command(r: &mut Random) -> Words {
    const NAMES: &[&str] =
        &["PFADD", "PFADD", "PFADD", "PFCOUNT", "PFCOUNT", "PFMERGE", "PFDEBUG", "GET", "STRLEN"];
    let name = r.pick(NAMES);
    let mut words = vec![name.into(), key_of(r, Family::HyperLogLog)];
    match name {
        "PFADD" => {
            let (count, reach) = ([0, 1, 3, 30, 300][r.below(5)], [10, 1000, 100_000][r.below(3)]);
            words.extend((0..count).map(|_| r.below(reach).to_string().into_bytes()));
        }
        "PFCOUNT" | "PFMERGE" => {
            let more = r.below(4);
            words.extend(keys_of(r, Family::HyperLogLog, more));
        }
        "PFDEBUG" => {
            let what = r.pick(&["GETREG", "decode", "Encoding", "DECODE", "todense", "foo"]);
            words.insert(1, what.into());
        }
        _ => {}
    }
    words
}
