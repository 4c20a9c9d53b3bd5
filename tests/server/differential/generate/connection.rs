//! Commands on the connection, and on none.

use super::words::{integer, key, value, words_of, Words};
use super::Random;

pub(super) fn command(r: &mut Random) -> Words {
    match r.below(30) {
        0 | 1 => words_of(&["PING"]),
        2 => vec!["PING".into(), value(r)],
        3 => vec!["ECHO".into(), value(r)],
        4 => words_of(&["CLIENT", "GETNAME"]),
        5 => {
            vec!["CLIENT".into(), "SETNAME".into(), r.pick(&["", "me", "a b", "x\ny", "\u{e9}", "!~"]).into()]
        }
        6 => words_of(&["CLIENT", "ID"]),
        7 => words_of(&["CLIENT", "NO-EVICT", r.pick(&["on", "OFF", "x"])]),
        8 => words_of(&["CLIENT", "REPLY", r.pick(&["ON", "x"])]),
        9 => words_of(&["CLIENT", "KILL", r.pick(&["1.2.3.4:5", "ID", "x"])]),
        10 => words_of(&[
            "CLIENT",
            "KILL",
            r.pick(&["ID", "ADDR", "TYPE", "USER", "SKIPME", "LADDR", "x"]),
            r.pick(&["123456789", "0", "x", "-1"]),
        ]),
        11 => {
            words_of(&["CLIENT", "LIST", r.pick(&["ID", "TYPE", "x"]), r.pick(&["987654321", "x", "master"])])
        }
        12 => {
            words_of(&["CLIENT", "UNBLOCK", r.pick(&["987654321", "x"]), r.pick(&["TIMEOUT", "ERROR", "x"])])
        }
        13 => words_of(&["CLIENT", "PAUSE", r.pick(&["0", "x", "-1"]), r.pick(&["WRITE", "ALL", "x"])]),
        14 => words_of(&["CLIENT", "UNPAUSE"]),
        15 => words_of(&["CLIENT", r.pick(&["foo", "GETNAM", "", "REPLY"])]),
        16 | 17 => words_of(&["HELLO", r.pick(&["2", "3", "3", "3"])]),
        18 => words_of(&["HELLO", r.pick(&["1", "4", "x", "", "99999999999999999999"])]),
        19 => words_of(&[
            "HELLO",
            "3",
            r.pick(&["AUTH", "x"]),
            r.pick(&["me", "a b", "default"]),
            r.pick(&["pw", "SETNAME"]),
        ]),
        20 => words_of(&["HELLO", "2", "SETNAME", r.pick(&["me", "a b", ""])]),
        21 => words_of(&["RESET"]),
        22 => words_of(&["AUTH", r.pick(&["pw", ""])]),
        23 => words_of(&["AUTH", r.pick(&["default", "nobody"]), "pw"]),
        24 => vec![
            r.pick(&["FOO", "GE", "get ", "x\r\ny", "*", &"n".repeat(200)]).into(),
            integer(r),
            key(r),
            integer(r),
        ],
        25 => vec![
            "COMMAND".into(),
            "GETKEYS".into(),
            r.pick(&["MSET", "GET", "COPY", "PING", "foo", "DEL", "OBJECT"]).into(),
            key(r),
            key(r),
        ],
        26 => words_of(&["COMMAND", r.pick(&["foo", "GETKEYS"]), "x", "y"]),
        27 => words_of(&["OBJECT", r.pick(&["foo", "ENCODING", "HELPx"])]),
        28 => words_of(&["DEBUG", r.pick(&["foo", "SLEEP", "DIGEST-VALUE", "SET-ACTIVE-EXPIRE"])]),
        _ => words_of(&["HELLO"]),
    }
}
