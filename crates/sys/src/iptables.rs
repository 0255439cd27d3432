//! The host's iptables programs: both flavours, each with tables of its own in the kernel.

use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::Family;

use crate::Error;
use crate::ipset::{Element, Ipset};
use crate::nfacct::Nfacct;
use crate::process::die_with_parent;

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

/// Stands for a state of the tables of one flavour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(Vec<u32>);

/// What a back end needs of iptables and its sets, for one family.
pub trait Xtables {
    /// Answers every table that exists, in the form of `iptables-save`.
    fn save(&mut self) -> Result<String, Error>;
    /// Carries out a text in that form and leaves everything else as it is.
    fn restore(&mut self, text: &str) -> Result<(), Error>;
    /// Answers whether a transaction costs what it changes. The legacy flavour replaces a table as a whole each time.
    fn changes_single_rules(&self) -> bool;
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

/// The host's programs, and the kernel's sets.
pub struct Host {
    family: Family,
    iptables: Iptables,
    is_legacy: bool,
    ipset: Ipset,
    /// `None`: the kernel or the programs have no counters.
    nfacct: Option<Nfacct>,
}

impl Host {
    /// Takes the flavour of iptables that is in use here.
    pub fn open(family: Family) -> Result<Self, Error> {
        Self::with(family, Iptables::in_use(family)?)
    }

    /// Takes this one.
    pub fn with(family: Family, iptables: Iptables) -> Result<Self, Error> {
        let nfacct = Nfacct::open()?.filter(|_| iptables.knows("-m nfacct --nfacct-name any"));
        Ok(Self { family, is_legacy: iptables.is_legacy(), iptables, ipset: Ipset::open()?, nfacct })
    }

    /// Answers the programs that it runs.
    pub fn iptables(&self) -> &Iptables {
        &self.iptables
    }
}

impl Xtables for Host {
    fn save(&mut self) -> Result<String, Error> {
        self.iptables.save()
    }

    fn restore(&mut self, text: &str) -> Result<(), Error> {
        self.iptables.restore(text)
    }

    fn changes_single_rules(&self) -> bool {
        !self.is_legacy
    }

    fn elements(&mut self, set: &str) -> Result<Option<Vec<Element>>, Error> {
        self.ipset.elements(set)
    }

    fn make_set(&mut self, set: &str) -> Result<(), Error> {
        self.ipset.make(set, self.family)
    }

    fn change_set(&mut self, set: &str, added: &[Element], removed: &[Element]) -> Result<(), Error> {
        self.ipset.change(set, added, removed)
    }

    fn remove_set(&mut self, set: &str) -> Result<(), Error> {
        self.ipset.remove(set)
    }

    fn counts(&self) -> bool {
        self.nfacct.is_some()
    }

    fn counters(&mut self) -> Result<Vec<String>, Error> {
        let all = self.nfacct.as_mut().map_or(Ok(Vec::new()), Nfacct::counters)?;
        Ok(all.into_iter().map(|counter| counter.name).collect())
    }

    fn make_counter(&mut self, name: &str) -> Result<(), Error> {
        self.nfacct.as_mut().map_or(Ok(()), |nfacct| nfacct.make(name))
    }
}

impl Iptables {
    /// Answers the flavour that others use already, as upstream's wrapper decides: the one in which kubelet left its mark, else
    /// the one with more rules, else the host's usual one.
    pub fn in_use(family: Family) -> Result<Self, Error> {
        let installed = Self::installed(family);
        if let [only] = installed.as_slice() {
            return Ok(only.clone());
        }
        let weight = |flavour: &Self| {
            let saved = flavour.save().unwrap_or_default();
            let has = |name: &str| saved.contains(&format!(":{name} "));
            let is_marked = has("KUBE-IPTABLES-HINT") || has("KUBE-KUBELET-CANARY");
            (is_marked, saved.lines().filter(|line| line.starts_with("-A ")).count())
        };
        let weights: Vec<_> = installed.iter().map(weight).collect();
        let most = weights.iter().max().copied().unwrap_or_default();
        let mut best = { installed.into_iter().zip(weights) }.filter(|(_, weight)| *weight == most);
        match (best.next(), best.next()) {
            (Some((only, _)), None) => Ok(only),
            (Some((first, _)), Some(_)) => Ok(Self::flavour(family, "").unwrap_or(first)),
            (None, _) => {
                let base = base(family);
                Err(Error::Program {
                    program: format!("{base}-restore"),
                    reason: format!(
                        "there is neither {base}-nft-restore nor {base}-legacy-restore nor {base}-restore with its {base}-save in PATH; \
                         install the distribution's package iptables, or use --proxy-mode=nftables, which needs none"
                    ),
                })
            }
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
            return Err(self.failed(&self.save, said(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Carries out a text in that form and leaves everything else as it is. Each table is changed as a whole or not.
    pub fn restore(&self, text: &str) -> Result<(), Error> {
        self.run_restore(&["--noflush", "-w", LOCK], text)
    }

    /// Answers whether the programs and the kernel know what a rule asks for; nothing is changed.
    fn knows(&self, matches: &str) -> bool {
        let text = format!("*filter\n-A FORWARD {matches}\nCOMMIT\n");
        self.run_restore(&["--test", "--noflush", "-w", LOCK], &text).is_ok()
    }

    fn run_restore(&self, words: &[&str], text: &str) -> Result<(), Error> {
        let failed = |reason: String| self.failed(&self.restore, reason);
        let mut command = Command::new(&self.restore);
        // What a killed process had begun must not be carried out when the next one has looked already.
        die_with_parent(&mut command);
        let mut child = command
            .args(words)
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

    /// Answers what is another when somebody changed tables; that is cheap to ask.
    pub fn fingerprint(&self) -> Result<Fingerprint, Error> {
        if !self.is_legacy() {
            let generation = crate::nftables::NftSocket::open()?.generation()?;
            return Ok(Fingerprint(vec![generation]));
        }
        let sizes = ["nat", "filter"].map(|table| size(self.family(), table));
        Ok(Fingerprint(sizes.into_iter().collect::<Result<Vec<_>, _>>()?.concat()))
    }

    /// Answers the family.
    pub fn family(&self) -> Family {
        if self.is_v6() { Family::V6 } else { Family::V4 }
    }

    fn is_legacy(&self) -> bool {
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
        Error::Program { program: program.display().to_string(), reason }
    }
}

/// How many entries a table of the legacy flavour has, and their size.
fn size(family: Family, table: &str) -> Result<Vec<u32>, Error> {
    /// `IPT_SO_GET_INFO`.
    const GET_INFO: i32 = 64;
    let (domain, level) = match family {
        Family::V4 => (libc::AF_INET, libc::IPPROTO_IP),
        Family::V6 => (libc::AF_INET6, libc::IPPROTO_IPV6),
    };
    // `struct ipt_getinfo`: a name of 32 bytes and thirteen numbers.
    let mut info = [0_u32; 21];
    for (word, bytes) in info.iter_mut().zip(table.as_bytes().chunks(4)) {
        let mut four = [0; 4];
        four[..bytes.len()].copy_from_slice(bytes);
        *word = u32::from_ne_bytes(four);
    }
    // SAFETY: plain system call, the result is checked before use.
    let raw = unsafe { libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    if raw < 0 {
        return Err(Error::last("open a raw socket"));
    }
    // SAFETY: `raw` is a descriptor that was just opened and that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let mut length = std::mem::size_of_val(&info) as libc::socklen_t;
    // SAFETY: pointer and length describe `info`, which outlives the call.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, GET_INFO, info.as_mut_ptr().cast(), &raw mut length)
    };
    if done < 0 { Err(Error::last("ask for the size of a table")) } else { Ok(info[19..].to_vec()) }
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

fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
