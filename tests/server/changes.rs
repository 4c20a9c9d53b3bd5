//! What counts as a change of the data (`rdb_changes_since_last_save`), compared with a real redis-server.

use super::harness::{Client, Peer, Server};

/// The keys that every command finds.
const DATA: &[&str] = &[
    "FLUSHALL",
    "SET string a",
    "SET number 12",
    "RPUSH list 1 2 3 4 5 6",
    "RPUSH other-list a",
    "SADD set 1 2 3 4",
    "SADD other-set 3 4 5",
    "HSET hash a 1 b 2 c 3",
    "ZADD zset 1 a 2 b 3 c",
    "ZADD other-zset 5 b 6 q",
    "PFADD log a b c",
    "PFADD other-log d",
];

const COMMANDS: &[&str] = &[
    "APPEND string abc",
    "BITFIELD string GET u8 0",
    "BITFIELD string SET u8 0 1 INCRBY u8 8 1",
    "BITOP AND none nothing nobody",
    "BITOP AND string nothing nobody",
    "BITOP NOT none string",
    "BLMPOP 0 2 none list LEFT COUNT 2",
    "BLPOP none list 0",
    "BZPOPMIN none zset 0",
    "COPY string none",
    "COPY string number",
    "COPY string number REPLACE",
    "DEL string number none list",
    "EXPIRE none 100",
    "EXPIRE string -1",
    "EXPIRE string 100",
    "FLUSHALL",
    "FLUSHDB",
    "GETDEL string",
    "GETEX string",
    "GETEX string EX 100",
    "GETEX string EXAT 1",
    "GETEX string PERSIST",
    "GETSET string x",
    "HDEL hash a b none",
    "HINCRBY hash a 1",
    "HSET hash a 1 b 2 z 9",
    "HSETNX hash a 1",
    "INCRBYFLOAT number 1.5",
    "LINSERT list BEFORE 3 x",
    "LINSERT list BEFORE none x",
    "LMOVE list list LEFT RIGHT",
    "LMPOP 2 none list LEFT COUNT 3",
    "LPOP list 0",
    "LPOP list 3",
    "LPUSHX list x y",
    "LPUSHX none x",
    "LREM list 0 3",
    "LSET list 0 q",
    "LTRIM list 1 2",
    "LTRIM list 9 9",
    "MOVE string 1",
    "MSET string 1 number 2 none 3",
    "MSETNX none 1 nothing 2",
    "MSETNX string 1 nothing 2",
    "PERSIST string",
    "PFADD log a",
    "PFADD log x y z a",
    "PFADD none",
    "PFADD none a b c",
    "PFCOUNT log",
    "PFMERGE log log other-log",
    "PFMERGE none log other-log",
    "RENAMENX string number",
    "RPUSH list x y z",
    "SADD set 1 2 9 10",
    "SDIFFSTORE none set set",
    "SDIFFSTORE other-set set set",
    "SET string x EX 100",
    "SET string x NX",
    "SETBIT string 3 0",
    "SETRANGE string 3 abc",
    "SINTERSTORE none set other-set",
    "SORT list STORE none",
    "SORT none STORE list",
    "SORT none STORE nothing",
    "SPOP set",
    "SPOP set 10",
    "SPOP set 2",
    "SREM set 1 2 99",
    "SUNIONSTORE none set other-set",
    "TOUCH string number",
    "UNLINK string set none",
    "ZADD zset 1 a 5 b 7 x",
    "ZADD zset CH 1 a",
    "ZDIFFSTORE other-zset 2 zset zset",
    "ZINCRBY zset 1 a",
    "ZMPOP 2 zset other-zset MIN COUNT 2",
    "ZPOPMIN zset 2",
    "ZRANGESTORE none zset 0 -1",
    "ZRANGESTORE other-zset zset 5 9",
    "ZREM zset a b none",
    "ZREMRANGEBYRANK zset 0 1",
    "ZUNIONSTORE none 2 zset other-zset",
];

/// Two keys change, or one on every shard.
const MOVES: &[&str] = &[
    "BLMOVE list other-list LEFT RIGHT 0",
    "LMOVE list other-list LEFT RIGHT",
    "RENAME list other-list",
    "RENAME string none",
    "RENAME string number",
    "RENAMENX string none",
    "RPOPLPUSH list none",
    "SMOVE set none 1",
    "SMOVE set other-set 1",
    "SMOVE set other-set 3",
    "SWAPDB 0 1",
];

/// What the command adds to the number of changes.
fn changes(client: &mut Client, command: &str) -> u64 {
    for line in DATA {
        assert!(!client.run(line).is_error(), "{line}");
    }
    let before = count(client);
    let reply = client.run(command);
    assert!(!reply.is_error(), "{command}: {reply:?}");
    count(client) - before
}

fn count(client: &mut Client) -> u64 {
    let info = client.run("INFO persistence").text();
    let line = info.lines().find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"));
    line.unwrap_or_else(|| panic!("{info}")).parse().unwrap()
}

#[test]
fn as_much_counts_as_changed_as_in_redis() {
    let peer = Peer::start();
    let mut redis = peer.client();
    for shards in [1, 5] {
        let server = Server::start(shards);
        let mut client = server.client();
        for command in COMMANDS {
            let (expected, actual) = (changes(&mut redis, command), changes(&mut client, command));
            assert_eq!(actual, expected, "{command} on {shards} shards");
        }
        for command in MOVES {
            // Each shard counts for itself what it has changed.
            let (expected, actual) = (changes(&mut redis, command), changes(&mut client, command));
            let most = if shards == 1 { expected } else { expected.max(2).max(u64::from(shards)) };
            assert!((expected..=most).contains(&actual), "{command} on {shards} shards: {actual}");
        }
    }
}
