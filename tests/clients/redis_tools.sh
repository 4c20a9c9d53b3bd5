#!/usr/bin/env bash
# redis-cli's modes, redis-benchmark and, where it is found, memtier_benchmark against a Ringward server.
#
#     redis_tools.sh HOST PORT
#
# The server's data is flushed. Exits with 0 if every test has passed; names each one that has not.
# memtier_benchmark is looked for in $MEMTIER, on PATH and in /opt/memtier.

set -uo pipefail

host=$1
port=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cli() { timeout 60 redis-cli -h "$host" -p "$port" "$@"; }

# Runs for the given time at most: some modes only end when they are stopped, and keep back what they have to say
# unless it goes out line by line.
briefly() { timeout --signal=INT "$1" stdbuf -oL redis-cli -h "$host" -p "$port" "${@:2}"; }

# Fails the test unless the text has a line that matches.
has() {
    grep -qE -- "$2" <<<"$1" || {
        echo "  no line matches '$2' in:"
        head -30 <<<"$1" | sed 's/^/    /'
        return 1
    }
}

equal() {
    [ "$1" = "$2" ] || {
        echo "  got '$1' instead of '$2'"
        return 1
    }
}

# 3,000 keys, by the mode that loads whole files of protocol.
fill() {
    cli flushall >"$scratch/flush" && equal "$(cat "$scratch/flush")" OK &&
        awk 'BEGIN {
            for (i = 0; i < 3000; i++) {
                key = sprintf("key:%d:%d", i % 3, i)
                value = sprintf("value-%d", i)
                if (i == 77) value = sprintf("%5000s", "large")
                printf "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", length(key), key, length(value), value
            }
        }' >"$scratch/protocol" &&
        cli --pipe <"$scratch/protocol" >"$scratch/pipe" 2>&1 &&
        has "$(cat "$scratch/pipe")" 'errors: 0, replies: 3000' &&
        equal "$(cli dbsize)" 3000
}

pipe_mode_counts_errors() {
    printf '*2\r\n$4\r\nINCR\r\n$8\r\nkey:2:77\r\n\r\n*1\r\n$3\r\nGET\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n' |
        cli --pipe >"$scratch/pipe" 2>&1
    has "$(cat "$scratch/pipe")" 'errors: 2, replies: 3'
}

scan_mode() {
    equal "$(cli --scan | sort -u | wc -l)" 3000 &&
        equal "$(cli --scan --pattern 'key:1:*' | sort -u | wc -l)" 1000 &&
        equal "$(cli --scan --pattern 'none*')" ""
}

bigkeys_mode() {
    local out
    out=$(cli --bigkeys) || return 1
    has "$out" 'Sampled 3000 keys in the keyspace' &&
        has "$out" "Biggest string found.*key:2:77.* has 5000 bytes" &&
        has "$out" '3000 strings with [0-9]+ bytes'
}

memkeys_mode() {
    local out
    out=$(cli --memkeys) || return 1
    has "$out" 'Sampled 3000 keys in the keyspace' && has "$out" "Biggest string found.*key:2:77.* has [0-9]+ bytes"
}

hotkeys_mode() {
    local out
    out=$(cli --hotkeys 2>&1)
    has "$out" 'An LFU maxmemory policy is not selected'
    cli config set maxmemory-policy allkeys-lfu >"$scratch/set" && has "$(cat "$scratch/set")" OK || return 1
    for _ in 1 2 3; do cli get key:0:0 >"$scratch/get"; done
    out=$(cli --hotkeys 2>&1)
    cli config set maxmemory-policy noeviction >"$scratch/set"
    has "$out" 'Sampled 3000 keys in the keyspace'
}

stat_mode() {
    local out
    out=$(briefly 1 --stat -i 0.1 2>&1)
    has "$out" '^keys' && has "$out" '^3000 '
}

latency_mode() {
    # Not on a terminal it prints "min max avg samples" at its end, which the interval brings.
    local out
    out=$(briefly 10 -i 1 --latency --raw)
    has "$out" '^[0-9]+ [0-9]+ [0-9.]+ [0-9]+'
}

latency_history_mode() {
    local out
    out=$(briefly 2 --latency-history -i 1 --raw 2>&1)
    has "$out" '^[0-9]+ [0-9]+ [0-9.]+ [0-9]+'
}

resp3_and_formats() {
    has "$(cli -3 hello)" 'proto' || return 1
    equal "$(cli -3 --no-raw incr number)" '(integer) 1' &&
        equal "$(cli --no-raw get none)" '(nil)' &&
        equal "$(cli --raw get key:0:0)" 'value-0' &&
        equal "$(cli --no-raw get key:0:0)" '"value-0"' &&
        equal "$(cli --csv mget key:0:0 none)" '"value-0",NULL' &&
        equal "$(cli --json mget key:0:0 none)" '["value-0",null]' &&
        equal "$(cli -n 3 dbsize)" 0 &&
        equal "$(cli --no-raw nosuch)" "(error) ERR unknown command 'nosuch', with args beginning with: " &&
        equal "$(printf 'from standard input' | cli -x set piped)" OK &&
        equal "$(cli get piped)" 'from standard input' &&
        equal "$(cli -r 3 -i 0.01 incr repeated | tail -1)" 3 &&
        equal "$(cli del number piped repeated)" 3
}

several_commands_on_one_connection() {
    equal "$(printf 'select 2\nset a 1\nincr a\nget a\nflushdb\n' | cli --raw | tr '\n' ' ')" 'OK OK 2 2 OK '
}

info_and_help() {
    local out
    out=$(cli info) || return 1
    has "$out" '^redis_version:7\.2\.' && has "$out" "^tcp_port:$port" && has "$out" '^role:master' &&
        has "$out" '^db0:keys=3000,' && has "$(cli info server)" '^uptime_in_seconds:' &&
        has "$(cli client list)" 'cmd=client.list' && has "$(cli config get databases)" '^16' &&
        has "$(cli command docs get)" 'string' && has "$(cli object help)" 'ENCODING'
}

monitor_mode() {
    briefly 3 monitor >"$scratch/monitor" &
    local monitor=$!
    for _ in $(seq 50); do
        cli set watched value >"$scratch/set"
        grep -q '"watched"' "$scratch/monitor" && break
        sleep 0.05
    done
    wait "$monitor"
    cli del watched >"$scratch/del"
    has "$(cat "$scratch/monitor")" '^[0-9]+\.[0-9]{6} \[0 [0-9.:]+\] "set" "watched" "value"$'
}

benchmark() { timeout 120 redis-benchmark -h "$host" -p "$port" -q "$@" 2>&1 | tr '\r' '\n'; }

redis_benchmark() {
    local out
    out=$(benchmark -n 20000 -c 50 -P 16 -r 10000 -t ping,set,get,incr,mset) || return 1
    for name in PING_INLINE PING_MBULK SET GET INCR 'MSET \(10 keys\)'; do
        has "$out" "^$name: [0-9.]+ requests per second" || return 1
    done
    # Errors are told in place of a figure.
    ! grep -iE 'error|warn' <<<"$out"
}

redis_benchmark_others() {
    local out
    out=$(benchmark -n 5000 -c 200 -t set,get -d 4096) && has "$out" '^GET: ' &&
        out=$(benchmark -n 5000 -P 16 --threads 2 -3 -t get) && has "$out" '^GET: ' &&
        out=$(benchmark -n 1000 -k 0 -c 20 -t ping) && has "$out" '^PING_MBULK: ' &&
        out=$(benchmark -n 5000 -r 1000 -P 16 append tail:__rand_int__ x) && has "$out" 'requests per second'
}

memtier() {
    local out
    out=$("$memtier_benchmark" -s "$host" -p "$port" -t 2 -c 10 -n 2000 --ratio 1:1 --key-maximum 5000 -d 32 \
        --pipeline "$1" --protocol "$2" --hide-histogram 2>&1)
    has "$out" ' 40000 ops' && has "$out" '^Totals' && ! grep -iE 'error response|connection error|handle error' <<<"$out"
}
memtier_resp2() { memtier 1 resp2; }
memtier_resp3_pipelined() { memtier 16 resp3; }

tests=(fill pipe_mode_counts_errors scan_mode bigkeys_mode memkeys_mode hotkeys_mode stat_mode latency_mode
    latency_history_mode resp3_and_formats several_commands_on_one_connection info_and_help monitor_mode
    redis_benchmark redis_benchmark_others)

memtier_benchmark=${MEMTIER:-$(command -v memtier_benchmark || echo /opt/memtier/memtier_benchmark)}
if [ -x "$memtier_benchmark" ]; then
    tests+=(memtier_resp2 memtier_resp3_pipelined)
fi

failed=()
for test in "${tests[@]}"; do
    begin=$SECONDS
    "$test" || {
        echo "$test failed after $((SECONDS - begin)) s"
        failed+=("$test")
    }
done
echo "$(redis-cli --version): $((${#tests[@]} - ${#failed[@]})) passed, ${#failed[@]} failed ${failed[*]}"
[ ${#failed[@]} -eq 0 ]
