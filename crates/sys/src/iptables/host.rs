//! The host's programs and the kernel's sets, as a back end uses them.

use std::sync::mpsc::Sender;

use model::Family;

use super::{Iptables, RestoreError, State, Tables, Xtables, lock};
use crate::Error;
use crate::ipset::{Element, Ipset};
use crate::nfacct::Nfacct;

/// How many seconds a program waits for the lock, which nobody had a moment ago.
const PATIENCE: u32 = 1;

/// What a back end tells about its writing, so that others' is told from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// All tables are listed, whose state is this; what others did until now is seen.
    Lists(State),
    /// A process begins.
    Begins {
        /// Its number, which is the port of its netlink socket.
        process: u32,
    },
    /// It has ended.
    Ended {
        /// Which.
        process: u32,
        /// How many tables it was to change.
        tables: u32,
        /// The state before.
        before: State,
        /// The state after.
        after: State,
    },
}

/// The host's programs, and the kernel's sets.
pub struct Host {
    family: Family,
    iptables: Iptables,
    tables: Tables,
    ipset: Ipset,
    /// `None`: the kernel or the programs have no counters.
    nfacct: Option<Nfacct>,
    writes: Option<Sender<(Family, Write)>>,
}

impl Host {
    /// Takes the flavour of iptables that is in use here.
    pub fn open(family: Family) -> Result<Self, Error> {
        if family == Family::V6 && !has_ipv6() {
            return Err(Error::NoFamily { family });
        }
        Self::with(family, Iptables::in_use(family)?)
    }

    /// Takes this one.
    pub fn with(family: Family, iptables: Iptables) -> Result<Self, Error> {
        let tables = Tables::open(&iptables)?;
        let nfacct = Nfacct::open()?.filter(|_| iptables.knows("-m nfacct --nfacct-name any"));
        Ok(Self { family, iptables, tables, ipset: Ipset::open()?, nfacct, writes: None })
    }

    /// Answers the programs that it runs.
    pub fn iptables(&self) -> &Iptables {
        &self.iptables
    }

    /// Tells of each write from now on.
    pub fn tell_writes(&mut self, to: Sender<(Family, Write)>) {
        self.writes = Some(to);
    }

    fn wait_for_lock(&self) -> Result<(), Error> {
        match self.tables {
            Tables::Legacy(..) => lock::wait(),
            Tables::Nft(_) => Ok(()),
        }
    }

    fn tell(writes: Option<&Sender<(Family, Write)>>, family: Family, write: Write) {
        if let Some(writes) = writes {
            // Who does not listen any more does not need it.
            let _ = writes.send((family, write));
        }
    }
}

impl Xtables for Host {
    fn save(&mut self) -> Result<String, Error> {
        // Before a write that could not be done nothing needs to be read.
        self.wait_for_lock()?;
        let state = self.tables.state()?;
        let saved = self.iptables.save()?;
        Self::tell(self.writes.as_ref(), self.family, Write::Lists(state));
        Ok(saved)
    }

    fn restore(&mut self, text: &str) -> Result<(), RestoreError> {
        self.wait_for_lock()?;
        let before = self.tables.state()?;
        let mut process = 0;
        let writes = self.writes.as_ref();
        let result = self.iptables.restore_telling(text, PATIENCE, |number| {
            process = number;
            Self::tell(writes, self.family, Write::Begins { process });
        });
        // Who listens must hear of the end in any case; a state that is not that of after is looked into.
        let after = self.tables.state().unwrap_or_else(|_| before.clone());
        let tables = text.lines().filter(|line| *line == "COMMIT").count() as u32;
        Self::tell(writes, self.family, Write::Ended { process, tables, before, after });
        result
    }

    fn changes_single_rules(&self) -> bool {
        matches!(self.tables, Tables::Nft(_))
    }

    fn entries(&mut self) -> Option<u32> {
        self.tables.state().ok()?.entries()
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

/// Answers whether the kernel speaks IPv6; an interface may do without it all the same.
fn has_ipv6() -> bool {
    std::path::Path::new("/proc/net/if_inet6").exists()
}
