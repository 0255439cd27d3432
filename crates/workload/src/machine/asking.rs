//! One probe of one run: when it is asked, and what its answers mean together.

use std::time::Duration;

use crate::pod::Probe;
use crate::time::Time;

/// Which probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether it has started.
    Startup,
    /// Whether it can serve.
    Readiness,
    /// Whether it is alive.
    Liveness,
}

impl Question {
    /// Its name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// What the answers so far mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Unknown,
    Good,
    Bad,
}

/// The state of a probe.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    next: Option<Time>,
    waits: bool,
    in_a_row: (bool, u32),
    pub(super) verdict: Verdict,
}

impl Asking {
    pub(super) fn new() -> Self {
        Self { next: None, waits: false, in_a_row: (true, 0), verdict: Verdict::Unknown }
    }

    /// Answers when it is asked next.
    pub(super) fn next(&mut self, probe: &Probe, (since, now): (Time, Time)) -> Option<Time> {
        let first = (since + probe.delay).max(now);
        let next = *self.next.get_or_insert(first);
        (!self.waits).then_some(next)
    }

    pub(super) fn asked(&mut self, period: Duration, now: Time) {
        self.waits = true;
        self.next = Some(now + period);
    }

    /// Takes an answer.
    pub(super) fn answered(&mut self, probe: &Probe, good: bool) {
        self.waits = false;
        let (kind, count) = self.in_a_row;
        let count = if kind == good { count.saturating_add(1) } else { 1 };
        self.in_a_row = (good, count);
        if good && count >= probe.successes {
            self.verdict = Verdict::Good;
        } else if !good && count >= probe.failures {
            self.verdict = Verdict::Bad;
        }
    }
}
