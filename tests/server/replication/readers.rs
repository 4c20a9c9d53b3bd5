//! Clients that read while something happens, on each node one, and know half a transaction when they see it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::Duration;

use super::super::harness::{words, Client, Value};
use super::load::{accounts, group, Kind, Over, CARDS, GROUPS, HANDS, MONEY, PATIENCE};

/// Runs `body` while clients read on all these nodes what clients of these kinds write. How often they have seen
/// something, too. Clients who are refused, or whose connection ends, try again.
#[track_caller]
pub(super) fn while_reading<R>(nodes: &[SocketAddr], kinds: &[Kind], body: impl FnOnce() -> R) -> (R, u64) {
    let (stop, looks, wrong) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(None));
    let result = std::thread::scope(|scope| {
        for &address in nodes {
            let (stop, looks, wrong) = (&stop, &looks, &wrong);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(2));
                    let Ok(mut client) = Client::try_connect(address) else { continue };
                    client.set_timeout(PATIENCE);
                    while !stop.load(Ordering::Relaxed) {
                        match look(&mut client, kinds) {
                            Err(_) => break,
                            Ok(Err(half)) => {
                                eprintln!("{address} has shown half a transaction: {half}");
                                wrong.lock().unwrap().get_or_insert(half);
                            }
                            Ok(Ok(seen)) => {
                                looks.fetch_add(seen, Ordering::Relaxed);
                            }
                        }
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            });
        }
        let over = Over(&stop);
        let result = body();
        drop(over);
        result
    });
    assert_eq!(wrong.into_inner().unwrap(), None, "half a transaction");
    (result, looks.into_inner())
}

/// Looks at everything once; says what is half, or how much was seen.
pub(super) fn look(client: &mut Client, kinds: &[Kind]) -> io::Result<Result<u64, String>> {
    let mut seen = 0;
    for kind in kinds {
        let found = match kind {
            Kind::Groups => look_at_groups(client)?,
            Kind::Money => look_at_money(client)?,
            Kind::Moves => look_at_moves(client)?,
            _ => continue,
        };
        match found {
            Ok(count) => seen += count,
            Err(half) => return Ok(Err(half)),
        }
    }
    Ok(Ok(seen))
}

fn look_at_groups(client: &mut Client) -> io::Result<Result<u64, String>> {
    let mut seen = 0;
    for number in 0..GROUPS {
        let keys = group(number);
        let values = match number % 2 {
            0 => one(client, &format!("MGET {}", keys.join(" ")))?,
            _ => together(client, &keys.iter().map(|key| format!("GET {key}")).collect::<Vec<_>>())?,
        };
        let Some(values) = values else { continue };
        if values.iter().any(|value| *value != values[0]) {
            return Ok(Err(format!("group {number}: {values:?}")));
        }
        seen += 1;
    }
    Ok(Ok(seen))
}

fn look_at_money(client: &mut Client) -> io::Result<Result<u64, String>> {
    let Some(values) = one(client, &format!("MGET {}", accounts().join(" ")))? else { return Ok(Ok(0)) };
    // A replica that never had a snapshot has nothing.
    if values.iter().all(|value| *value == Value::NullBulk) {
        return Ok(Ok(0));
    }
    let held =
        |value: &Value| if *value == Value::NullBulk { 0 } else { value.text().parse::<i64>().unwrap() };
    let sum: i64 = values.iter().map(held).sum();
    Ok(if sum == MONEY { Ok(1) } else { Err(format!("{sum} in all accounts: {values:?}")) })
}

fn look_at_moves(client: &mut Client) -> io::Result<Result<u64, String>> {
    let mut lines: Vec<_> = (0..HANDS).map(|hand| format!("LRANGE hand:{hand} 0 -1")).collect();
    lines.push("MGET left right spare next last".to_owned());
    let Some(values) = together(client, &lines)? else { return Ok(Ok(0)) };
    let number = |value: &Value| match value {
        Value::NullBulk => None,
        value => Some(value.text().parse::<i64>().unwrap()),
    };
    let mut cards: Vec<_> = values[..HANDS].iter().flat_map(|hand| hand.items()).map(number).collect();
    cards.sort();
    let [left, right, spare, next, last] = values[HANDS].items() else { panic!("{values:?}") };
    let sides = [number(left), number(right)];
    let (next, last) = (number(next), number(last));
    if cards.is_empty() && sides == [None; 2] {
        return Ok(Ok(0));
    }
    let is_whole = cards == (0..CARDS as i64).map(Some).collect::<Vec<_>>()
        && (sides == [Some(1), Some(2)] || sides == [Some(2), Some(1)])
        && *spare == Value::NullBulk
        && next.is_none_or(|next| next > last.unwrap_or(0));
    Ok(if is_whole { Ok(1) } else { Err(format!("{lines:?}: {values:?}")) })
}

/// What a command gives; nothing where it is refused.
fn one(client: &mut Client, line: &str) -> io::Result<Option<Vec<Value>>> {
    client.try_send(&words(line))?;
    match client.try_read()? {
        Value::Array(values) => Ok(Some(values)),
        Value::Error(_) => Ok(None),
        other => panic!("{line}: {other:?}"),
    }
}

/// What commands give in MULTI and EXEC; nothing where it is refused.
fn together(client: &mut Client, lines: &[String]) -> io::Result<Option<Vec<Value>>> {
    let all = ["MULTI".to_owned()].into_iter().chain(lines.iter().cloned()).chain(["EXEC".to_owned()]);
    let requests: Vec<_> = all.map(|line| words(&line)).collect();
    client.try_send(&requests.concat())?;
    let mut last = Value::Null;
    for _ in &requests {
        last = client.try_read()?;
    }
    match last {
        Value::Array(values) if values.iter().any(Value::is_error) => Ok(None),
        Value::Array(values) => Ok(Some(values)),
        Value::Error(_) => Ok(None),
        other => panic!("{lines:?}: {other:?}"),
    }
}
