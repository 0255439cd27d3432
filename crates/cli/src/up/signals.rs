//! The signals that end `signalbox up`: Ctrl-C, SIGTERM, and a terminal that is closed.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What ends it.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` under `nohup`, which wants it to go on.
    hangup: Option<Signal>,
}

impl Signals {
    /// Listens from now on; what comes is kept until it is asked for.
    pub(super) fn open() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hangup = if is_hangup_ignored(&status) { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
        })
    }

    /// Waits for one of them.
    pub(super) async fn any(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = hangup => {}
        }
    }
}

/// Whether a process, by its status in `/proc`, was started so that SIGHUP does nothing: signal 1 is the lowest bit.
fn is_hangup_ignored(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_heeded() {
        for (status, expected) in [
            ("Name:\tsignalbox\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\n", true),
            ("SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n", false),
            ("", false),
        ] {
            assert_eq!(is_hangup_ignored(status), expected, "{status:?}");
        }
    }
}
