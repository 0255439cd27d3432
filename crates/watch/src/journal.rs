//! What people read about failures: each once, again only when it goes on for long, and a word when it is over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use objects::Kind;
use tokio::sync::mpsc;

use crate::failure::Failure;

/// What a reflector tells the journal.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A list or watch failed.
    Failed {
        /// The kind.
        kind: Kind,
        /// The URL that was asked.
        url: String,
        /// What went wrong.
        failure: Failure,
        /// How long until the next attempt.
        retry: Duration,
    },
    /// A list was completed, or a watch delivers.
    Works(Kind),
}

/// What fails: everything, or one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Server,
    Kind(Kind),
}

/// A failure that is not over. It may have several texts in turn, as when two addresses fail in two ways.
#[derive(Debug, Default)]
struct Open {
    reported: BTreeMap<String, Instant>,
    failures: u32,
}

/// How many texts of a failure are reported. More are variations that would only fill the log.
const MAX_TEXTS: usize = 8;

/// The failures that are not over.
#[derive(Debug)]
pub(crate) struct Journal {
    open: BTreeMap<Subject, Open>,
    repeat: Duration,
}

/// What is to be done with a failure.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Report,
    KeepQuiet,
}

impl Journal {
    pub(crate) fn new(repeat: Duration) -> Self {
        Self { open: BTreeMap::new(), repeat }
    }

    /// Writes entries until nobody sends any more.
    pub(crate) async fn keep(mut self, mut entries: mpsc::UnboundedReceiver<Entry>) {
        while let Some(entry) = entries.recv().await {
            match entry {
                Entry::Failed { kind, url, failure, retry } => self.failed(kind, &url, (&failure, retry)),
                Entry::Works(kind) => self.works(kind),
            }
        }
    }

    fn failed(&mut self, kind: Kind, url: &str, (failure, retry): (&Failure, Duration)) {
        let subject = if failure.is_of_server() { Subject::Server } else { Subject::Kind(kind) };
        let (error, remedy) = (failure.to_string(), failure.remedy());
        match self.weigh(subject, &error, Instant::now()) {
            Verdict::Report if matches!(failure, Failure::Gone(_)) => {
                tracing::info!(?kind, url, %error, "history lost, listing anew");
            }
            Verdict::Report if remedy.is_empty() => {
                tracing::warn!(?kind, url, %error, ?retry, "watching the API server failed, keeping the last state");
            }
            Verdict::Report => {
                tracing::warn!(?kind, url, %error, remedy, ?retry, "watching the API server failed, keeping the last state");
            }
            Verdict::KeepQuiet => {
                tracing::debug!(?kind, url, %error, ?retry, "watching the API server failed again")
            }
        }
    }

    fn weigh(&mut self, subject: Subject, text: &str, now: Instant) -> Verdict {
        let open = self.open.entry(subject).or_default();
        open.failures = open.failures.saturating_add(1);
        let is_quiet = match open.reported.get(text) {
            Some(reported) => now.duration_since(*reported) < self.repeat,
            None => open.reported.len() >= MAX_TEXTS,
        };
        if is_quiet {
            return Verdict::KeepQuiet;
        }
        open.reported.insert(text.to_owned(), now);
        Verdict::Report
    }

    fn works(&mut self, kind: Kind) {
        if let Some(open) = self.open.remove(&Subject::Server) {
            tracing::info!(failures = open.failures, "the API server answers again");
        }
        if let Some(open) = self.open.remove(&Subject::Kind(kind)) {
            tracing::info!(?kind, failures = open.failures, "watching works again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_reported_once_until_it_changes_ends_or_goes_on_for_long() {
        let mut journal = Journal::new(Duration::from_secs(300));
        let start = Instant::now();
        let weigh = |journal: &mut Journal, subject, text: &str, seconds: u64| {
            journal.weigh(subject, text, start + Duration::from_secs(seconds))
        };
        let services = Subject::Kind(Kind::Service);
        assert_eq!(weigh(&mut journal, Subject::Server, "refused", 0), Verdict::Report);
        assert_eq!(weigh(&mut journal, Subject::Server, "refused", 1), Verdict::KeepQuiet);
        assert_eq!(weigh(&mut journal, services, "refused", 2), Verdict::Report);
        assert_eq!(weigh(&mut journal, Subject::Server, "timeout", 3), Verdict::Report);
        assert_eq!(weigh(&mut journal, Subject::Server, "refused", 4), Verdict::KeepQuiet);
        assert_eq!(weigh(&mut journal, Subject::Server, "timeout", 302), Verdict::KeepQuiet);
        assert_eq!(weigh(&mut journal, Subject::Server, "timeout", 303), Verdict::Report);
        let varied =
            (0..20).filter(|i| weigh(&mut journal, Subject::Server, &i.to_string(), 303) == Verdict::Report);
        assert_eq!(varied.count(), MAX_TEXTS - 2);
        journal.works(Kind::Node);
        assert_eq!(weigh(&mut journal, Subject::Server, "timeout", 304), Verdict::Report);
        assert_eq!(weigh(&mut journal, services, "refused", 304), Verdict::Report);
        assert_eq!(weigh(&mut journal, services, "refused", 305), Verdict::KeepQuiet);
    }
}
