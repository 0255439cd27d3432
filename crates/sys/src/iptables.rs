//! The host's iptables programs: both flavours, each with tables of its own in the kernel.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::Family;

use crate::Error;

/// Where the programs are, when `PATH` does not say.
const USUAL_PLACES: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";
/// How many seconds to wait for the lock that all users of the legacy flavour share.
const LOCK: &str = "5";

/// One flavour of iptables for one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iptables {
    save: PathBuf,
    restore: PathBuf,
}

impl Iptables {
    /// Answers the flavours that are installed: nft and legacy by their own names, else the one that there is.
    pub fn installed(family: Family) -> Vec<Self> {
        let base = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        let flavour = |name: &str| {
            let program = |action: &str| find(&format!("{base}{name}-{action}"));
            Some(Self { save: program("save")?, restore: program("restore")? })
        };
        let named: Vec<Self> = ["-nft", "-legacy"].into_iter().filter_map(flavour).collect();
        if named.is_empty() { flavour("").into_iter().collect() } else { named }
    }

    /// Answers every table that exists, in the form of `iptables-save`.
    pub fn save(&self) -> Result<String, Error> {
        let output = Command::new(&self.save).stdin(Stdio::null()).output();
        let output = output.map_err(|error| self.failed(&self.save, error.to_string()))?;
        if !output.status.success() {
            return Err(self.failed(&self.save, said(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Carries out a text in that form and leaves everything else as it is. Each table is changed as a whole or not.
    pub fn restore(&self, text: &str) -> Result<(), Error> {
        let failed = |reason: String| self.failed(&self.restore, reason);
        let mut child = Command::new(&self.restore)
            .args(["--noflush", "-w", LOCK])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(text.as_bytes()));
        let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(said(&output.stderr)));
        }
        written.map_err(|error| failed(error.to_string()))
    }

    /// Answers the name of its program for reading.
    pub fn name(&self) -> &Path {
        &self.save
    }

    fn failed(&self, program: &Path, reason: String) -> Error {
        Error::Program { program: program.display().to_string(), reason }
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(USUAL_PLACES.split(':')).filter(|place| !place.is_empty());
    places.map(|place| Path::new(place).join(name)).find(|program| program.is_file())
}

fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
