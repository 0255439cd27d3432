//! Notices when somebody else empties the tables of iptables, as `iptables -F` and restarts of firewalls do.
//!
//! What leads to our chains is looked at, and that those lead on: only when a cheap question says that the tables
//! changed. What it does *not* notice: a single rule that somebody took out of a chain of ours.

use std::time::Duration;

use sys::Error;
use sys::iptables::{Fingerprint, Iptables};
use tokio::sync::mpsc::Sender;
use tracing::debug;

use crate::Event;

/// Half of what a flush may go unnoticed for.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) fn listen(programs: Vec<Iptables>, events: &Sender<Event>) -> Result<(), Error> {
    let mut seen: Vec<(Iptables, Option<Fingerprint>)> =
        programs.into_iter().map(|program| (program, None)).collect();
    while !events.is_closed() {
        std::thread::sleep(LOOK);
        for (program, before) in &mut seen {
            let now = program.fingerprint()?;
            if before.as_ref() == Some(&now) {
                continue;
            }
            match program.save() {
                Ok(saved) => {
                    *before = Some(now);
                    let is_there = backend_iptables::is_there(program.family(), &saved);
                    // The loop may be busy with a long write; there is no hurry.
                    let changed = Event::KernelChanged(program.family());
                    if !is_there && events.blocking_send(changed).is_err() {
                        return Ok(());
                    }
                }
                Err(error) => debug!(%error, "could not look at the tables; trying again"),
            }
        }
    }
    Ok(())
}
