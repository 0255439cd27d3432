//! The host's iptables programs: both flavours, each with tables of its own in the kernel.

mod fake;
mod host;
mod lock;
mod refusal;
mod state;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use model::Family;

use crate::Error;
use crate::ipset::Element;
use crate::process::die_with_parent;

pub use fake::{FakeXtables, Fault, Naming};
pub use host::{Host, Write as OwnWrite};
pub use refusal::RefusedLine;
use refusal::refused_lines;
pub use state::{State, Tables};

/// Where the programs are, when `PATH` does not say.
const USUAL_PLACES: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";
/// How many seconds to wait for the lock that all users of the legacy flavour share, where that holds up nobody.
const PATIENCE: u32 = 5;

/// One flavour of iptables for one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iptables {
    save: PathBuf,
    restore: PathBuf,
}

/// Why a text was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Something in it was refused. The table where that stands is as it was; tables before it are changed.
    #[error("{error}")]
    Refused {
        /// Which lines. None: it is not known where. That of a `COMMIT`: anywhere in its table.
        lines: Vec<RefusedLine>,
        /// What was said.
        error: Error,
    },
    /// Something else failed; each table may or may not be changed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<RestoreError> for Error {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Refused { error, .. } | RestoreError::Failed(error) => error,
        }
    }
}

/// What a back end needs of iptables and its sets, for one family.
pub trait Xtables {
    /// Answers every table that exists, in the form of `iptables-save`.
    fn save(&mut self) -> Result<String, Error>;
    /// Carries out a text in that form and leaves everything else as it is. Each table is changed as a whole or not.
    fn restore(&mut self, text: &str) -> Result<(), RestoreError>;
    /// Answers whether a transaction costs what it changes. The legacy flavour replaces a table as a whole each time.
    fn changes_single_rules(&self) -> bool;
    /// Answers how many entries the tables have, rules and ends of chains; `None`: that is not known without reading all.
    fn entries(&mut self) -> Option<u32> {
        None
    }
    /// Answers the elements of a set; `None`: there is no such set.
    fn elements(&mut self, set: &str) -> Result<Option<Vec<Element>>, Error>;
    /// Makes a set unless it is there.
    fn make_set(&mut self, set: &str) -> Result<(), Error>;
    /// Adds elements to a set, or removes them.
    fn change_set(&mut self, set: &str, added: &[Element], removed: &[Element]) -> Result<(), Error>;
    /// Removes a set, if it is there.
    fn remove_set(&mut self, set: &str) -> Result<(), Error>;
    /// Answers whether rules can count with named counters (`-m nfacct`).
    fn counts(&self) -> bool {
        false
    }
    /// Answers the names of the counters that there are.
    fn counters(&mut self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
    /// Makes a counter unless it is there.
    fn make_counter(&mut self, _name: &str) -> Result<(), Error> {
        Ok(())
    }
}

impl Iptables {
    /// Answers the flavour that others use already, as upstream's wrapper decides: the one in which kubelet left its mark, else
    /// the one with more rules, else the host's usual one.
    pub fn in_use(family: Family) -> Result<Self, Error> {
        let installed = Self::installed(family);
        if let [only] = installed.as_slice()
            && only.answers()
        {
            return Ok(only.clone());
        }
        let weight = |saved: &str| {
            let has = |name: &str| saved.contains(&format!(":{name} "));
            let is_marked = has("KUBE-IPTABLES-HINT") || has("KUBE-KUBELET-CANARY");
            (is_marked, saved.lines().filter(|line| line.starts_with("-A ")).count())
        };
        let (mut working, mut failure) = (Vec::new(), None);
        for flavour in installed {
            match flavour.save() {
                Ok(saved) => working.push((weight(&saved), flavour)),
                Err(error) => failure = Some(error),
            }
        }
        let most = working.iter().map(|(weight, _)| *weight).max().unwrap_or_default();
        let mut best = working.into_iter().filter(|(weight, _)| *weight == most).map(|(_, flavour)| flavour);
        match (best.next(), best.next()) {
            (Some(only), None) => Ok(only),
            (Some(first), Some(_)) => Ok(Self::flavour(family, "").unwrap_or(first)),
            (None, _) => Err(Self::useless(family, failure)),
        }
    }

    fn answers(&self) -> bool {
        let output = Command::new(&self.save).arg("--version").stdin(Stdio::null()).output();
        output.is_ok_and(|output| output.status.success())
    }

    /// No flavour can be used: none is there, or none works.
    fn useless(family: Family, failure: Option<Error>) -> Error {
        const INSTEAD: &str = "or use --proxy-mode=nftables, which needs none";
        let base = base(family);
        match failure {
            Some(Error::Program { program, reason }) => {
                let reason = format!("{reason}; repair the distribution's package iptables, {INSTEAD}");
                Error::Program { program, reason }
            }
            Some(error) => error,
            None => Error::Program {
                program: format!("{base}-restore"),
                reason: format!(
                    "there is neither {base}-nft-restore nor {base}-legacy-restore nor {base}-restore with its {base}-save in PATH; \
                     install the distribution's package iptables, {INSTEAD}"
                ),
            },
        }
    }

    fn flavour(family: Family, name: &str) -> Option<Self> {
        let program = |action: &str| find(&format!("{}{name}-{action}", base(family)));
        Some(Self { save: program("save")?, restore: program("restore")? })
    }

    /// Answers the flavours that are installed: nft and legacy by their own names, else the one that there is.
    pub fn installed(family: Family) -> Vec<Self> {
        let flavour = |name: &str| Self::flavour(family, name);
        let named: Vec<Self> = ["-nft", "-legacy"].into_iter().filter_map(flavour).collect();
        if named.is_empty() { flavour("").into_iter().collect() } else { named }
    }

    /// Answers every table that exists, in the form of `iptables-save`.
    pub fn save(&self) -> Result<String, Error> {
        self.run_save(&[])
    }

    /// Answers one table in that form, with what each rule counted.
    pub fn save_counted(&self, table: &str) -> Result<String, Error> {
        self.run_save(&["-c", "-t", table])
    }

    fn run_save(&self, words: &[&str]) -> Result<String, Error> {
        let output = Command::new(&self.save).args(words).stdin(Stdio::null()).output();
        let output = output.map_err(|error| self.failed(&self.save, error.to_string()))?;
        if !output.status.success() {
            return Err(self.failed(&self.save, said(&output)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Carries out a text in that form and leaves everything else as it is. Each table is changed as a whole or not.
    pub fn restore(&self, text: &str) -> Result<(), RestoreError> {
        self.restore_telling(text, PATIENCE, |_| {})
    }

    /// Answers whether the programs and the kernel know what a rule asks for; nothing is changed, and so nobody's lock is
    /// waited for.
    fn knows(&self, matches: &str) -> bool {
        let text = format!("*filter\n-A FORWARD {matches}\nCOMMIT\n");
        let mut command = Command::new(&self.restore);
        command.args(["--test", "--noflush", "-w", "1"]).env("XTABLES_LOCKFILE", "/dev/null");
        self.run_restore(command, &text, |_| {}).is_ok()
    }

    /// Waits no longer than so many seconds for the lock. Tells the number of the process before it can change anything.
    fn restore_telling(&self, text: &str, patience: u32, tell: impl FnOnce(u32)) -> Result<(), RestoreError> {
        let mut command = Command::new(&self.restore);
        command.args(["--noflush", "-w", &patience.to_string()]);
        self.run_restore(command, text, tell)
    }

    fn run_restore(
        &self,
        mut command: Command,
        text: &str,
        tell: impl FnOnce(u32),
    ) -> Result<(), RestoreError> {
        let failed = |reason: String| self.failed(&self.restore, reason);
        // What a killed process had begun must not be carried out when the next one has looked already.
        die_with_parent(&mut command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        tell(child.id());
        let input = child.stdin.take();
        let write = || input.map_or(Ok(()), |mut input| input.write_all(text.as_bytes()));
        // A program that has much to say reads on only when somebody has listened.
        let (written, output) = std::thread::scope(|scope| {
            let writer = std::thread::Builder::new().spawn_scoped(scope, write);
            let output = child.wait_with_output();
            (writer.and_then(|writer| writer.join().unwrap_or(Ok(()))), output)
        });
        let output = output.map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            let error = match String::from_utf8_lossy(&output.stderr).contains("xtables lock") {
                true => lock::busy(),
                false => failed(said(&output)),
            };
            let lines = refused_lines(output.status.code(), &String::from_utf8_lossy(&output.stderr));
            return Err(match lines {
                Some(lines) => RestoreError::Refused { lines, error },
                None => RestoreError::Failed(error),
            });
        }
        written.map_err(|error| failed(error.to_string()).into())
    }

    /// Answers the family.
    pub fn family(&self) -> Family {
        if self.is_v6() { Family::V6 } else { Family::V4 }
    }

    /// Answers whether its tables are those of the legacy flavour.
    pub fn is_legacy(&self) -> bool {
        let name = self.restore.display().to_string();
        if name.contains("-nft-") || name.contains("-legacy-") {
            return name.contains("-legacy-");
        }
        let output = Command::new(&self.restore).arg("--version").stdin(Stdio::null()).output();
        !output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("nf_tables"))
    }

    /// Answers whether both have the same tables in the kernel.
    pub fn is_same(&self, other: &Self) -> bool {
        // By what they say: a host may wrap its usual one in a script.
        self.restore == other.restore
            || (self.is_v6() == other.is_v6() && self.is_legacy() == other.is_legacy())
    }

    fn is_v6(&self) -> bool {
        self.restore.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ip6"))
    }

    /// Answers the name of its program for reading.
    pub fn name(&self) -> &Path {
        &self.save
    }

    fn failed(&self, program: &Path, reason: String) -> Error {
        // The kernel's refusal, in the words of either flavour.
        if ["Permission denied", "Operation not permitted", "you must be root"]
            .iter()
            .any(|sign| reason.contains(sign))
        {
            return Error::NotPermitted { what: "use iptables" };
        }
        Error::Program { program: program.display().to_string(), reason }
    }
}

fn base(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(USUAL_PLACES.split(':')).filter(|place| !place.is_empty());
    places.map(|place| Path::new(place).join(name)).find(|program| program.is_file())
}

/// What a program said in one line, or how it ended when it said nothing.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() { output.status.to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_says_much_before_it_reads_is_heard() {
        let iptables = Iptables { save: "iptables-save".into(), restore: "iptables-restore".into() };
        let mut command = Command::new("timeout");
        let says_much = "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo >&2; cat >/dev/null; echo 'line 7 failed' >&2; exit 1";
        command.args(["60", "sh", "-c", says_much]);
        let result = iptables.run_restore(command, &"#\n".repeat(500_000), |_| {});
        let Err(RestoreError::Refused { lines, .. }) = result else { panic!("{result:?}") };
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [7]);
    }
}
