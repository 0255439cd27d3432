//! What there may be of a network, on disk: enough to find all of it again, whoever made it and however that ended.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::plan::Site;
use crate::step::Step;

/// What there may be of a network. It is written before anything is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whether all of it was made; else only a part of it may be there.
    #[serde(default)]
    pub is_complete: bool,
    /// The steps that make it, as text.
    pub steps: Vec<String>,
    /// The namespaces, the LAN last.
    pub namespaces: Vec<String>,
    /// The links in the machine's own network.
    pub links: Vec<String>,
    /// Whether there are rules in the machine's own network.
    pub has_rules: bool,
    /// Settings of the machine, and what they were before.
    pub settings: Vec<(String, String)>,
    /// The nodes, and the namespace of each; `None`: the machine's own.
    pub nodes: Vec<(String, Option<String>)>,
}

impl Record {
    /// Answers what is to be written down about a network before it is made. `before`: what the machine had before; a
    /// record of an earlier network knows it better than the machine.
    pub fn new(site: &Site, before: Option<&Self>) -> Self {
        let steps = site.steps();
        let known = before.map(|before| before.settings.clone()).unwrap_or_default();
        let mut settings = known;
        for step in &steps {
            if let Step::Setting(None, name, value) = step
                && !settings.iter().any(|(known, _)| known == name)
                && let Ok(old) = sys::sysctl::read(name)
                && old != *value
            {
                settings.push((name.clone(), old));
            }
        }
        Self {
            is_complete: false,
            namespaces: site.namespaces(),
            links: site.links(),
            has_rules: steps.iter().any(|step| matches!(step, Step::Masquerade(_))),
            settings,
            nodes: site.nodes.iter().map(|node| (node.name.clone(), node.netns.clone())).collect(),
            steps: steps.iter().map(ToString::to_string).collect(),
        }
    }

    /// Reads it; `None`: there is none.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes it, so that a kill leaves the one before or this one.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let draft = path.with_extension("new");
        fs::write(&draft, serde_json::to_vec_pretty(self)?)?;
        fs::File::open(&draft)?.sync_all()?;
        fs::rename(&draft, path)
    }
}
