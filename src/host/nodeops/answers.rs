//! The replies to questions that all cores have answered.

use super::super::host::Host;
use super::super::query::{Answer, Purpose};
use crate::base::error::CommandError;
use crate::base::ids::DbIndex;
use crate::base::time::Ticks;
use crate::node::info::{Info, Sections};
use crate::node::latency::{write_histograms, LatencyMonitor};
use crate::node::latency_report::{doctor, graph, DoctorContext};
use crate::node::memory::Footprint;
use crate::node::slowlog::SlowLog;
use crate::node::stats::Report;
use crate::resp::{Args, Reply};

impl<T: Ticks> Host<T> {
    /// All answers to a session's question are in.
    pub(in crate::host) fn conclude_question(&mut self, index: u32, purpose: Purpose, answers: Vec<Answer>) {
        let Some(proto) = self.session(index).map(|session| session.proto) else { return };
        let ends_asker = answers.iter().any(|answer| matches!(answer, Answer::Killed { asker: true, .. }));
        let mut out = Vec::new();
        let written = self.write_answer(purpose, answers, &mut Reply::new(&mut out, proto));
        if let Err(error) = &written {
            self.error_stats.count(error);
            out.clear();
            Reply::new(&mut out, proto).error(error.bytes());
        }
        let in_exec = self.session(index).and_then(|session| session.exec.as_mut());
        if let Some(rest) = in_exec {
            // The rest of EXEC runs before, as in Redis.
            rest.ends |= ends_asker;
            return self.end_wait(index, |reply| reply.raw(&out));
        }
        self.end_wait(index, |reply| reply.raw(&out));
        if ends_asker {
            self.close(index, false);
        }
    }

    fn write_answer(
        &self,
        purpose: Purpose,
        answers: Vec<Answer>,
        reply: &mut Reply<'_>,
    ) -> Result<(), CommandError> {
        let refusal = answers.iter().find_map(|answer| match answer {
            Answer::Refused(error) => Some(error),
            _ => None,
        });
        if let Some(error) = refusal {
            return Err(error.clone());
        }
        match purpose {
            Purpose::Ok => reply.ok(),
            Purpose::Answer => match answers.first() {
                Some(Answer::Status(text)) => reply.simple(text),
                Some(Answer::Number(number)) => reply.int(*number),
                _ => reply.ok(),
            },
            Purpose::Sum => reply.int(answers.iter().map(Answer::number).sum()),
            // Others conclude these.
            Purpose::Subscribe { .. } | Purpose::Meet(_) => {}
            Purpose::Names => write_names(answers, reply),
            Purpose::Subscribers(names) => write_subscribers(names.as_args(), &answers, reply),
            Purpose::ClientList(ids) => reply.verbatim("txt", client_list(ids, answers).as_bytes()),
            Purpose::ClientSizes => reply.verbatim("txt", client_buckets(&answers).as_bytes()),
            Purpose::ClientKill { is_old_form } => {
                let killed: u64 = answers.iter().map(Answer::killed).sum();
                match killed {
                    0 if is_old_form => return Err(CommandError::new("ERR No such client")),
                    _ if is_old_form => reply.ok(),
                    killed => reply.int(killed as i64),
                }
            }
            Purpose::ClientUnblock => {
                let unblocked = answers.iter().any(|answer| matches!(answer, Answer::Unblocked(true)));
                reply.int(i64::from(unblocked));
            }
            Purpose::Info(sections) => {
                let text = self.info(&sum_reports(&answers), &sections);
                reply.verbatim("txt", text.as_bytes());
            }
            Purpose::Role => self.write_role(&sum_reports(&answers), reply),
            Purpose::MemoryStats => {
                write_memory_stats(&self.footprint(&sum_reports(&answers)), &answers, reply)
            }
            Purpose::MemoryDoctor => {
                let report = sum_reports(&answers);
                let text = self.footprint(&report).doctor(report.stats.connected_clients);
                reply.verbatim("txt", text.as_bytes());
            }
            Purpose::TableStats(db) => {
                let size = sum_reports(&answers).databases.get(db.index()).copied().unwrap_or_default();
                let text = format!(
                    "[Dictionary HT]\nnumber of elements: {}\n[Expires HT]\nnumber of elements: {}\n",
                    size.keys, size.volatile
                );
                reply.verbatim("txt", text.as_bytes());
            }
            Purpose::SlowlogGet(args) => self.sum_slowlogs(&answers).write_entries(args.as_args(), reply)?,
            Purpose::SlowlogLen => reply.count(self.sum_slowlogs(&answers).len()),
            Purpose::LatencyLatest => self.sum_latency(&answers).write_latest(reply),
            Purpose::LatencyHistory(event) => self.sum_latency(&answers).write_history(&event, reply),
            Purpose::LatencyGraph(event) => {
                let text = graph(&self.sum_latency(&answers), &event, self.unix_s())?;
                reply.verbatim("txt", text.as_bytes());
            }
            Purpose::LatencyDoctor => {
                let context = DoctorContext {
                    unix_s: self.unix_s(),
                    slowlog_threshold_us: self.config.monitoring.slowlog_log_slower_than_us,
                };
                let text = doctor(&self.sum_latency(&answers), context);
                reply.verbatim("txt", text.as_bytes());
            }
            Purpose::LatencyReset(args) => {
                reply.count(self.sum_latency(&answers).reset(args.as_args()));
            }
            Purpose::LatencyHistogram(args) => {
                write_histograms(&self.table, &sum_reports(&answers).commands, args.as_args(), reply);
            }
        }
        Ok(())
    }

    fn unix_s(&self) -> i64 {
        self.now.unix_us.div_euclid(1_000_000)
    }

    fn footprint(&self, report: &Report) -> Footprint {
        Footprint::new(report, self.memory.peak_bytes, self.process.usage)
    }

    fn info(&self, report: &Report, sections: &Sections) -> String {
        let info = Info {
            report,
            process: &self.process,
            config: &self.config,
            table: &self.table,
            footprint: self.footprint(report),
            now: self.now,
            shards: self.placement.len(),
        };
        info.text(sections)
    }

    /// ROLE.
    fn write_role(&self, report: &Report, reply: &mut Reply<'_>) {
        let report = &report.replication;
        let offset = i64::try_from(report.offset).unwrap_or(i64::MAX);
        match &self.config.replication.replicaof.0 {
            None => {
                reply.array(3);
                reply.bulk(b"master");
                reply.int(offset);
                let online: Vec<_> = report.replicas.iter().filter(|replica| replica.is_online).collect();
                reply.array(online.len());
                for replica in online {
                    reply.array(3);
                    reply.bulk(replica.ip.as_bytes());
                    reply.bulk(replica.port.to_string().as_bytes());
                    reply.bulk(replica.offset.to_string().as_bytes());
                }
            }
            Some(primary) => {
                let link = report.upstream.clone().unwrap_or_default();
                reply.array(5);
                reply.bulk(b"slave");
                reply.bulk(&primary.host);
                reply.int(i64::from(primary.port));
                reply.bulk(if link.state.is_empty() { b"connect" } else { link.state.as_bytes() });
                reply.int(if link.is_up { offset } else { -1 });
            }
        }
    }

    fn sum_slowlogs(&self, answers: &[Answer]) -> SlowLog {
        let mut sum = SlowLog::default();
        sum.set_len_max(self.config.monitoring.slowlog_max_len as usize);
        for answer in answers {
            if let Answer::Slowlog(log) = answer {
                sum.add(log);
            }
        }
        sum
    }

    fn sum_latency(&self, answers: &[Answer]) -> LatencyMonitor {
        let mut sum = LatencyMonitor::default();
        sum.set_threshold_ms(self.config.monitoring.latency_monitor_threshold_ms);
        for answer in answers {
            if let Answer::Latency(monitor) = answer {
                sum.add(monitor);
            }
        }
        sum
    }
}

impl Answer {
    fn number(&self) -> i64 {
        match self {
            Answer::Number(number) => *number,
            _ => 0,
        }
    }

    fn killed(&self) -> u64 {
        match self {
            Answer::Killed { count, .. } => *count,
            _ => 0,
        }
    }
}

/// Each name once, in an order that does not depend on the cores.
fn write_names(answers: Vec<Answer>, reply: &mut Reply<'_>) {
    let mut all: Vec<Box<[u8]>> = Vec::new();
    for answer in answers {
        if let Answer::Names(names) = answer {
            all.extend(names);
        }
    }
    all.sort_unstable();
    all.dedup();
    reply.array(all.len());
    all.iter().for_each(|name| reply.bulk(name));
}

/// The names behind the subcommand, each with how many listen to it.
fn write_subscribers(args: Args<'_>, answers: &[Answer], reply: &mut Reply<'_>) {
    let names = args.iter_from(2);
    let mut sums = vec![0u64; names.len()];
    for answer in answers {
        if let Answer::Numbers(numbers) = answer {
            sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        }
    }
    reply.array(sums.len() * 2);
    for (name, sum) in names.zip(sums) {
        reply.bulk(name);
        reply.int(sum as i64);
    }
}

fn sum_reports(answers: &[Answer]) -> Report {
    let mut sum = Report::default();
    for answer in answers {
        if let Answer::Report(report) = answer {
            sum.add(report);
        }
    }
    sum
}

/// In the order asked for, or of their numbers.
fn client_list(ids: Option<Vec<u64>>, answers: Vec<Answer>) -> String {
    let mut clients: Vec<(u64, String)> = Vec::new();
    for answer in answers {
        if let Answer::Clients(some) = answer {
            clients.extend(some);
        }
    }
    clients.sort_unstable();
    let line =
        |id: &u64| clients.binary_search_by_key(id, |(id, _)| *id).ok().map(|at| clients[at].1.as_str());
    let lines: Vec<&str> = match &ids {
        None => clients.iter().map(|(_, line)| line.as_str()).collect(),
        Some(ids) => ids.iter().filter_map(line).collect(),
    };
    lines.into_iter().flat_map(|line| [line, "\n"]).collect()
}

/// How many clients are of which size, and what they take together: a line for each power of two.
fn client_buckets(answers: &[Answer]) -> String {
    const LOG_MIN: u32 = 15;
    const LOG_MAX: u32 = 33;
    let mut buckets = [(0u64, 0u64); (LOG_MAX - LOG_MIN + 1) as usize];
    for answer in answers {
        let Answer::ClientSizes(sizes) = answer else { continue };
        for &bytes in sizes {
            let bits = u64::BITS - bytes.leading_zeros();
            let (sum, count) = &mut buckets[(bits.clamp(LOG_MIN, LOG_MAX) - LOG_MIN) as usize];
            *sum += bytes;
            *count += 1;
        }
    }
    let line = |(log, (sum, count)): (u32, (u64, u64))| {
        let from = if log == LOG_MIN { 0 } else { 1u64 << (log - 1) };
        let to = match log {
            LOG_MAX => "+            ".to_owned(),
            log => format!(" - {:10}", (1u64 << log) - 1),
        };
        format!("bucket {from:10}{to}: tot-mem: {sum:10}, clients: {count}\n")
    };
    (LOG_MIN..).zip(buckets).map(line).collect()
}

fn write_memory_stats(memory: &Footprint, answers: &[Answer], reply: &mut Reply<'_>) {
    let report = sum_reports(answers);
    let used: Vec<DbIndex> = (0..report.databases.len())
        .filter(|&db| report.databases[db].keys > 0)
        .map(|db| DbIndex(db as u16))
        .collect();
    reply.map(27 + used.len());
    let int = |reply: &mut Reply<'_>, name: &str, value: i64| {
        reply.bulk(name.as_bytes());
        reply.int(value);
    };
    let double = |reply: &mut Reply<'_>, name: &str, value: f64| {
        reply.bulk(name.as_bytes());
        reply.double_text(&value.to_string());
    };
    int(reply, "peak.allocated", memory.peak_bytes as i64);
    int(reply, "total.allocated", memory.used_bytes as i64);
    int(reply, "startup.allocated", memory.startup_bytes as i64);
    int(reply, "replication.backlog", 0);
    int(reply, "clients.slaves", 0);
    int(reply, "clients.normal", memory.clients_bytes as i64);
    int(reply, "cluster.links", 0);
    int(reply, "aof.buffer", 0);
    int(reply, "lua.caches", 0);
    int(reply, "functions.caches", 0);
    for db in used {
        // One table serves a database; its bytes are shared out by the keys.
        let keys = report.databases[db.index()].keys;
        let bytes = u128::from(memory.table_bytes) * u128::from(keys) / u128::from(memory.keys.max(1));
        reply.bulk(format!("db.{db}").as_bytes());
        reply.map(3);
        int(reply, "overhead.hashtable.main", bytes as i64);
        int(reply, "overhead.hashtable.expires", 0);
        int(reply, "overhead.hashtable.slot-to-keys", 0);
    }
    int(reply, "overhead.total", memory.overhead_bytes() as i64);
    int(reply, "keys.count", memory.keys as i64);
    int(reply, "keys.bytes-per-key", memory.bytes_per_key() as i64);
    int(reply, "dataset.bytes", memory.dataset_bytes as i64);
    double(reply, "dataset.percentage", memory.dataset_percent());
    double(reply, "peak.percentage", memory.peak_percent());
    int(reply, "allocator.allocated", memory.used_bytes as i64);
    int(reply, "allocator.active", memory.resident_bytes as i64);
    int(reply, "allocator.resident", memory.resident_bytes as i64);
    double(reply, "allocator-fragmentation.ratio", memory.allocator_ratio());
    int(reply, "allocator-fragmentation.bytes", memory.allocator_bytes());
    double(reply, "allocator-rss.ratio", 1.0);
    int(reply, "allocator-rss.bytes", 0);
    double(reply, "rss-overhead.ratio", memory.rss_ratio());
    int(reply, "rss-overhead.bytes", memory.rss_overhead_bytes());
    double(reply, "fragmentation", memory.fragmentation_ratio());
    int(reply, "fragmentation.bytes", memory.fragmentation_bytes());
}
