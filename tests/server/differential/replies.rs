//! When two replies count as the same.
//!
//! The peer is redis-server 7.0 (Debian's) while Ringward speaks 7.2.4: where these two differ stands in `KNOWN`, with
//! the reason. Elsewhere replies are equal to the byte, but for the order of what has none, for what chance draws, for
//! what clocks say and for the digits of a score.

use super::super::harness::Value;
use super::shown;

/// What 7.0 answers differently from 7.2: the command's first words in upper case, a text that must be in the reply of
/// one of the two, and the reason.
const KNOWN: &[(&str, &str, &str)] = &[
    ("COMMAND GETKEYS", "wrong number of arguments for", "since 7.2 the command need not have arguments"),
    ("HELLO", "Syntax error in HELLO option", "since 7.2 all options are read before the first takes effect"),
    ("BITCOUNT", "not an integer", "since 7.2 the range is read also where there is no key"),
    (
        "BITCOUNT",
        "syntax error",
        "since 7.2 the unit is read also where there is no key or the range is empty",
    ),
    ("BITPOS", "not an integer", "since 7.2 the range is read also where there is no key"),
    ("BITPOS", "syntax error", "since 7.2 the unit is read also where there is no key"),
    ("OBJECT ENCODING", "listpack", "since 7.2 short lists and sets of strings are listpacks"),
];

/// Whether the replies are the same as far as they must be.
pub(super) fn equal(args: &[Vec<u8>], expected: &Value, actual: &Value) -> bool {
    if expected == actual {
        return true;
    }
    let line = shown(args).to_ascii_uppercase();
    if KNOWN.iter().any(|(command, text, _)| {
        line.starts_with(command)
            && [expected, actual].iter().any(|reply| format!("{reply:?}").contains(text))
    }) {
        return true;
    }
    let name = line.split(' ').next().unwrap_or_default();
    match (name, expected, actual) {
        // The servers' clocks are read at different moments.
        ("TTL" | "EXPIRETIME", Value::Int(e), Value::Int(a)) => *e > 0 && e.abs_diff(*a) <= 2,
        ("PTTL" | "PEXPIRETIME", Value::Int(e), Value::Int(a)) => *e > 0 && e.abs_diff(*a) <= 5000,
        ("OBJECT", Value::Int(e), Value::Int(a)) => {
            line.starts_with("OBJECT IDLETIME") && e.abs_diff(*a) <= 5
        }
        // The order is the server's to choose, and so is the key.
        ("KEYS" | "SMEMBERS" | "SINTER" | "SUNION" | "SDIFF" | "SPOP" | "HKEYS" | "HVALS", ..) => {
            expected.clone().sorted() == actual.clone().sorted()
        }
        ("HGETALL", ..) => pairs(expected) == pairs(actual),
        ("SRANDMEMBER" | "HRANDFIELD" | "ZRANDMEMBER", ..) => are_drawn_alike(args, expected, actual),
        ("RANDOMKEY", Value::Bulk(_), Value::Bulk(_)) => true,
        // Since 7.2 a score has as few digits as it needs.
        (name, ..) if name.starts_with('Z') || name.starts_with("BZ") => is_same_number(expected, actual),
        // How much a key takes is each server's own; whether it is there is not.
        ("MEMORY", Value::Int(_), Value::Int(_)) => line.starts_with("MEMORY USAGE"),
        ("CLIENT", Value::Int(_), Value::Int(_)) => line == "CLIENT ID",
        ("HELLO", Value::Array(_) | Value::Map(_), _) => greeting(expected) == greeting(actual),
        ("TIME", Value::Array(_), Value::Array(_)) => true,
        _ => false,
    }
}

/// Whether the replies are equal but for how numbers in them are written.
fn is_same_number(expected: &Value, actual: &Value) -> bool {
    let are_same = |expected: &[u8], actual: &[u8]| {
        let [expected, actual] =
            [expected, actual].map(|text| std::str::from_utf8(text).ok()?.parse::<f64>().ok());
        expected.is_some() && expected == actual
    };
    match (expected, actual) {
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len() && expected.iter().zip(actual).all(|(e, a)| is_same_number(e, a))
        }
        (Value::Bulk(e), Value::Bulk(a)) | (Value::Double(e), Value::Double(a)) => e == a || are_same(e, a),
        _ => expected == actual,
    }
}

/// Whether as much was drawn, of the same kind, and nothing twice where that must not be.
fn are_drawn_alike(args: &[Vec<u8>], expected: &Value, actual: &Value) -> bool {
    let (Value::Array(theirs), Value::Array(ours)) = (expected, actual) else {
        return matches!((expected, actual), (Value::Bulk(_), Value::Bulk(_)));
    };
    let kinds = |values: &[Value]| values.iter().map(std::mem::discriminant).collect::<Vec<_>>();
    let is_distinct = args[2].starts_with(b"-") || {
        let with_values = args.len() > 3;
        let nested = ours.iter().any(|value| matches!(value, Value::Array(_)));
        let mut drawn: Vec<&Value> =
            ours.iter().step_by(if with_values && !nested { 2 } else { 1 }).collect();
        drawn.sort_by(|a, b| a.partial_cmp(b).expect("values are ordered"));
        drawn.windows(2).all(|pair| pair[0] != pair[1])
    };
    kinds(theirs) == kinds(ours) && is_distinct
}

/// A map's pairs in order, also where an array stands for the map.
fn pairs(reply: &Value) -> Result<Vec<(Value, Value)>, Value> {
    let mut pairs: Vec<(Value, Value)> = match reply {
        Value::Map(pairs) => pairs.clone(),
        Value::Array(items) => items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
        other => return Err(other.clone()),
    };
    pairs.sort_by(|a, b| a.partial_cmp(b).expect("values are ordered"));
    Ok(pairs)
}

/// What HELLO says, without what is each server's own.
fn greeting(reply: &Value) -> Vec<(Value, Value)> {
    let pairs = match reply {
        Value::Map(pairs) => pairs.clone(),
        other => other.items().chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
    };
    pairs.into_iter().filter(|(name, _)| !matches!(name.text().as_str(), "version" | "id")).collect()
}
