//! What every process shows of itself, by the names of Prometheus' client libraries; read from `/proc/self`.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use crate::Metrics;

/// Adds the metrics `process_*` and the peak of memory, read anew for each scrape.
pub fn watch_process(metrics: &Metrics) {
    const GAUGES: [(&str, &str); 7] = [
        ("process_resident_memory_bytes", "Resident memory."),
        ("process_virtual_memory_bytes", "Virtual memory."),
        ("process_start_time_seconds", "When the process was started, in seconds since 1970."),
        ("process_open_fds", "Open file descriptors."),
        ("process_max_fds", "The limit of open file descriptors."),
        ("process_threads", "Threads."),
        ("signalbox_peak_memory_bytes", "The most resident memory so far."),
    ];
    let cpu =
        metrics.counter("process_cpu_seconds_total", "CPU time in user and kernel mode, in seconds.", &[]);
    let cpu = cpu.with_label_values::<&str>(&[]);
    let gauges = GAUGES.map(|(name, help)| metrics.gauge(name, help, &[]).with_label_values::<&str>(&[]));
    metrics.before_scrape(move || {
        let Some(now) = Process::read() else { return };
        cpu.inc_by((now.cpu_seconds - cpu.get()).max(0.0));
        for (gauge, value) in gauges.iter().zip(now.gauges) {
            gauge.set(value);
        }
    });
}

struct Process {
    cpu_seconds: f64,
    /// As in [`watch_process`].
    gauges: [f64; 7],
}

impl Process {
    /// `None` without a `/proc`.
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        // The second field is the program's name, which may hold anything; proc_pid_stat(5) counts from 1.
        let rest: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| rest.get(number - 3)?.parse::<f64>().ok();
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let peak: f64 = peak.trim().trim_end_matches(" kB").parse().ok()?;
        let ticks = clock_ticks_per_second() as f64;
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let limit = getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |limit| limit as f64);
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            gauges: [
                field(24)? * page_size() as f64,
                field(23)?,
                boot + field(22)? / ticks,
                open as f64,
                limit,
                field(20)?,
                peak * 1024.0,
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let metrics = Metrics::default();
        watch_process(&metrics);
        let text = metrics.text();
        let value = |name: &str| {
            let line =
                text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap_or_default();
            line.parse::<f64>().unwrap_or(f64::NAN)
        };
        assert!(value("process_resident_memory_bytes") > 500_000.0, "{text}");
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"), "{text}");
        assert!(value("signalbox_peak_memory_bytes") >= value("process_resident_memory_bytes"), "{text}");
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= 3.0, "{text}");
        assert!(value("process_start_time_seconds") > 1.6e9 && value("process_threads") >= 1.0, "{text}");
    }
}
