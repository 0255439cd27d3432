//! Recorded answers of a Kubernetes API server, played against any server and compared.
//!
//! A case makes a namespace of its own and removes it with everything else it made, objects of the whole cluster
//! included: never run this against a server that holds anything else. The format: `conformance/api/README.md`.

mod access;
mod case;
mod clean;
mod client;
mod compare;
mod frames;
mod keep;
mod kubectl;
mod lists;
mod own;
mod pattern;
mod play;
mod seen;
#[cfg(test)]
mod tests;
mod tls;
mod tree;

pub use access::Access;
pub use case::{Case, load};
pub use client::{Answer, Call, CallError, Client};
pub use compare::Difference;
pub use frames::Frames;
pub use kubectl::installed_kubectl;
pub use lists::{Lists, Standing};
pub use own::OwnServer;
pub use play::{Compact, Setup, compact_by};
pub use tls::connect;

use play::Play;

/// Cases that ask no server: builds of kubectl differ in how they begin these messages.
const ASK_NO_SERVER: [&str; 1] = ["kubectl/usage-errors"];
/// How many differences of a step are shown.
const SHOWN: usize = 12;

/// What came of all cases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Those that deviate on purpose among them.
    pub passed: usize,
    /// Stale lines of the lists among them.
    pub failed: usize,
    /// Cases that fail for now, as their list says, among them.
    pub skipped: usize,
    pub failures: Vec<String>,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Plays the cases one after the other and tells about each that did not pass, or about each.
pub fn run(cases: &[Case], setup: &Setup, lists: &Lists, tell: &mut Tell) -> Result<Summary, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("a runtime: {error}"))?;
    play::prepare(&setup.home)?;
    let mut summary = Summary::default();
    let (mut without_kubectl, mut without_compaction, mut without_server) = (0, 0, 0);
    for case in cases {
        if ASK_NO_SERVER.contains(&case.name.as_str()) {
            without_server += 1;
        } else if case.needs_kubectl() && setup.kubectl.is_none() {
            without_kubectl += 1;
        } else if case.needs_compaction() && setup.compact.is_none() {
            without_compaction += 1;
        } else {
            let result = runtime.block_on(check(case, setup, tell));
            summary.add(case, lists, (result, tell));
        }
    }
    for (count, why) in [
        (without_kubectl, "need kubectl, which is not installed"),
        (without_compaction, "need --compact"),
        (without_server, "ask no server"),
    ] {
        summary.skipped += count;
        if count > 0 {
            tell.line(&format!("SKIPPED: {count} cases {why}"));
        }
    }
    Ok(summary)
}

/// Plays one case; `Err` says why it could not be played.
async fn check(case: &Case, setup: &Setup<'_>, tell: &mut Tell<'_>) -> Result<Vec<Difference>, String> {
    let mut play = Play::new(setup, case);
    let answers = play.run().await;
    let namespace = play.namespace().map(str::to_owned);
    if let Err(error) = play.clean().await {
        tell.line(&format!("  cleaning up after {}: {error}", case.name));
    }
    Ok(compare::differences(case, namespace, &answers?))
}

/// Where lines go.
pub struct Tell<'a> {
    pub to: &'a mut dyn FnMut(&str),
    /// Tells about cases that passed, too, and about the differences of those that may deviate.
    pub verbose: bool,
}

impl Tell<'_> {
    fn line(&mut self, line: &str) {
        (self.to)(line);
    }

    fn differences(&mut self, differences: &[Difference]) {
        for difference in differences {
            self.line(&format!("  step {}: {}", difference.step, difference.title));
            difference.what.iter().take(SHOWN).for_each(|what| self.line(&format!("    {what}")));
            if let Some(more) = difference.what.len().checked_sub(SHOWN + 1) {
                self.line(&format!("    and {} more", more + 1));
            }
        }
    }
}

impl Summary {
    fn add(
        &mut self,
        case: &Case,
        lists: &Lists,
        (result, tell): (Result<Vec<Difference>, String>, &mut Tell),
    ) {
        let name = &case.name;
        let differences = match result {
            Ok(differences) => differences,
            Err(error) => {
                self.fail(name);
                return tell.line(&format!("FAIL {name}\n  did not run: {error}"));
            }
        };
        match lists.standing(name, differences.is_empty()) {
            Standing::Passed => {
                self.passed += 1;
                if tell.verbose {
                    tell.line(&format!("pass {name}"));
                }
            }
            Standing::Failed => {
                self.fail(name);
                tell.line(&format!("FAIL {name}: {}", case.why));
                tell.differences(&differences);
            }
            Standing::Better(reason) => {
                self.passed += 1;
                self.tell_expected(tell, &format!("better {name}: {reason}"), &differences);
            }
            Standing::Known(reason) => {
                self.skipped += 1;
                self.tell_expected(tell, &format!("known {name}: {reason}"), &differences);
            }
            Standing::Stale(list) => {
                self.fail(name);
                tell.line(&format!(
                    "STALE {name}: it stands in conformance/api/{list} but passes: delete that line"
                ));
            }
        }
    }

    fn tell_expected(&self, tell: &mut Tell, line: &str, differences: &[Difference]) {
        if tell.verbose {
            tell.line(line);
            tell.differences(differences);
        }
    }

    fn fail(&mut self, name: &str) {
        self.failed += 1;
        self.failures.push(name.to_owned());
    }
}
