// ioredis against a Ringward server: commands, pipelines, streams of SCAN, reconnecting, the ready check on INFO.
//
//     NODE_PATH=... node ioredis.mjs HOST PORT
//
// The server's data is flushed. Exits with 0 if every test has passed; names each one that has not.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { once } from "node:events";

// An ES module does not look at NODE_PATH; require does.
const { default: Redis } = createRequire(import.meta.url)("ioredis");

const [host, port] = [process.argv[2], Number(process.argv[3])];
const connect = (options = {}) => new Redis({ host, port, ...options });

const tests = {
  async strings(redis) {
    assert.equal(await redis.set("a", "1"), "OK");
    assert.equal(await redis.get("a"), "1");
    assert.equal(await redis.incrby("a", 41), 42);
    assert.equal(await redis.incrbyfloat("a", "0.5"), "42.5");
    assert.equal(await redis.set("a", "x", "NX"), null);
    assert.equal(await redis.set("a", "x", "EX", 100, "GET"), "42.5");
    assert.ok((await redis.ttl("a")) > 0);
    assert.equal(await redis.getrange("a", 0, -1), "x");
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    await redis.set(bytes, bytes);
    assert.deepEqual(await redis.getBuffer(bytes), bytes);
    const big = "y".repeat(4 << 20);
    await redis.set("big", big);
    assert.equal(await redis.get("big"), big);
  },

  async several_keys(redis) {
    const many = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`key:${i}`, `value:${i}`]));
    assert.equal(await redis.mset(many), "OK");
    assert.deepEqual(await redis.mget(...Object.keys(many), "none"), [...Object.values(many), null]);
    assert.equal(await redis.exists("key:0", "key:0", "none"), 2);
    assert.equal(await redis.rename("key:0", "renamed"), "OK");
    assert.equal(await redis.copy("renamed", "copied"), 1);
    assert.equal(await redis.del(...Object.keys(many)), 299);
    assert.equal(await redis.dbsize(), 2);
  },

  async pipelines(redis) {
    const pipeline = redis.pipeline();
    for (let i = 0; i < 1000; i++) pipeline.set(`p:${i}`, i).get(`p:${i}`).incr("counter");
    pipeline.incr("p:none", "too many");
    const replies = await pipeline.exec();
    assert.equal(replies.length, 3001);
    for (let i = 0; i < 1000; i++) {
      assert.deepEqual(replies.slice(3 * i, 3 * i + 3), [[null, "OK"], [null, `${i}`], [null, i + 1]]);
    }
    assert.equal(replies[3000][0].message, "ERR wrong number of arguments for 'incr' command");
    const automatic = connect({ enableAutoPipelining: true });
    const values = await Promise.all(Array.from({ length: 1000 }, (_, i) => automatic.get(`p:${i}`)));
    assert.deepEqual(values, Array.from({ length: 1000 }, (_, i) => `${i}`));
    automatic.disconnect();
  },

  async scans(redis) {
    await redis.mset(Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`scan:${i % 2}:${i}`, i])));
    const found = new Set();
    for await (const keys of redis.scanStream({ match: "scan:1:*", count: 50 })) keys.forEach((key) => found.add(key));
    assert.equal(found.size, 1000);
  },

  async databases(redis) {
    await redis.set("a", "zero");
    const other = connect({ db: 5 });
    assert.equal(await other.get("a"), null);
    await other.set("a", "five");
    assert.equal(await redis.get("a"), "zero");
    assert.equal(await redis.select(5), "OK");
    assert.equal(await redis.get("a"), "five");
    other.disconnect();
  },

  async readiness() {
    // Offline commands wait for the ready check, which reads `loading` in INFO.
    const redis = connect({ lazyConnect: true, enableReadyCheck: true, connectionName: "ready" });
    await redis.connect();
    assert.equal(redis.status, "ready");
    assert.match(await redis.info("persistence"), /^loading:0\r$/m);
    assert.equal(await redis.client("GETNAME"), "ready");
    redis.disconnect();
  },

  async reconnecting(redis) {
    const victim = connect({ retryStrategy: () => 20, db: 2, connectionName: "victim" });
    await victim.set("a", "before");
    const id = await victim.client("ID");
    const again = once(victim, "reconnecting");
    assert.equal(await redis.client("KILL", "ID", id), 1);
    await again;
    // The command waits for the new connection, on which database and name are set again.
    assert.equal(await victim.get("a"), "before");
    assert.equal(await victim.client("GETNAME"), "victim");
    assert.notEqual(await victim.client("ID"), id);
    victim.disconnect();
  },

  async refusals(redis) {
    await redis.set("word", "x");
    await assert.rejects(redis.incr("word"), { message: "ERR value is not an integer or out of range" });
    await assert.rejects(redis.call("NOSUCH", "a"), { message: /^ERR unknown command 'NOSUCH'/ });
    await assert.rejects(redis.select(99), { message: "ERR DB index is out of range" });
  },

  async administration(redis) {
    assert.match(await redis.info("server"), /redis_version:7\.2\./);
    assert.deepEqual(await redis.config("GET", "databases"), ["databases", "16"]);
    assert.match(await redis.client("LIST"), /cmd=client\|list/);
    assert.equal((await redis.time()).length, 2);
    assert.deepEqual(await redis.command("GETKEYS", "MSET", "a", "1", "b", "2"), ["a", "b"]);
    assert.ok((await redis.memory("USAGE", "none")) === null);
  },

  async publishAndSubscribe(redis) {
    const listener = connect();
    const seen = [];
    const all = new Promise((resolve) => {
      listener.on("message", (channel, message) => seen.push(`${channel} ${message}`) && message === "end" && resolve());
    });
    const matched = new Promise((resolve) => listener.on("pmessage", (...words) => resolve(words)));
    assert.equal(await listener.subscribe("news", "other"), 2);
    assert.equal(await listener.psubscribe("n*"), 3);
    assert.deepEqual((await redis.pubsub("CHANNELS")).sort(), ["news", "other"]);
    for (const message of ["1", "2", "3", "end"]) {
      assert.equal(await redis.publish("news", message), 2);
    }
    await all;
    assert.deepEqual(seen, ["news 1", "news 2", "news 3", "news end"]);
    assert.deepEqual(await matched, ["n*", "news", "1"]);
    assert.equal(await listener.unsubscribe("news", "other"), 1);
    assert.equal(await listener.punsubscribe("n*"), 0);
    assert.equal(await listener.get("none"), null);
    listener.disconnect();
  },

  async monitoring(redis) {
    const monitor = await redis.monitor();
    const seen = new Promise((resolve) => {
      monitor.on("monitor", (_time, args) => args[0].toLowerCase() === "set" && resolve(args));
    });
    await redis.set("watched", "value");
    assert.deepEqual((await seen).slice(1), ["watched", "value"]);
    monitor.disconnect();
  },
};

const failed = [];
for (const [name, test] of Object.entries(tests)) {
  const redis = connect();
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("no answer")), 30_000)));
  try {
    await Promise.race([redis.flushall().then(() => test(redis)), late]);
  } catch (error) {
    failed.push(name);
    console.error(`${name}:`, error);
  } finally {
    clearTimeout(timer);
    redis.disconnect();
  }
}
const { version } = createRequire(import.meta.url)("ioredis/package.json");
console.log(`ioredis ${version}: ${Object.keys(tests).length - failed.length} passed, ${failed.length} failed`, ...failed);
process.exit(failed.length === 0 ? 0 : 1);
