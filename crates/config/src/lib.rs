//! What a node agent is told to do: kube-proxy's configuration file and its flags, as typed, then validated.
//!
//! Both become one [`Configuration`], which is validated in one place and turned into [`Settings`]; every mistake is
//! listed at once, with its field or its flag. What this crate does *not* do: act on any of it.

#![deny(missing_docs)]

mod change;
mod configuration;
mod duration;
mod file;
mod flags;
mod names;
mod settings;
mod validate;

use std::fmt;
use std::path::Path;

pub use change::{Changed, changes};
pub use configuration::Configuration;
pub use duration::parse as parse_duration;
pub use file::{File, yaml};
pub use flags::{Flags, arguments};
pub use names::NameSettings;
pub use settings::{KernelSettings, LogFormat, LogSettings, Mode, Settings};

/// What is wrong with a field, or what it cannot mean here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// The path of the field, such as `conntrack.min`, or the flag with its dashes.
    pub field: String,
    /// What about it.
    pub reason: String,
}

impl Remark {
    pub(crate) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

/// Every mistake there is, each on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Mistakes(pub Vec<Remark>);

impl Mistakes {
    /// Says in which file they are.
    #[must_use]
    pub fn of_file(self, file: &Path) -> Self {
        let at = |mistake: Remark| {
            let dot = if mistake.field.is_empty() { "" } else { ": " };
            Remark::new(format!("{}{dot}{}", file.display(), mistake.field), mistake.reason)
        };
        Self(self.0.into_iter().map(at).collect())
    }
}
