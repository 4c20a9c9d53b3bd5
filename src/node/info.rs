//! The text of INFO: Redis 7.2's sections with their fields, in its order.
//!
//! A field whose feature exists tells the truth; the others stand with the value that an idle Redis shows, because
//! tools read them by name. Behind Redis's sections comes one of our own.

use std::fmt::Write;

use super::memory::Footprint;
use super::process::{ProcessInfo, REDIS_VERSION, RINGWARD_VERSION};
use super::pubsub::Kind;
use super::replication::ReplicaLine;
use super::save::Target;
use super::stats::Report;
use crate::base::time::Now;
use crate::command::spec::Flags;
use crate::command::Table;
use crate::config::{Config, PrimaryAddress, Words};
use crate::keyspace::access;
use crate::replication::history::ReplId;
use crate::resp::Args;

/// Which sections are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sections {
    is_all: bool,
    names: Vec<String>,
}

/// The sections of INFO without an argument.
const DEFAULT_SECTIONS: [&str; 12] = [
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "module_list",
    "errorstats",
    "cluster",
    "keyspace",
    "ringward",
];

impl Sections {
    /// The sections that the arguments of INFO name. Unknown ones are ignored.
    pub fn parse(args: Args<'_>) -> Self {
        let mut sections = Sections::default();
        for arg in args.iter_from(1) {
            match String::from_utf8_lossy(arg).to_ascii_lowercase() {
                name if name == "all" || name == "everything" => sections.is_all = true,
                name if name == "default" => sections.add_default(),
                name => sections.names.push(name),
            }
        }
        if args.len() == 1 {
            sections.add_default();
        }
        sections
    }

    fn add_default(&mut self) {
        self.names.extend(DEFAULT_SECTIONS.map(str::to_owned));
    }

    fn has(&self, name: &str) -> bool {
        self.is_all || self.names.iter().any(|known| known == name)
    }
}

/// What INFO is made of.
pub struct Info<'a> {
    /// All cores' report.
    pub report: &'a Report,
    /// The process.
    pub process: &'a ProcessInfo,
    /// The configuration in force.
    pub config: &'a Config,
    /// All commands.
    pub table: &'a Table,
    /// Memory.
    pub footprint: Footprint,
    /// The time.
    pub now: Now,
    /// How many shards there are.
    pub shards: usize,
}

impl<'a> Info<'a> {
    /// The text.
    pub fn text(&self, sections: &Sections) -> String {
        type Section<'a> = (&'static str, &'static str, fn(&Info<'a>, &mut Text));
        let known: [Section<'a>; 15] = [
            ("server", "Server", Info::server),
            ("clients", "Clients", Info::clients),
            ("memory", "Memory", Info::memory),
            ("persistence", "Persistence", Info::persistence),
            ("stats", "Stats", Info::stats),
            ("replication", "Replication", Info::replication),
            ("cpu", "CPU", Info::cpu),
            ("module_list", "Modules", |_, _| {}),
            ("commandstats", "Commandstats", Info::commandstats),
            ("errorstats", "Errorstats", Info::errorstats),
            ("latencystats", "Latencystats", Info::latencystats),
            ("cluster", "Cluster", Info::cluster),
            ("keyspace", "Keyspace", Info::keyspace),
            ("ringward", "Ringward", Info::ringward),
            ("debug", "Debug", Info::debug),
        ];
        let mut text = Text(String::new());
        for (name, title, write) in known {
            let wanted = match name {
                "module_list" => sections.has(name) || sections.has("modules"),
                // Shown only by name, as in Redis.
                "debug" => sections.names.iter().any(|known| known == name),
                _ => sections.has(name),
            };
            if wanted {
                if !text.0.is_empty() {
                    text.0.push_str("\r\n");
                }
                let _ = write!(text.0, "# {title}\r\n");
                write(self, &mut text);
            }
        }
        text.0
    }

    fn server(&self, text: &mut Text) {
        let process = self.process;
        let uptime = (self.now.unix_us - process.started_unix_us).max(0) / 1_000_000;
        let port = self.config.network.port;
        text.put("redis_version", REDIS_VERSION);
        text.put("ringward_version", RINGWARD_VERSION);
        text.put("redis_git_sha1", if process.git_sha1.is_empty() { "00000000" } else { &process.git_sha1 });
        text.put("redis_git_dirty", 0);
        text.put("redis_build_id", if process.git_sha1.is_empty() { "0" } else { &process.git_sha1 });
        text.put("redis_mode", "standalone");
        text.put("os", &process.os);
        text.put("arch_bits", usize::BITS);
        text.put("monotonic_clock", "POSIX clock_gettime");
        text.put("multiplexing_api", "io_uring");
        text.put("atomicvar_api", "none");
        text.put("gcc_version", "0.0.0");
        text.put("process_id", process.pid);
        text.put(
            "process_supervised",
            if process.supervised.is_empty() { "no" } else { &process.supervised },
        );
        text.put("run_id", &process.run_id);
        text.put("tcp_port", port);
        text.put("server_time_usec", self.now.unix_us);
        text.put("uptime_in_seconds", uptime);
        text.put("uptime_in_days", uptime / 86_400);
        text.put("hz", self.config.process.hz);
        text.put("configured_hz", self.config.process.hz);
        text.put("lru_clock", access::lru_clock(self.now.unix_ms()));
        text.put("executable", &process.executable);
        text.put("config_file", &process.config_file);
        text.put("io_threads_active", 0);
        self.listeners(text);
        if let Some(left_ms) = self.report.replication.shutdown_ms {
            text.put("shutdown_in_milliseconds", left_ms);
        }
    }

    fn listeners(&self, text: &mut Text) {
        let network = &self.config.network;
        if network.port != 0 {
            let binds: String = network
                .binds
                .0
                .iter()
                .map(|bind| format!(",bind={}", String::from_utf8_lossy(bind)))
                .collect();
            text.put("listener0", format_args!("name=tcp{binds},port={}", network.port));
        }
        if !network.unixsocket.is_empty() {
            let path = String::from_utf8_lossy(&network.unixsocket);
            text.put("listener1", format_args!("name=unix,bind={path}"));
        }
    }

    fn clients(&self, text: &mut Text) {
        text.put("connected_clients", self.report.stats.connected_clients);
        text.put("cluster_connections", 0);
        text.put("maxclients", self.config.clients.maxclients);
        text.put("client_recent_max_input_buffer", self.report.sessions.input_bytes_max);
        text.put("client_recent_max_output_buffer", self.report.sessions.output_bytes_max);
        text.put("blocked_clients", self.report.stats.blocked_clients);
        text.put("tracking_clients", 0);
        text.put("pubsub_clients", self.report.pubsub.clients);
        for name in [
            "watching_clients",
            "clients_in_timeout_table",
            "total_watched_keys",
            "total_blocking_keys",
            "total_blocking_keys_on_nokey",
        ] {
            text.put(name, 0);
        }
    }

    fn memory(&self, text: &mut Text) {
        let memory = &self.footprint;
        let limit = self.config.memory.maxmemory_bytes;
        text.put("used_memory", memory.used_bytes);
        text.put("used_memory_human", Human(memory.used_bytes));
        text.put("used_memory_rss", memory.rss_bytes);
        text.put("used_memory_rss_human", Human(memory.rss_bytes));
        text.put("used_memory_peak", memory.peak_bytes);
        text.put("used_memory_peak_human", Human(memory.peak_bytes));
        text.put("used_memory_peak_perc", format_args!("{:.2}%", memory.peak_percent()));
        text.put("used_memory_overhead", memory.overhead_bytes());
        text.put("used_memory_startup", memory.startup_bytes);
        text.put("used_memory_dataset", memory.dataset_bytes);
        text.put("used_memory_dataset_perc", format_args!("{:.2}%", memory.dataset_percent()));
        text.put("allocator_allocated", memory.used_bytes);
        text.put("allocator_active", memory.resident_bytes);
        text.put("allocator_resident", memory.resident_bytes);
        text.put("allocator_muzzy", 0);
        text.put("total_system_memory", self.process.system_memory_bytes);
        text.put("total_system_memory_human", Human(self.process.system_memory_bytes));
        text.put("used_memory_lua", 0);
        text.put("used_memory_vm_eval", 0);
        text.put("used_memory_lua_human", Human(0));
        text.put("used_memory_scripts_eval", 0);
        text.put("number_of_cached_scripts", 0);
        text.put("number_of_functions", 0);
        text.put("number_of_libraries", 0);
        text.put("used_memory_vm_functions", 0);
        text.put("used_memory_vm_total", 0);
        text.put("used_memory_vm_total_human", Human(0));
        text.put("used_memory_functions", 0);
        text.put("used_memory_scripts", 0);
        text.put("used_memory_scripts_human", Human(0));
        text.put("maxmemory", limit);
        text.put("maxmemory_human", Human(limit));
        text.put("maxmemory_policy", self.config.memory.maxmemory_policy.word());
        text.put("allocator_frag_ratio", Hundredths(memory.allocator_ratio()));
        text.put("allocator_frag_bytes", memory.allocator_bytes());
        text.put("allocator_rss_ratio", Hundredths(1.0));
        text.put("allocator_rss_bytes", 0);
        text.put("rss_overhead_ratio", Hundredths(memory.rss_ratio()));
        text.put("rss_overhead_bytes", memory.rss_overhead_bytes());
        text.put("mem_fragmentation_ratio", Hundredths(memory.fragmentation_ratio()));
        text.put("mem_fragmentation_bytes", memory.fragmentation_bytes());
        text.put("mem_not_counted_for_evict", 0);
        let backlog = self.report.replication.backlog_memory;
        text.put("mem_replication_backlog", backlog);
        text.put("mem_total_replication_buffers", backlog);
        text.put("mem_clients_slaves", 0);
        text.put("mem_clients_normal", memory.clients_bytes);
        text.put("mem_cluster_links", 0);
        text.put("mem_aof_buffer", 0);
        text.put("mem_overhead_db_hashtable_rehashing", 0);
        text.put("mem_allocator", "mimalloc");
        text.put("active_defrag_running", 0);
        text.put("lazyfree_pending_objects", self.report.keyspace.lazyfree_pending_objects);
        text.put("lazyfreed_objects", self.report.keyspace.lazyfreed_objects);
    }

    fn persistence(&self, text: &mut Text) {
        let files = &self.report.persistence;
        let conducted = files.conducted;
        let stats = conducted.map(|conducted| conducted.stats).unwrap_or_default();
        let target = conducted.and_then(|conducted| conducted.target);
        let is_snapshot = matches!(target, Some(Target::Snapshot { .. }));
        let is_rewrite = matches!(target, Some(Target::Rewrite { .. }));
        let began = conducted.and_then(|conducted| conducted.began);
        let since_secs = began.map_or(0, |began| self.now.unix_us.saturating_sub(began.unix_us) / 1_000_000);
        let secs = |took: Option<u64>| took.map_or(-1, |secs| i64::try_from(secs).unwrap_or(i64::MAX));
        let status = |failed: bool| if failed { "err" } else { "ok" };
        text.put("loading", u8::from(files.is_loading));
        for name in ["async_loading", "current_cow_peak", "current_cow_size", "current_cow_size_age"] {
            text.put(name, 0);
        }
        let percent = 100.0 * files.save_keys_done as f64 / files.save_keys_total.max(1) as f64;
        text.put("current_fork_perc", Hundredths(percent));
        text.put("current_save_keys_processed", files.save_keys_done);
        text.put("current_save_keys_total", files.save_keys_total);
        text.put("rdb_changes_since_last_save", files.changes);
        text.put("rdb_bgsave_in_progress", u8::from(is_snapshot));
        text.put("rdb_last_save_time", stats.last_save_secs);
        text.put("rdb_last_bgsave_status", status(stats.snapshot_failed));
        text.put("rdb_last_bgsave_time_sec", secs(stats.snapshot_took_secs));
        text.put("rdb_current_bgsave_time_sec", if is_snapshot { since_secs } else { -1 });
        text.put("rdb_saves", stats.saves);
        text.put("rdb_last_cow_size", 0);
        text.put("rdb_last_load_keys_expired", conducted.map_or(0, |conducted| conducted.keys_expired));
        text.put("rdb_last_load_keys_loaded", conducted.map_or(0, |conducted| conducted.keys_loaded));
        let is_aof_on = conducted.is_some_and(|conducted| conducted.is_aof_on);
        text.put("aof_enabled", u8::from(is_aof_on));
        text.put("aof_rewrite_in_progress", u8::from(is_rewrite));
        let is_scheduled = conducted.is_some_and(|conducted| conducted.is_rewrite_scheduled);
        text.put("aof_rewrite_scheduled", u8::from(is_scheduled));
        text.put("aof_last_rewrite_time_sec", secs(stats.rewrite_took_secs));
        text.put("aof_current_rewrite_time_sec", if is_rewrite { since_secs } else { -1 });
        text.put("aof_last_bgrewrite_status", status(stats.rewrite_failed));
        text.put("aof_rewrites", stats.rewrites);
        text.put("aof_rewrites_consecutive_failures", stats.rewrite_failures);
        let is_failing = conducted.is_some_and(|conducted| conducted.is_aof_failing);
        text.put("aof_last_write_status", status(is_failing));
        text.put("aof_last_cow_size", 0);
        text.put("module_fork_in_progress", 0);
        text.put("module_fork_last_cow_size", 0);
        if is_aof_on {
            text.put("aof_current_size", files.aof_bytes);
            text.put("aof_base_size", files.aof_base_bytes);
            text.put("aof_pending_rewrite", 0);
            text.put("aof_buffer_length", files.aof_waiting_bytes);
            text.put("aof_pending_bio_fsync", files.aof_syncs_pending);
            text.put("aof_delayed_fsync", files.aof_delayed_syncs);
        }
        if files.is_loading {
            self.loading(text);
        }
    }

    fn loading(&self, text: &mut Text) {
        let files = &self.report.persistence;
        let (total, loaded) = (files.loading_total_bytes, files.loading_loaded_bytes);
        let elapsed_secs =
            (self.now.unix_us / 1_000_000).saturating_sub(files.loading_began_secs).max(0) as u64;
        text.put("loading_start_time", files.loading_began_secs);
        text.put("loading_total_bytes", total);
        text.put("loading_rdb_used_mem", 0);
        text.put("loading_loaded_bytes", loaded);
        text.put("loading_loaded_perc", Hundredths(100.0 * loaded as f64 / total.max(1) as f64));
        // At the pace so far.
        let left = elapsed_secs.saturating_mul(total.saturating_sub(loaded)) / loaded.max(1);
        text.put("loading_eta_seconds", if elapsed_secs == 0 { 1 } else { left });
    }

    fn stats(&self, text: &mut Text) {
        let Info { report, .. } = self;
        let (stats, keyspace, rates) = (&report.stats, &report.keyspace, report.rates);
        text.put("total_connections_received", stats.connections_received);
        text.put("total_commands_processed", stats.commands_processed);
        text.put("instantaneous_ops_per_sec", rates.ops as u64);
        text.put("total_net_input_bytes", stats.net_input_bytes);
        text.put("total_net_output_bytes", stats.net_output_bytes);
        text.put("total_net_repl_input_bytes", 0);
        text.put("total_net_repl_output_bytes", 0);
        text.put("instantaneous_input_kbps", Hundredths(rates.input_bytes / 1024.0));
        text.put("instantaneous_output_kbps", Hundredths(rates.output_bytes / 1024.0));
        text.put("instantaneous_input_repl_kbps", "0.00");
        text.put("instantaneous_output_repl_kbps", "0.00");
        text.put("rejected_connections", stats.rejected_connections);
        text.put("sync_full", self.report.replication.full_syncs);
        text.put("sync_partial_ok", self.report.replication.partial_syncs);
        text.put("sync_partial_err", self.report.replication.partial_refusals);
        text.put("expired_subkeys", keyspace.expired_fields);
        text.put("expired_keys", keyspace.expired_keys);
        text.put("expired_stale_perc", Hundredths(keyspace.expired_stale_percent()));
        text.put("expired_time_cap_reached_count", stats.expire_time_cap_reached);
        text.put("expire_cycle_cpu_milliseconds", stats.expire_cycle_ns / 1_000_000);
        text.put("evicted_keys", keyspace.evicted_keys);
        text.put("evicted_clients", stats.evicted_clients);
        text.put("evicted_scripts", 0);
        text.put("total_eviction_exceeded_time", stats.eviction_exceeded_total_us / 1000);
        text.put("current_eviction_exceeded_time", stats.eviction_exceeded_us / 1000);
        text.put("keyspace_hits", keyspace.hits);
        text.put("keyspace_misses", keyspace.misses);
        let names = |kind: Kind| report.pubsub.names[kind.index()];
        text.put("pubsub_channels", names(Kind::Channel));
        text.put("pubsub_patterns", names(Kind::Pattern));
        text.put("pubsubshard_channels", names(Kind::Shard));
        for name in ["latest_fork_usec", "total_forks"] {
            text.put(name, 0);
        }
        text.put("migrate_cached_sockets", stats.migrate_links);
        text.put("slave_expires_tracked_keys", 0);
        text.put("active_defrag_hits", keyspace.defrag_moved);
        text.put("active_defrag_misses", keyspace.defrag_left);
        text.put("active_defrag_key_hits", keyspace.defrag_moved);
        text.put("active_defrag_key_misses", keyspace.defrag_left);
        for name in [
            "total_active_defrag_time",
            "current_active_defrag_time",
            "tracking_total_keys",
            "tracking_total_items",
            "tracking_total_prefixes",
            "unexpected_error_replies",
        ] {
            text.put(name, 0);
        }
        text.put("total_error_replies", report.errors.total());
        text.put("dump_payload_sanitizations", 0);
        text.put("total_reads_processed", stats.reads);
        text.put("total_writes_processed", stats.writes);
        text.put("io_threaded_reads_processed", 0);
        text.put("io_threaded_writes_processed", 0);
        text.put("client_query_buffer_limit_disconnections", stats.query_buffer_limit_disconnections);
        text.put("client_output_buffer_limit_disconnections", stats.output_buffer_limit_disconnections);
        text.put("reply_buffer_shrinks", 0);
        text.put("reply_buffer_expands", 0);
        text.put("eventloop_cycles", stats.passes);
        text.put("eventloop_duration_sum", stats.pass_us_sum);
        text.put(
            "eventloop_duration_cmd_sum",
            report.commands.iter().map(|stats| stats.total_us()).sum::<u64>(),
        );
        text.put("instantaneous_eventloop_cycles_per_sec", rates.passes as u64);
        text.put(
            "instantaneous_eventloop_duration_usec",
            stats.pass_us_sum.checked_div(stats.passes).unwrap_or(0),
        );
        text.put("acl_access_denied_auth", stats.auth_failures);
        text.put("acl_access_denied_cmd", 0);
        text.put("acl_access_denied_key", 0);
        text.put("acl_access_denied_channel", 0);
    }

    fn replication(&self, text: &mut Text) {
        let (report, config) = (&self.report.replication, &self.config.replication);
        let none = ReplId::NONE.as_str();
        let offset = report.offset;
        match &config.replicaof.0 {
            None => text.put("role", "master"),
            Some(primary) => {
                text.put("role", "slave");
                self.upstream(primary, text);
            }
        }
        text.put("connected_slaves", report.replicas.len());
        if config.min_replicas_to_write > 0 && config.min_replicas_max_lag_secs > 0 {
            let max = u64::from(config.min_replicas_max_lag_secs);
            let is_good = |line: &&ReplicaLine| line.is_online && line.lag_secs <= max;
            text.put("min_slaves_good_slaves", report.replicas.iter().filter(is_good).count());
        }
        for (number, replica) in report.replicas.iter().enumerate() {
            let ReplicaLine { ip, port, state, offset, lag_secs, .. } = replica;
            let line = format_args!("ip={ip},port={port},state={state},offset={offset},lag={lag_secs}");
            text.put(&format!("slave{number}"), line);
        }
        text.put("master_failover_state", report.failover_state);
        text.put("master_replid", if report.id.is_empty() { none } else { &report.id });
        text.put("master_replid2", if report.id2.is_empty() { none } else { &report.id2 });
        text.put("master_repl_offset", offset);
        text.put("second_repl_offset", if report.id2.is_empty() { -1 } else { report.second_offset });
        text.put("repl_backlog_active", u8::from(report.has_backlog));
        text.put("repl_backlog_size", config.repl_backlog_bytes);
        let len = report.backlog_len.min(offset);
        let first = if report.has_backlog { offset - len + 1 } else { 0 };
        text.put("repl_backlog_first_byte_offset", first);
        text.put("repl_backlog_histlen", if report.has_backlog { len } else { 0 });
    }

    /// What a replica tells of its link. Sentinel reads these lines once it knows the role.
    fn upstream(&self, primary: &PrimaryAddress, text: &mut Text) {
        let config = &self.config.replication;
        let link = self.report.replication.upstream.clone().unwrap_or_default();
        text.put("master_host", String::from_utf8_lossy(&primary.host));
        text.put("master_port", primary.port);
        text.put("master_link_status", if link.is_up { "up" } else { "down" });
        text.put("master_last_io_seconds_ago", link.heard_secs.map_or(-1, |secs| secs as i64));
        text.put("master_sync_in_progress", u8::from(link.is_syncing));
        text.put("slave_read_repl_offset", self.report.replication.offset);
        text.put("slave_repl_offset", self.report.replication.offset);
        if link.is_syncing {
            let files = &self.report.persistence;
            let (total, read) = (files.loading_total_bytes, files.loading_loaded_bytes);
            text.put("master_sync_total_bytes", total);
            text.put("master_sync_read_bytes", read);
            text.put("master_sync_left_bytes", total.saturating_sub(read));
            text.put("master_sync_perc", Hundredths(100.0 * read as f64 / total.max(1) as f64));
            text.put("master_sync_last_io_seconds_ago", 0);
        }
        if !link.is_up {
            text.put("master_link_down_since_seconds", link.down_secs.map_or(-1, |secs| secs as i64));
        }
        text.put("slave_priority", config.replica_priority);
        text.put("slave_read_only", u8::from(config.replica_read_only));
        text.put("replica_announced", u8::from(config.replica_announced));
    }

    fn cpu(&self, text: &mut Text) {
        let usage = &self.process.usage;
        text.put("used_cpu_sys", Seconds(usage.cpu_sys_us));
        text.put("used_cpu_user", Seconds(usage.cpu_user_us));
        text.put("used_cpu_sys_children", Seconds(0));
        text.put("used_cpu_user_children", Seconds(0));
        // No thread is the main one: the cores share the work.
        text.put("used_cpu_sys_main_thread", Seconds(usage.cpu_sys_us / self.report.cores.max(1)));
        text.put("used_cpu_user_main_thread", Seconds(usage.cpu_user_us / self.report.cores.max(1)));
    }

    fn commandstats(&self, text: &mut Text) {
        for (id, spec) in self.table.iter() {
            let Some(stats) = self.report.commands.get(id.index()) else { continue };
            if spec.flags.has(Flags::INTERNAL) || stats.is_unused() {
                continue;
            }
            let _ = write!(
                text.0,
                "cmdstat_{}:calls={},usec={},usec_per_call={:.2},rejected_calls={},failed_calls={}\r\n",
                spec.name,
                stats.calls(),
                stats.total_us(),
                if stats.calls() == 0 { 0.0 } else { stats.total_us() as f64 / stats.calls() as f64 },
                stats.rejected,
                stats.failed,
            );
        }
    }

    fn errorstats(&self, text: &mut Text) {
        for (code, count) in self.report.errors.iter() {
            let _ = write!(text.0, "errorstat_{}:count={count}\r\n", safe_name(code));
        }
    }

    fn latencystats(&self, text: &mut Text) {
        if !self.config.monitoring.latency_tracking {
            return;
        }
        let percentiles = &self.config.monitoring.latency_tracking_info_percentiles.0;
        for (id, spec) in self.table.iter() {
            let Some(stats) = self.report.commands.get(id.index()) else { continue };
            if spec.flags.has(Flags::INTERNAL) || stats.calls() == 0 {
                continue;
            }
            let figures: Vec<String> = percentiles
                .iter()
                .map(|&percentile| {
                    format!("p{percentile}={:.3}", stats.percentile_ns(percentile) as f64 / 1000.0)
                })
                .collect();
            let _ = write!(text.0, "latency_percentiles_usec_{}:{}\r\n", spec.name, figures.join(","));
        }
    }

    fn cluster(&self, text: &mut Text) {
        text.put("cluster_enabled", 0);
    }

    fn keyspace(&self, text: &mut Text) {
        for (db, size) in self.report.databases.iter().enumerate().filter(|(_, size)| size.keys > 0) {
            let average_ttl_ms = size.ttl_ms_sum.checked_div(u128::from(size.volatile)).unwrap_or(0);
            let _ = write!(
                text.0,
                "db{db}:keys={},expires={},avg_ttl={average_ttl_ms}\r\n",
                size.keys, size.volatile
            );
        }
    }

    fn ringward(&self, text: &mut Text) {
        let stats = &self.report.stats;
        let per_request = stats.wakeups as f64 / stats.commands_processed.max(1) as f64;
        text.put("shards", self.shards);
        text.put("cores", self.report.cores);
        text.put("forwarded_requests", stats.forwarded);
        text.put("parcels", stats.parcels);
        text.put("transactions", stats.transactions);
        text.put("transactions_direct", stats.attempts.saturating_sub(stats.attempts_refused));
        text.put("transactions_refused", stats.attempts_refused);
        text.put("wakeups", stats.wakeups);
        text.put("wakeups_per_request", format_args!("{per_request:.4}"));
        text.put("parks", stats.parks);
        text.put("spins", stats.spins);
        text.put("ring_enters", stats.ring_enters);
        text.put("loop_pause_max_us", stats.pass_us_max);
        text.put("table_reshapes", self.report.keyspace.table_reshapes);
        text.put("table_moves_max", self.report.keyspace.table_moves_max);
    }

    fn debug(&self, text: &mut Text) {
        text.put("eventloop_duration_aof_sum", 0);
        text.put("eventloop_duration_cron_sum", 0);
        text.put("eventloop_duration_max", self.report.stats.pass_us_max);
        text.put("eventloop_cmd_per_cycle_max", 0);
    }
}

struct Text(String);

impl Text {
    fn put(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = write!(self.0, "{name}:{value}\r\n");
    }
}

/// A number of bytes as Redis's bytesToHuman shows it.
struct Human(u64);

impl std::fmt::Display for Human {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
        if self.0 < 1024 {
            return write!(f, "{}B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        for unit in UNITS {
            if value < 1024.0 {
                return write!(f, "{value:.2}{unit}");
            }
            value /= 1024.0;
        }
        write!(f, "{}B", self.0)
    }
}

struct Hundredths(f64);

impl std::fmt::Display for Hundredths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2}", self.0)
    }
}

struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// A name that cannot be taken for INFO's own punctuation (Redis's getSafeInfoString).
fn safe_name(name: &str) -> String {
    name.chars().map(|c| if matches!(c, '#' | ':' | '\n' | '\r') { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_redis_shows_them() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (1536 * 1024, "1.50M"),
            (3 << 30, "3.00G"),
            (1 << 40, "1.00T"),
        ] {
            assert_eq!(Human(bytes).to_string(), text);
        }
        assert_eq!(Seconds(12_000_345).to_string(), "12.000345");
        assert_eq!(safe_name("a:b#c"), "a_b_c");
    }
}
