"""redis-py's Sentinel client across failovers: a write loop with retries, and every acknowledged write counted.

    python redis_sentinel.py RINGWARD

Starts a primary, two replicas and three Sentinels (redis-server --sentinel) on free ports of 127.0.0.1 and in folders
of their own, and stops them. The primary is killed, comes back, is frozen, and gives way to an order. Exits with 0 if
the client could always write again and nothing is lost that a replica had.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

RINGWARD = os.path.abspath(sys.argv[1])
DEADLINE = 60
PASSWORD = "secret"
FOLDER = tempfile.mkdtemp(prefix="ringward-sentinel-")
processes = []


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def eventually(what, condition):
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            result = condition()
        except redis.RedisError:
            result = None
        if result:
            return result
        time.sleep(0.02)
    raise AssertionError(f"not within {DEADLINE} s: {what}")


class Process:
    def __init__(self, command, name, lines):
        self.port = free_port()
        self.folder = os.path.join(FOLDER, name)
        os.mkdir(self.folder)
        self.command = [*command[:1], os.path.join(self.folder, "server.conf"), *command[1:]]
        with open(self.command[1], "w") as conf:
            conf.write(f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n{lines}")
        processes.append(self)
        self.begin()

    def begin(self):
        log = open(os.path.join(self.folder, "log"), "a")
        self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        eventually(f"{self.command} answers", lambda: self.client().ping())

    def client(self):
        return redis.Redis(port=self.port, password=None if "--sentinel" in self.command else PASSWORD,
                           socket_timeout=2)

    def kill(self):
        self.process.kill()
        self.process.wait()


def node(name, lines=""):
    common = (f'requirepass {PASSWORD}\nmasterauth {PASSWORD}\nsave ""\nappendonly yes\nshards 2\n'
              "repl-diskless-sync-delay 0\n")
    return Process([RINGWARD], name, common + lines)


def sentinel(name, primary):
    made = Process(["redis-server", "--sentinel"], name,
                   f"sentinel monitor mymaster 127.0.0.1 {primary.port} 2\n"
                   f"sentinel auth-pass mymaster {PASSWORD}\n"
                   "sentinel down-after-milliseconds mymaster 2000\nsentinel failover-timeout mymaster 10000\n")
    periods = "tilt-trigger 60000 info-period 300 publish-period 500 ask-period 300 ping-period 300"
    assert made.client().execute_command("SENTINEL", "DEBUG", *periods.split())
    return made


class Writer(threading.Thread):
    """Writes one number after the other, through the master that Sentinel names."""

    def __init__(self, manager):
        super().__init__(daemon=True)
        self.r = manager.master_for("mymaster", password=PASSWORD, socket_timeout=1,
                                    retry=Retry(ConstantBackoff(0.01), 3))
        self.written, self.retries, self.other = [], 0, None
        self.is_over = threading.Event()

    def run(self):
        number = 0
        while not self.is_over.is_set():
            number += 1
            try:
                self.r.set(f"n:{number}", number)
                self.written.append(number)
            except (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, MasterNotFoundError):
                self.retries += 1
                time.sleep(0.005)
            except Exception as error:  # Nothing else may reach an application.
                self.other = error
                return


def write_on(writer):
    count = len(writer.written)
    eventually("the client writes again", lambda: writer.other or len(writer.written) > count + 500)
    assert writer.other is None, repr(writer.other)


def main():
    nodes = [node("a")]
    nodes += [node(name, f"replicaof 127.0.0.1 {nodes[0].port}\n") for name in "bc"]
    by_port = {each.port: each for each in nodes}
    sentinels = [sentinel(name, nodes[0]) for name in ("s1", "s2", "s3")]
    manager = Sentinel([("127.0.0.1", each.port) for each in sentinels], socket_timeout=2)

    def primary():
        return by_port[manager.discover_master("mymaster")[1]]

    def is_whole():
        states = [each.client().sentinel_master("mymaster") for each in sentinels]
        at = primary()
        replicas = [each.client().info("replication") for each in nodes if each is not at]
        return (all(s["num-other-sentinels"] == 2 and s["flags"] == "master" and s["port"] == at.port for s in states)
                and all(r.get("master_port") == at.port and r["master_link_status"] == "up" for r in replicas)
                and len(manager.discover_slaves("mymaster")) == 2)

    def replicated(begin):
        """All that was written from there until now has come to the replicas; then it may not be lost."""
        count, at = len(writer.written), primary().client()
        offset = at.info("replication")["master_repl_offset"]

        def has_come():
            info = at.info("replication")
            lines = [info.get(f"slave{i}") for i in range(2)]
            return all(line and line["offset"] >= offset for line in lines)
        eventually("the replicas have it", has_come)
        return writer.written[begin:count]

    eventually("Sentinel knows all", is_whole)
    writer = Writer(manager)
    writer.start()
    write_on(writer)
    reader = manager.slave_for("mymaster", password=PASSWORD, socket_timeout=2)
    # What was written since the last failover was over. What an old primary took meanwhile is its own, as in Redis.
    safe, begin = set(), 0
    for way in ("kill", "freeze", "order"):
        old = primary()
        safe.update(replicated(begin))
        if way == "kill":
            old.kill()
        elif way == "freeze":
            old.process.send_signal(signal.SIGSTOP)
        else:
            eventually("Sentinel begins", lambda: sentinels[0].client().sentinel_failover("mymaster"))
        eventually("there is another primary", lambda: primary() is not old)
        write_on(writer)
        if way == "kill":
            old.begin()
        elif way == "freeze":
            old.process.send_signal(signal.SIGCONT)
        eventually("all are there again", is_whole)
        begin = len(writer.written) + 1
        write_on(writer)
    safe.update(replicated(begin))
    writer.is_over.set()
    writer.join()
    assert writer.other is None, repr(writer.other)
    at = manager.master_for("mymaster", password=PASSWORD)
    lost = [number for number in safe if at.get(f"n:{number}") != str(number).encode()]
    assert not lost, f"{len(lost)} of {len(safe)} acknowledged writes are lost: {sorted(lost)[:20]}"
    number = writer.written[-1]
    eventually("a replica shows the last write", lambda: reader.get(f"n:{number}") == str(number).encode())
    roles = sorted(each.client().role()[0] for each in nodes)
    assert roles == [b"master", b"slave", b"slave"], roles
    print(f"3 failovers: {len(writer.written)} writes, {len(safe)} of them acknowledged by replicas, none lost;"
          f" {writer.retries} retries")


try:
    main()
except BaseException:
    for process in processes:
        print(f"--- {process.command}")
        with open(os.path.join(process.folder, "log")) as log:
            print("".join(log.readlines()[-30:]))
    raise
finally:
    for process in processes:
        process.kill()
    shutil.rmtree(FOLDER, ignore_errors=True)
