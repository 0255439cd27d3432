//! Something that goes on, shown while it does: one line that changes on a terminal, now and then a line elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often a line is shown where lines stay.
const REST: Duration = Duration::from_secs(1);

/// What shows it.
pub(super) struct Meter {
    is_terminal: bool,
    last: Option<(Instant, String)>,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stdout().is_terminal(), last: None }
    }

    /// Shows how far it is.
    pub(super) fn show(&mut self, text: &str) {
        if self.is_terminal {
            print!("\r\x1b[2K    {text}");
            // A terminal that is gone sees nothing.
            drop(std::io::stdout().flush());
            return;
        }
        let is_due =
            self.last.as_ref().is_none_or(|(shown, before)| shown.elapsed() >= REST && before != text);
        if is_due {
            println!("    {text}");
            self.last = Some((Instant::now(), text.to_owned()));
        }
    }

    /// Shows the end of it.
    pub(super) fn end(self, text: &str) {
        if self.is_terminal {
            print!("\r\x1b[2K");
        }
        println!("    {text}");
    }
}
