"""redis-py against a Ringward server: RESP2 and RESP3, pipelines, scans, admin commands, threads, asyncio.

    python redis_py.py HOST PORT

The server's data is flushed. Exits with 0 if every test has passed; names each one that has not.
"""

import asyncio
import sys
import threading
import time
import traceback

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

HOST, PORT = sys.argv[1], int(sys.argv[2])


def connect(protocol, **options):
    return redis.Redis(host=HOST, port=PORT, protocol=protocol, socket_timeout=20, **options)


def refusal(call, *args, **options):
    """The text of the error with which the server refuses the call."""
    try:
        reply = call(*args, **options)
    except redis.RedisError as error:
        return str(error)
    raise AssertionError(f"{args} was not refused: {reply!r}")


# Each test gets a connected client, in RESP2 and again in RESP3; the data is flushed before it.


def strings(r):
    assert r.set("a", 1) is True
    assert r.get("a") == b"1"
    assert r.incr("a", 41) == 42
    assert r.decr("a") == 41
    assert r.incrbyfloat("a", 0.5) == 41.5
    assert r.append("a", "x") == 5
    assert r.strlen("a") == 5
    assert r.getrange("a", 0, 1) == b"41"
    assert r.setrange("a", 0, "99") == 5
    assert r.get("a") == b"99.5x"
    assert r.getset("a", "new") == b"99.5x"
    assert r.getdel("a") == b"new"
    assert r.get("a") is None
    assert r.set("a", "1", nx=True) is True
    assert r.set("a", "2", nx=True) is None
    assert r.set("a", "2", xx=True, get=True) == b"1"
    assert r.set("missing", "2", xx=True) is None
    binary = bytes(range(256)) * 40
    assert r.set(binary[:64], binary) is True
    assert r.get(binary[:64]) == binary
    big = b"x" * (8 << 20)
    assert r.set("big", big) is True
    assert r.get("big") == big
    assert r.lcs("none", "nor") == b""
    r.mset({"ohm": "ohmytext", "my": "mynewtext"})
    assert r.lcs("ohm", "my") == b"mytext"


def several_keys(r):
    many = {f"key:{i}": f"value:{i}" for i in range(500)}
    assert r.mset(many) is True
    assert r.mget(list(many) + ["none"]) == [value.encode() for value in many.values()] + [None]
    assert r.exists(*many, "none", "key:0") == 501
    assert r.touch("key:0", "none") == 1
    assert r.dbsize() == 500
    assert r.msetnx({"new": 1, "key:1": 1}) is False
    assert r.get("new") is None
    assert r.msetnx({"new": 1, "newer": 1}) is True
    assert r.rename("new", "key:1") is True
    assert r.get("key:1") == b"1"
    assert "no such key" in refusal(r.rename, "none", "x")
    assert r.renamenx("newer", "key:2") is False
    assert r.copy("newer", "copied") is True
    assert r.get("copied") == b"1"
    assert sorted(r.keys("key:1?")) == sorted(f"key:1{i}".encode() for i in range(10))
    assert r.randomkey() is not None
    assert r.delete(*many) == 500
    assert r.unlink("newer", "copied", "none") == 2
    assert r.dbsize() == 0


def expiry(r):
    r.set("a", 1, ex=100)
    assert 0 < r.ttl("a") <= 100
    assert 99_000 < r.pttl("a") <= 100_000
    assert r.expire("a", 50, nx=True) in (0, False)
    assert r.expire("a", 200, gt=True) in (1, True)
    assert r.expiretime("a") > time.time()
    assert r.getex("a", persist=True) == b"1"
    assert r.ttl("a") == -1
    assert r.ttl("none") == -2
    r.psetex("soon", 20, "x")
    deadline = time.monotonic() + 20
    while r.exists("soon") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert r.get("soon") is None
    assert r.persist("none") in (0, False)


def databases(r):
    r.set("a", "zero")
    other = connect(r.connection_pool.connection_kwargs["protocol"], db=3)
    assert other.get("a") is None
    assert r.move("a", 3) in (1, True)
    assert other.get("a") == b"zero"
    assert r.swapdb(0, 3) is True
    assert r.get("a") == b"zero"
    other.set("b", 1)
    assert other.flushdb() is True
    assert r.dbsize() == 1
    assert r.flushall(asynchronous=True) is True
    assert r.dbsize() == 0
    other.close()


def scans(r):
    with r.pipeline(transaction=False) as pipe:
        for i in range(3000):
            pipe.set(f"scan:{i % 3}:{i}", i)
        assert pipe.execute() == [True] * 3000
    assert len(set(r.scan_iter(count=100))) == 3000
    assert len(set(r.scan_iter(match="scan:1:*"))) == 1000
    assert len(set(r.scan_iter(_type="string"))) == 3000
    assert list(r.scan_iter(_type="list")) == []
    cursor, keys = r.scan(0, count=10)
    assert cursor != 0 and 0 < len(keys) < 3000


def pipelines(r):
    with r.pipeline(transaction=False) as pipe:
        for i in range(1000):
            pipe.set(f"p:{i}", i)
            pipe.get(f"p:{i}")
            pipe.incr("counter")
        replies = pipe.execute()
    assert replies[1::3] == [str(i).encode() for i in range(1000)]
    assert replies[2::3] == list(range(1, 1001))
    with r.pipeline(transaction=False) as pipe:
        pipe.set("word", "x").incr("word").get("word")
        replies = pipe.execute(raise_on_error=False)
    assert replies[0] is True and replies[2] == b"x"
    assert "value is not an integer or out of range" in str(replies[1])


def decoding(r):
    decoded = connect(r.connection_pool.connection_kwargs["protocol"], decode_responses=True)
    text = "sch\u00f6n \u2713"
    assert decoded.set(text, text) is True
    assert decoded.get(text) == text
    assert decoded.keys("*") == [text]
    decoded.close()


def clients(r):
    protocol = r.connection_pool.connection_kwargs["protocol"]
    named = connect(protocol, client_name="a-name", single_connection_client=True)
    assert named.client_getname() in (b"a-name", "a-name")
    me = named.client_id()
    listed = {int(client["id"]): client for client in named.client_list()}
    assert listed[me]["name"] == "a-name", listed[me]
    assert listed[me]["lib-name"].startswith("redis-py"), listed[me]
    assert listed[me]["resp"] == str(protocol)
    assert listed[me]["cmd"] == "client|list"
    assert int(named.client_info()["id"]) == me
    victim = connect(protocol, single_connection_client=True)
    assert r.client_kill_filter(_id=victim.client_id()) == 1
    assert r.client_list(client_id=[me])[0]["id"] == str(me)
    assert named.client_setname("other") is True
    assert r.client_no_evict("on") in (b"OK", True, "OK")
    assert r.client_pause(1) is True
    assert r.client_unpause() in (b"OK", True, "OK")
    named.close()
    victim.close()


def configuration(r):
    before = r.config_get("maxmemory*")
    assert set(before) >= {"maxmemory", "maxmemory-policy"}, before
    assert r.config_set("maxmemory-policy", "allkeys-lru") is True
    assert r.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
    assert r.config_set("maxmemory-policy", before["maxmemory-policy"]) is True
    assert "Unknown option" in refusal(r.config_set, "no-such-directive", 1)
    assert r.config_get("port", "databases") == {"port": str(PORT), "databases": "16"}
    assert r.config_resetstat() is True


def administration(r):
    info = r.info()
    for field in ("redis_version", "tcp_port", "connected_clients", "used_memory", "role", "uptime_in_seconds"):
        assert field in info, field
    assert info["tcp_port"] == PORT
    r.set("a", 1)
    assert r.info("keyspace")["db0"]["keys"] == 1
    assert r.memory_usage("a") > 0
    assert isinstance(r.slowlog_get(), list)
    assert r.slowlog_reset() is True
    assert isinstance(r.time()[0], int)
    assert r.object("encoding", "a") in (b"int", "int")
    assert r.command_count() > 60
    assert r.execute_command("COMMAND INFO", "get")
    assert r.command_getkeys("MSET", "a", 1, "b", 2) in ([b"a", b"b"], ["a", "b"])
    assert r.execute_command("COMMAND DOCS", "get")
    assert r.echo("hello") == b"hello"
    assert r.ping() is True


def refusals(r):
    assert refusal(r.execute_command, "NOSUCH", "a b").startswith("unknown command 'NOSUCH'")
    assert refusal(r.execute_command, "GET") == "wrong number of arguments for 'get' command"
    assert refusal(r.execute_command, "SET", "a", "b", "EX", "0") == "invalid expire time in 'set' command"
    assert refusal(r.execute_command, "SELECT", "99") == "DB index is out of range"
    # redis-py tries again, with pauses, when it is refused as a user.
    once = connect(r.connection_pool.connection_kwargs["protocol"], retry=Retry(NoBackoff(), 0))
    assert refusal(once.execute_command, "AUTH", "x").startswith("AUTH <password> called without any password")
    once.close()


def threads(r):
    pool = redis.ConnectionPool(
        host=HOST, port=PORT, protocol=r.connection_pool.connection_kwargs["protocol"], socket_timeout=20
    )
    failures = []

    def work(number):
        try:
            mine = redis.Redis(connection_pool=pool)
            for i in range(300):
                key = f"thread:{number}:{i}"
                assert mine.set(key, i) is True
                assert mine.get(key) == str(i).encode()
                mine.incr("shared")
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures, failures
    assert r.get("shared") == b"2400"
    assert r.dbsize() == 2401
    pool.disconnect()


def asynchronous(r):
    async def work(mine, number):
        for i in range(100):
            await mine.set(f"task:{number}:{i}", i)
            assert await mine.get(f"task:{number}:{i}") == str(i).encode()

    async def main():
        protocol = r.connection_pool.connection_kwargs["protocol"]
        mine = redis.asyncio.Redis(host=HOST, port=PORT, protocol=protocol, socket_timeout=20)
        await asyncio.gather(*(work(mine, number) for number in range(20)))
        async with mine.pipeline(transaction=False) as pipe:
            for i in range(200):
                pipe.incr("counter")
            assert await pipe.execute() == list(range(1, 201))
        found = [key async for key in mine.scan_iter(match="task:7:*")]
        assert len(set(found)) == 100
        await mine.aclose()

    asyncio.run(main())


def publish_and_subscribe(r):
    channels = r.pubsub(ignore_subscribe_messages=True)
    channels.subscribe("news")
    channels.psubscribe("n*")
    assert channels.get_message(timeout=20) is None and channels.get_message(timeout=20) is None
    assert r.pubsub_channels() == [b"news"] and r.pubsub_numpat() == 1
    assert r.pubsub_numsub("news", "none") == [(b"news", 1), (b"none", 0)]
    for number in range(100):
        assert r.publish("news", number) == 2
    kinds = []
    for number in range(100):
        for _ in range(2):
            message = channels.get_message(timeout=20)
            assert message["data"] == str(number).encode(), message
            kinds.append(message["type"])
    assert kinds == ["message", "pmessage"] * 100
    channels.ping("hi")
    assert channels.get_message(timeout=20)["data"] == b"hi"
    channels.unsubscribe()
    channels.punsubscribe()
    assert channels.get_message(timeout=20) is None and channels.get_message(timeout=20) is None
    channels.close()
    # A thread with a handler.
    heard = threading.Event()
    handled = r.pubsub()
    handled.subscribe(**{"x": lambda message: message["data"] == b"hello" and heard.set()})
    worker = handled.run_in_thread(sleep_time=0.01, daemon=True)
    while r.publish("x", "hello") == 0:
        time.sleep(0.01)
    assert heard.wait(20)
    worker.stop()
    worker.join(20)


def reset_and_reconnect(r):
    single = connect(r.connection_pool.connection_kwargs["protocol"], single_connection_client=True)
    single.set("a", 1)
    assert single.execute_command("RESET") in (b"RESET", "RESET")
    single.close()
    r.client_kill_filter(_type="normal", skipme=False)
    # The next command opens a new connection.
    for attempt in range(3):
        try:
            assert r.get("a") == b"1"
            break
        except redis.ConnectionError:
            assert attempt < 2


TESTS = [
    strings,
    several_keys,
    expiry,
    databases,
    scans,
    pipelines,
    decoding,
    clients,
    configuration,
    administration,
    refusals,
    threads,
    asynchronous,
    publish_and_subscribe,
    reset_and_reconnect,
]


def main():
    failed = []
    for protocol in (2, 3):
        for test in TESTS:
            client = connect(protocol)
            try:
                client.flushall()
                test(client)
            except Exception:  # noqa: BLE001 - every test is run
                failed.append(f"{test.__name__} (RESP{protocol})")
                traceback.print_exc()
            finally:
                client.close()
    total = 2 * len(TESTS)
    print(f"redis-py {redis.__version__}: {total - len(failed)} passed, {len(failed)} failed", *failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
