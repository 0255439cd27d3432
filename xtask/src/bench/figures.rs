//! Medians, percentiles and memory.

use std::time::Duration;

/// The smallest of the durations that this share of them do not exceed.
pub(super) fn percentile(durations: &mut [Duration], share: f64) -> Duration {
    durations.sort_unstable();
    let index = (durations.len() as f64 * share).ceil() as usize;
    durations.get(index.saturating_sub(1)).copied().unwrap_or_default()
}

/// The middle one.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Resident memory of a process (`self`, or its number) now and at most, in MiB.
pub(super) fn resident(process: &str) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib =
            line.and_then(|line| line.trim_start_matches(':').trim().split(' ').next()?.parse::<f64>().ok());
        kib.map_or(f64::NAN, |kib| kib / 1024.0)
    };
    (field("VmRSS"), field("VmHWM"))
}

/// Milliseconds with a digit that matters.
pub(super) fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let mut durations: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut durations, 0.5), Duration::from_millis(50));
        assert_eq!(percentile(&mut durations, 0.99), Duration::from_millis(99));
        assert_eq!(percentile(&mut [], 0.5), Duration::ZERO);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
    }
}
