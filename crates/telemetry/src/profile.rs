//! CPU profiles of this process, in the format of `pprof` (perftools.profiles.Profile), which `go tool pprof` and its
//! relatives read.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::{Duration, UNIX_EPOCH};

use pprof::{Frames, ProfilerGuardBuilder, Report};

/// Samples a second; a prime, so as not to march in step with timers.
const FREQUENCY: i32 = 99;

/// Why there is no profile. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("take a CPU profile: {0}")]
pub struct ProfileError(#[from] pprof::Error);

/// Samples all threads for a while, and answers the profile. Blocks; there can be only one at a time.
pub fn cpu_profile(time: Duration) -> Result<Vec<u8>, ProfileError> {
    // Unwinding out of these from a signal can deadlock, see the profiler's documentation.
    let never = ["libc", "libgcc", "pthread", "vdso"];
    let guard = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&never).build()?;
    sleep(time);
    Ok(Profile::of(&guard.report().build()?))
}

/// A profile that is being written: tables of what its samples refer to, by number.
#[derive(Default)]
struct Profile {
    texts: HashMap<String, u64>,
    functions: HashMap<(String, String), u64>,
    locations: HashMap<(u64, u32), u64>,
    out: Vec<u8>,
}

/// Numbers of the fields in Google's `profile.proto`.
mod field {
    pub(super) const SAMPLE_TYPE: u32 = 1;
    pub(super) const SAMPLE: u32 = 2;
    pub(super) const LOCATION: u32 = 4;
    pub(super) const FUNCTION: u32 = 5;
    pub(super) const STRING_TABLE: u32 = 6;
    pub(super) const TIME_NANOS: u32 = 9;
    pub(super) const DURATION_NANOS: u32 = 10;
    pub(super) const PERIOD_TYPE: u32 = 11;
    pub(super) const PERIOD: u32 = 12;
}

impl Profile {
    fn of(report: &Report) -> Vec<u8> {
        let mut profile = Self::default();
        // The table of texts begins with the empty one.
        profile.text("");
        let (samples, count) = (profile.text("samples"), profile.text("count"));
        let (cpu, nanoseconds) = (profile.text("cpu"), profile.text("nanoseconds"));
        let thread = profile.text("thread");
        let period = 1_000_000_000 / FREQUENCY as u64;
        put_message(&mut profile.out, field::SAMPLE_TYPE, |out| put_pair(out, samples, count));
        put_message(&mut profile.out, field::SAMPLE_TYPE, |out| put_pair(out, cpu, nanoseconds));
        let mut stacks: Vec<(&Frames, u64)> =
            report.data.iter().map(|(frames, count)| (frames, (*count).unsigned_abs() as u64)).collect();
        stacks.sort_by_key(|(frames, count)| (std::cmp::Reverse(*count), frames.thread_id));
        for (frames, count) in stacks {
            let locations: Vec<u64> =
                frames.frames.iter().flatten().map(|symbol| profile.location(symbol)).collect();
            let name = profile.text(&frames.thread_name_or_id());
            put_message(&mut profile.out, field::SAMPLE, |out| {
                put_packed(out, 1, &locations);
                put_packed(out, 2, &[count, count * period]);
                put_message(out, 3, |out| put_pair(out, thread, name));
            });
        }
        let started = report.timing.start_time.duration_since(UNIX_EPOCH).unwrap_or_default();
        put_number(&mut profile.out, field::TIME_NANOS, started.as_nanos() as u64);
        put_number(&mut profile.out, field::DURATION_NANOS, report.timing.duration.as_nanos() as u64);
        put_message(&mut profile.out, field::PERIOD_TYPE, |out| put_pair(out, cpu, nanoseconds));
        put_number(&mut profile.out, field::PERIOD, period);
        let mut texts: Vec<(&String, &u64)> = profile.texts.iter().collect();
        texts.sort_by_key(|(_, number)| **number);
        for (text, _) in texts {
            put_bytes(&mut profile.out, field::STRING_TABLE, text.as_bytes());
        }
        profile.out
    }

    fn text(&mut self, text: &str) -> u64 {
        let next = self.texts.len() as u64;
        *self.texts.entry(text.to_owned()).or_insert(next)
    }

    /// One for each line of a function: addresses mean nothing outside of this process.
    fn location(&mut self, symbol: &pprof::Symbol) -> u64 {
        let function = self.function(symbol.name(), symbol.filename().into_owned());
        let (line, next) = (symbol.lineno(), self.locations.len() as u64 + 1);
        if let Some(known) = self.locations.get(&(function, line)) {
            return *known;
        }
        self.locations.insert((function, line), next);
        put_message(&mut self.out, field::LOCATION, |out| {
            put_number(out, 1, next);
            put_message(out, 4, |out| put_pair(out, function, u64::from(line)));
        });
        next
    }

    fn function(&mut self, name: String, file: String) -> u64 {
        let next = self.functions.len() as u64 + 1;
        let key = (name, file);
        if let Some(known) = self.functions.get(&key) {
            return *known;
        }
        let (name, file) = (self.text(&key.0), self.text(&key.1));
        self.functions.insert(key, next);
        put_message(&mut self.out, field::FUNCTION, |out| {
            put_number(out, 1, next);
            put_number(out, 2, name);
            put_number(out, 3, name);
            put_number(out, 4, file);
        });
        next
    }
}

/// The first two fields of a message, both numbers.
fn put_pair(out: &mut Vec<u8>, first: u64, second: u64) {
    put_number(out, 1, first);
    put_number(out, 2, second);
}

fn put_number(out: &mut Vec<u8>, field: u32, number: u64) {
    put_varint(out, u64::from(field << 3));
    put_varint(out, number);
}

fn put_packed(out: &mut Vec<u8>, field: u32, numbers: &[u64]) {
    put_message(out, field, |out| numbers.iter().for_each(|number| put_varint(out, *number)));
}

fn put_message(out: &mut Vec<u8>, field: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut message = Vec::new();
    fill(&mut message);
    put_bytes(out, field, &message);
}

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field << 3 | 2));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Answers what each thread of this process is doing, one a line: number, name, state.
pub fn threads() -> String {
    let mut lines = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            value.map_or_else(String::new, |value| value.trim().to_owned())
        };
        let number: u32 = field("Pid:").parse().unwrap_or_default();
        lines.push((number, format!("{number}\t{}\t{}\n", field("Name:"), field("State:"))));
    }
    lines.sort_unstable();
    lines.into_iter().map(|(_, line)| line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_thread_is_seen() {
        static STOP: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        let busy = std::thread::Builder::new().name("busy-bee".to_owned()).spawn(|| {
            let mut sum = 0_u64;
            for number in 0..3_000_000_000_u64 {
                sum = std::hint::black_box(sum.wrapping_add(number));
                if number % 1_000_000 == 0 && STOP.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
            }
        });
        let profile = cpu_profile(Duration::from_millis(500)).expect("nobody else profiles");
        STOP.store(true, std::sync::atomic::Ordering::Relaxed);
        drop(busy);
        let has = |text: &str| profile.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(has("busy-bee") && has("a_busy_thread_is_seen") && has("nanoseconds"));
        assert!(threads().contains("profile::tests"), "{}", threads());
    }
}
