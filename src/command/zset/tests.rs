//! The commands as a client sees them; `differential.rs` compares them with Redis's.

use crate::command::harness::Harness;
use crate::resp::Proto;

/// What a client would print: the reply's lines, without lengths of strings.
fn shown(reply: &str) -> String {
    let lines: Vec<&str> = reply.split_terminator("\r\n").collect();
    let is_length = |line: &&&str| line.starts_with('$') && **line != "$-1";
    lines.iter().filter(|line| !is_length(line)).copied().collect::<Vec<_>>().join(" ")
}

fn run(shard: &mut Harness, line: &str) -> String {
    shown(&shard.run(line))
}

/// Runs commands, each with what it should answer.
fn check(shard: &mut Harness, cases: &[(&str, &str)]) {
    for (line, expected) in cases {
        assert_eq!(run(shard, line), *expected, "{line}");
    }
}

/// A shard whose sorted sets are small, and one whose sorted sets are large.
fn shards() -> [Harness; 2] {
    let large = {
        let mut shard = Harness::new();
        let mut options = shard.keyspace.options().clone();
        options.encodings.zset.entries = 0;
        shard.keyspace.set_options(options);
        shard
    };
    [Harness::new(), large]
}

#[test]
fn adding_members() {
    for mut shard in shards() {
        check(
            &mut shard,
            &[
                ("ZADD z 1 a 2.5 b 1 a", ":2"),
                ("ZADD z 3 a 4 c", ":1"),
                ("ZADD z CH 3 a 5 c 6 d", ":2"),
                ("ZADD z NX 9 a 9 e", ":1"),
                ("ZADD z XX CH 1 a 9 f", ":1"),
                ("ZADD z GT CH 0 a 7 c 1 g", ":2"),
                ("ZADD z lt ch 2 a 8 c -1 b", ":1"),
                ("ZADD z INCR 2 a", "3"),
                ("ZADD z NX INCR 2 a", "$-1"),
                ("ZADD z XX INCR 2 nosuch", "$-1"),
                ("ZADD z GT INCR -1 a", "$-1"),
                ("ZADD z GT XX INCR 1.25 a", "4.25"),
                ("ZADD nosuch XX 1 a", ":0"),
                ("ZADD nosuch XX INCR 1 a", "$-1"),
                ("EXISTS nosuch", ":0"),
                ("ZINCRBY z 1e3 a", "1004.25"),
                ("ZINCRBY new -2 a", "-2"),
                ("ZRANGE z 0 -1 WITHSCORES", "*12 b -1 g 1 d 6 c 7 e 9 a 1004.25"),
                ("ZADD z inf i -inf j", ":2"),
                ("ZINCRBY z -inf i", "-ERR resulting score is not a number (NaN)"),
                ("ZSCORE z i", "inf"),
            ],
        );
    }
}

#[test]
fn refusals_of_zadd() {
    let mut shard = Harness::new();
    shard.run("SET string x");
    check(
        &mut shard,
        &[
            ("ZADD z 1 a 2", "-ERR syntax error"),
            ("ZADD z NX XX", "-ERR syntax error"),
            ("ZADD z NX XX 1 a", "-ERR XX and NX options at the same time are not compatible"),
            ("ZADD z NX GT 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
            ("ZADD z GT LT 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
            ("ZADD z INCR 1 a 2 b", "-ERR INCR option supports a single increment-element pair"),
            ("ZADD z 1 a x b", "-ERR value is not a valid float"),
            ("ZADD z nan a", "-ERR value is not a valid float"),
            ("ZADD string x b", "-ERR value is not a valid float"),
            ("ZADD string 1 b", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("ZADD string XX 1 b", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("ZINCRBY z NX a", "-ERR syntax error"),
            ("EXISTS z", ":0"),
        ],
    );
}

#[test]
fn only_what_changes_data_counts_as_a_change() {
    for mut shard in shards() {
        for (line, changes) in [
            ("ZADD z 1 a 2 b", 2),
            ("ZADD z 1 a 3 b", 1),
            ("ZADD z NX 7 a", 0),
            ("ZADD z XX 7 x", 0),
            ("ZINCRBY z 0 a", 0),
            ("ZREM z x", 0),
            ("ZREM z a x", 1),
            ("ZREMRANGEBYSCORE z 10 20", 0),
            ("ZPOPMIN z 0", 0),
            ("ZPOPMIN z 5", 1),
            ("ZPOPMIN z", 0),
            ("ZUNIONSTORE d 1 z", 0),
        ] {
            let before = shard.keyspace.dirty();
            shard.run(line);
            assert_eq!(shard.keyspace.dirty() - before, changes, "{line}");
        }
        assert_eq!(shard.run("EXISTS z"), ":0\r\n");
    }
}

#[test]
fn single_members() {
    for mut shard in shards() {
        shard.run("ZADD z 1 a 2 b 2 c 3.5 12");
        shard.run("SET string x");
        check(
            &mut shard,
            &[
                ("ZCARD z", ":4"),
                ("ZCARD nosuch", ":0"),
                ("ZSCORE z 12", "3.5"),
                ("ZSCORE z x", "$-1"),
                ("ZSCORE nosuch x", "$-1"),
                ("ZMSCORE z a x 12", "*3 1 $-1 3.5"),
                ("ZMSCORE nosuch a b", "*2 $-1 $-1"),
                ("ZRANK z c", ":2"),
                ("ZREVRANK z c", ":1"),
                ("ZRANK z x", "$-1"),
                ("ZRANK nosuch x", "$-1"),
                ("ZRANK z c WITHSCORE", "*2 :2 2"),
                ("ZREVRANK z 12 withscore", "*2 :0 3.5"),
                ("ZRANK z x WITHSCORE", "*-1"),
                ("ZRANK nosuch x WITHSCORE", "*-1"),
                ("ZRANK z c WITHSCORES", "-ERR syntax error"),
                ("ZREVRANK z c x y", "-ERR wrong number of arguments for 'zrevrank' command"),
                ("ZSCORE string a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
                ("ZREM z a x 12", ":2"),
                ("ZREM nosuch a", ":0"),
                ("ZREM z b c", ":2"),
                ("EXISTS z", ":0"),
            ],
        );
    }
}

#[test]
fn ranges_by_rank_score_and_member() {
    for mut shard in shards() {
        shard.run("ZADD z 1 a 2 b 3 c 4 d 5 e");
        shard.run("ZADD lex 0 a 0 b 0 c 0 d 0 e");
        check(
            &mut shard,
            &[
                ("ZRANGE z 1 2", "*2 b c"),
                ("ZRANGE z -2 -1 WITHSCORES", "*4 d 4 e 5"),
                ("ZRANGE z 0 1 REV", "*2 e d"),
                ("ZREVRANGE z 0 1 WITHSCORES", "*4 e 5 d 4"),
                ("ZRANGE z 5 9", "*0"),
                ("ZRANGE nosuch 0 -1", "*0"),
                ("ZRANGE z (1 3 BYSCORE", "*2 b c"),
                ("ZRANGE z 4 -inf BYSCORE REV LIMIT 1 2", "*2 c b"),
                ("ZRANGE z 1 inf BYSCORE LIMIT 1 -1", "*4 b c d e"),
                ("ZRANGE z 1 inf BYSCORE LIMIT 4 9 WITHSCORES", "*2 e 5"),
                ("ZRANGE z 1 inf BYSCORE LIMIT 9 9", "*0"),
                ("ZRANGE z 1 inf BYSCORE LIMIT -1 9", "*0"),
                ("ZRANGE z 0 1 LIMIT 3 -1", "*2 a b"),
                ("ZRANGEBYSCORE z 2 (4 WITHSCORES LIMIT 0 1", "*2 b 2"),
                ("ZREVRANGEBYSCORE z 4 (2", "*2 d c"),
                ("ZRANGEBYSCORE z 4 2", "*0"),
                ("ZRANGEBYLEX lex [b (d", "*2 b c"),
                ("ZRANGEBYLEX lex - + LIMIT 1 2", "*2 b c"),
                ("ZREVRANGEBYLEX lex + (c", "*2 e d"),
                ("ZRANGE lex [c - BYLEX REV", "*3 c b a"),
                ("ZRANGEBYLEX lex + -", "*0"),
                ("ZCOUNT z (1 3", ":2"),
                ("ZCOUNT nosuch 1 3", ":0"),
                ("ZLEXCOUNT lex - (c", ":2"),
                ("ZRANGESTORE d z 1 2", ":2"),
                ("ZRANGE d 0 -1 WITHSCORES", "*4 b 2 c 3"),
                ("ZRANGESTORE d z 5 -inf BYSCORE REV LIMIT 0 1", ":1"),
                ("ZRANGE d 0 -1", "*1 e"),
                ("ZRANGESTORE d z 7 8", ":0"),
                ("EXISTS d", ":0"),
                ("ZRANGESTORE z z 0 1", ":2"),
                ("ZRANGE z 0 -1", "*2 a b"),
                ("ZREMRANGEBYRANK lex 0 1", ":2"),
                ("ZREMRANGEBYLEX lex [e +", ":1"),
                ("ZREMRANGEBYSCORE lex -1 (0", ":0"),
                ("ZREMRANGEBYSCORE lex -1 1", ":2"),
                ("EXISTS lex", ":0"),
                ("ZREMRANGEBYRANK lex 0 1", ":0"),
            ],
        );
    }
}

#[test]
fn refusals_of_ranges() {
    let mut shard = Harness::new();
    shard.run("ZADD z 1 a");
    shard.run("SET string x");
    const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    check(
        &mut shard,
        &[
            ("ZRANGE z x 1", "-ERR value is not an integer or out of range"),
            ("ZRANGE string x 1", "-ERR value is not an integer or out of range"),
            ("ZRANGE string 0 1", WRONG),
            ("ZRANGE z 0 1 x", "-ERR syntax error"),
            ("ZRANGE z 0 1 REV REV", "-ERR syntax error"),
            ("ZRANGE z 0 1 BYSCORE BYLEX", "-ERR syntax error"),
            ("ZRANGE z 0 1 BYSCORE LIMIT 1", "-ERR syntax error"),
            ("ZRANGE z 0 1 BYSCORE LIMIT x 1", "-ERR value is not an integer or out of range"),
            (
                "ZRANGE z 0 1 LIMIT 0 1",
                "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ),
            (
                "ZRANGE z - + BYLEX WITHSCORES",
                "-ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ),
            ("ZREVRANGE z 0 1 REV", "-ERR syntax error"),
            ("ZRANGEBYSCORE z 0 1 BYLEX", "-ERR syntax error"),
            ("ZRANGEBYSCORE z x 1", "-ERR min or max is not a float"),
            ("ZRANGEBYSCORE z 1 nan", "-ERR min or max is not a float"),
            ("ZCOUNT z 1 ((2", "-ERR min or max is not a float"),
            ("ZRANGEBYLEX z a [b", "-ERR min or max not valid string range item"),
            ("ZRANGEBYLEX z -a +", "-ERR min or max not valid string range item"),
            ("ZLEXCOUNT z - ''", "-ERR min or max not valid string range item"),
            ("ZREMRANGEBYSCORE z a b", "-ERR min or max is not a float"),
            ("ZREMRANGEBYLEX z a b", "-ERR min or max not valid string range item"),
            ("ZREMRANGEBYRANK z a 1", "-ERR value is not an integer or out of range"),
            ("ZREMRANGEBYRANK string 0 1", WRONG),
            ("ZRANGESTORE d z 0 1 WITHSCORES", "-ERR syntax error"),
            ("ZRANGESTORE d string 0 1", WRONG),
        ],
    );
}

#[test]
fn popping() {
    for mut shard in shards() {
        shard.run("ZADD z 1 a 2 b 3 c 4 d 5 e 6 f 7 g");
        shard.run("SET string x");
        const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        check(
            &mut shard,
            &[
                ("ZPOPMIN z", "*2 a 1"),
                ("ZPOPMAX z 2", "*4 g 7 f 6"),
                ("ZPOPMIN z 0", "*0"),
                ("ZPOPMIN z -1", "-ERR value is out of range, must be positive"),
                ("ZPOPMIN z x", "-ERR value is out of range, must be positive"),
                ("ZPOPMIN z 1 2", "-ERR syntax error"),
                ("ZPOPMIN nosuch", "*0"),
                ("ZPOPMIN string 0", WRONG),
                ("ZMPOP 2 nosuch z MIN", "*2 z *1 *2 b 2"),
                ("ZMPOP 1 z max COUNT 2", "*2 z *2 *2 e 5 *2 d 4"),
                ("ZMPOP 1 nosuch MIN", "*-1"),
                ("ZMPOP 2 string z MIN", WRONG),
                ("ZMPOP 2 z string MIN", "*2 z *1 *2 c 3"),
                ("EXISTS z", ":0"),
                ("ZMPOP 0 z MIN", "-ERR numkeys should be greater than 0"),
                ("ZMPOP x z MIN", "-ERR numkeys should be greater than 0"),
                ("ZMPOP 9223372036854775807 z MIN", "-ERR syntax error"),
                ("ZMPOP 1 z MID", "-ERR syntax error"),
                ("ZMPOP 1 z MIN COUNT", "-ERR syntax error"),
                ("ZMPOP 1 z MIN COUNT 0", "-ERR count should be greater than 0"),
                ("ZMPOP 1 z MIN COUNT 1 COUNT 1", "-ERR syntax error"),
                ("ZMPOP 1 z MIN x 1", "-ERR syntax error"),
                ("ZADD z 1 a 2 b 3 c", ":3"),
                ("BZPOPMIN nosuch z 0", "*3 z a 1"),
                ("BZPOPMAX z 1.5", "*3 z c 3"),
                ("BZMPOP 0 1 z MIN COUNT 9", "*2 z *1 *2 b 2"),
                ("BZPOPMIN z 0", "*-1"),
                ("BZMPOP 0 1 z MIN", "*-1"),
                ("BZPOPMIN z x", "-ERR timeout is not a float or out of range"),
                ("BZPOPMIN z -1", "-ERR timeout is negative"),
                ("BZMPOP x 1 z MIN", "-ERR timeout is not a float or out of range"),
            ],
        );
    }
}

#[test]
fn resp3_has_doubles_and_pairs() {
    for mut shard in shards() {
        shard.proto = Proto::Resp3;
        shard.run("ZADD z 1 a 2.5 b inf c");
        check(
            &mut shard,
            &[
                ("ZADD z INCR 1 a", ",2"),
                ("ZSCORE z c", ",inf"),
                ("ZSCORE z x", "_"),
                ("ZMSCORE z b x", "*2 ,2.5 _"),
                ("ZRANK z b WITHSCORE", "*2 :1 ,2.5"),
                ("ZRANGE z 0 -1 WITHSCORES", "*3 *2 a ,2 *2 b ,2.5 *2 c ,inf"),
                ("ZRANGE z 0 0", "*1 a"),
                ("ZUNION 1 z WITHSCORES", "*3 *2 a ,2 *2 b ,2.5 *2 c ,inf"),
                ("ZRANDMEMBER z 3 WITHSCORES", "*3 *2 a ,2 *2 b ,2.5 *2 c ,inf"),
                ("ZSCAN z 0 COUNT 100 MATCH a", "*2 0 *2 a 2"),
                ("ZPOPMIN z", "*2 a ,2"),
                ("ZPOPMIN z 1", "*1 *2 b ,2.5"),
                ("ZMPOP 1 z MIN", "*2 z *1 *2 c ,inf"),
                ("ZMPOP 1 z MIN", "_"),
            ],
        );
    }
}

#[test]
fn several_sets_at_once() {
    for mut shard in shards() {
        shard.run("ZADD a 1 x 2 y 3 z");
        shard.run("ZADD b 10 y 20 z 30 w");
        shard.run("SADD s x y q");
        shard.run("SET string x");
        const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        check(
            &mut shard,
            &[
                ("ZUNION 2 a b WITHSCORES", "*8 x 1 y 12 z 23 w 30"),
                ("ZUNION 2 a b WEIGHTS 2 -1 WITHSCORES", "*8 w -30 z -14 y -6 x 2"),
                ("ZUNION 3 a b s AGGREGATE MIN WITHSCORES", "*10 q 1 x 1 y 1 z 3 w 30"),
                ("ZUNION 2 a nosuch", "*3 x y z"),
                ("ZINTER 2 a b WITHSCORES", "*4 y 12 z 23"),
                ("ZINTER 3 a b s AGGREGATE MAX WITHSCORES", "*2 y 10"),
                ("ZINTER 2 a a WITHSCORES WEIGHTS 1 2", "*6 x 3 y 6 z 9"),
                ("ZINTER 2 a nosuch", "*0"),
                ("ZDIFF 2 a b WITHSCORES", "*2 x 1"),
                ("ZDIFF 2 s a", "*1 q"),
                ("ZDIFF 2 nosuch a", "*0"),
                ("ZINTERCARD 2 a b", ":2"),
                ("ZINTERCARD 2 a b LIMIT 1", ":1"),
                ("ZINTERCARD 2 a b LIMIT 0", ":2"),
                ("ZUNIONSTORE d 2 a b AGGREGATE MAX", ":4"),
                ("ZRANGE d 0 -1 WITHSCORES", "*8 x 1 y 10 z 20 w 30"),
                ("ZINTERSTORE d 2 d s", ":2"),
                ("ZRANGE d 0 -1 WITHSCORES", "*4 x 2 y 11"),
                ("ZDIFFSTORE string 2 a s", ":1"),
                ("TYPE string", "+zset"),
                ("ZDIFFSTORE string 2 a a", ":0"),
                ("EXISTS string", ":0"),
                ("SET string x", "+OK"),
                ("ZADD inf inf x -inf y", ":2"),
                ("ZUNION 1 inf WEIGHTS 0 WITHSCORES", "*4 x 0 y 0"),
                ("ZUNION 2 inf inf WEIGHTS 1 -1 WITHSCORES", "*4 x 0 y 0"),
                ("ZUNION 0 a", "-ERR at least 1 input key is needed for 'zunion' command"),
                ("ZUNIONSTORE d 0 a", "-ERR at least 1 input key is needed for 'zunionstore' command"),
                ("ZINTERCARD -1 a", "-ERR at least 1 input key is needed for 'zintercard' command"),
                ("ZUNION x a", "-ERR value is not an integer or out of range"),
                ("ZUNION 3 a b", "-ERR syntax error"),
                ("ZUNION 2 a string x", WRONG),
                ("ZUNION 1 a x", "-ERR syntax error"),
                ("ZUNION 2 a b WEIGHTS 1", "-ERR syntax error"),
                ("ZUNION 1 a WEIGHTS x", "-ERR weight value is not a float"),
                ("ZUNION 1 a AGGREGATE avg", "-ERR syntax error"),
                ("ZUNIONSTORE d 1 a WITHSCORES", "-ERR syntax error"),
                ("ZDIFF 1 a WEIGHTS 1", "-ERR syntax error"),
                ("ZINTERCARD 1 a LIMIT -1", "-ERR LIMIT can't be negative"),
                ("ZINTERCARD 1 a LIMIT x", "-ERR LIMIT can't be negative"),
                ("ZINTERCARD 1 a LIMIT", "-ERR syntax error"),
            ],
        );
    }
}

#[test]
fn a_stored_set_loses_the_old_expiry() {
    let mut shard = Harness::new();
    shard.run("ZADD a 1 x");
    shard.run("SET d v EX 100");
    shard.run("ZUNIONSTORE d 1 a");
    assert_eq!(shard.ttl_ms("d"), None);
    shard.run("EXPIRE d 100");
    shard.run("ZADD d 2 y");
    assert_eq!(shard.ttl_ms("d"), Some(100_000));
    shard.run("ZRANGESTORE d a 0 -1");
    assert_eq!(shard.ttl_ms("d"), None);
}

#[test]
fn random_members() {
    for mut shard in shards() {
        shard.run("SET string x");
        for at in 0..50 {
            shard.run(&format!("ZADD z {at} m{at}"));
        }
        let words = |reply: &str| -> Vec<String> { reply.split(' ').skip(1).map(str::to_owned).collect() };
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..600 {
            seen.insert(run(&mut shard, "ZRANDMEMBER z"));
        }
        assert_eq!(seen.len(), 50);
        for count in [1, 2, 10, 49, 50, 60] {
            let mut members = words(&run(&mut shard, &format!("ZRANDMEMBER z {count}")));
            assert_eq!(members.len(), count.min(50));
            members.sort();
            members.dedup();
            assert_eq!(members.len(), count.min(50));
        }
        assert_eq!(words(&run(&mut shard, "ZRANDMEMBER z -120")).len(), 120);
        assert_eq!(words(&run(&mut shard, "ZRANDMEMBER z -3 WITHSCORES")).len(), 6);
        check(
            &mut shard,
            &[
                ("ZRANDMEMBER nosuch", "$-1"),
                ("ZRANDMEMBER nosuch 3", "*0"),
                ("ZRANDMEMBER z 0", "*0"),
                ("ZRANDMEMBER z x", "-ERR value is not an integer or out of range"),
                ("ZRANDMEMBER z 1 x", "-ERR syntax error"),
                ("ZRANDMEMBER z 1 WITHSCORES x", "-ERR syntax error"),
                (
                    "ZRANDMEMBER z -9223372036854775808",
                    "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
                ),
                ("ZRANDMEMBER z -4611686018427387904 WITHSCORES", "-ERR value is out of range"),
                (
                    "ZRANDMEMBER string",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
            ],
        );
    }
}

#[test]
fn walking() {
    for mut shard in shards() {
        let mut expected = std::collections::BTreeSet::new();
        for at in 0..100 {
            shard.run(&format!("ZADD z 0.1 m{at}"));
            expected.insert(format!("m{at}"));
        }
        let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeSet::new());
        loop {
            let reply = run(&mut shard, &format!("ZSCAN z {cursor} COUNT 7"));
            let words: Vec<&str> = reply.split(' ').collect();
            cursor = words[1].to_owned();
            for pair in words[3..].chunks(2) {
                seen.insert(pair[0].to_owned());
                assert!(["0.1", "0.10000000000000001"].contains(&pair[1]), "{}", pair[1]);
            }
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen, expected);
        check(
            &mut shard,
            &[
                ("ZSCAN nosuch 0 x", "*2 0 *0"),
                ("ZSCAN z x", "-ERR invalid cursor"),
                ("ZSCAN z 0 x", "-ERR syntax error"),
                ("ZSCAN z 0 TYPE zset", "-ERR syntax error"),
                ("ZSCAN z 0 COUNT 0", "-ERR syntax error"),
            ],
        );
    }
}

#[test]
fn encodings() {
    let mut shard = Harness::new();
    shard.run("ZADD z 1 a");
    check(&mut shard, &[("OBJECT ENCODING z", "listpack"), ("TYPE z", "+zset")]);
    for at in 0..128 {
        shard.run(&format!("ZADD z 1 {at}"));
    }
    check(
        &mut shard,
        &[
            ("OBJECT ENCODING z", "skiplist"),
            ("ZRANGESTORE d z 0 127", ":128"),
            ("OBJECT ENCODING d", "listpack"),
            ("ZUNIONSTORE d 1 z", ":129"),
            ("OBJECT ENCODING d", "skiplist"),
            ("ZREMRANGEBYRANK d 0 100", ":101"),
            ("OBJECT ENCODING d", "skiplist"),
            ("COPY d e", ":1"),
            ("OBJECT ENCODING e", "skiplist"),
            ("ZINTERSTORE d 2 d d", ":28"),
            ("OBJECT ENCODING d", "listpack"),
        ],
    );
}
