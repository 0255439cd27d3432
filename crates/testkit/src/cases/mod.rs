//! The reader of conformance cases: what a proxy is shown, what traffic is sent, what the real kube-proxy did.
//!
//! Short forms are written out and unknown words refused while reading, so whoever runs a case meets API objects and
//! addresses only. Nothing is run here.

mod change;
mod config;
mod endpoint;
mod object;
mod plan;
mod probe;
mod text;
pub(crate) mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

pub use change::{Change, Marked, Member, ProxyAction, SliceEdit};
pub use config::{ModeConfig, ProxyConfig};
pub use endpoint::EndpointSpec;
pub use object::{Key, Kind, Object};
pub use plan::{Family, NODES, Owner, Plan};
pub use probe::{Naming, Probe, Target};

use yaml::{Fields, Yaml};

/// One case file.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub topic: String,
    pub why: String,
    /// What differs from the usual configuration; the proxies are restarted for it.
    pub config: ProxyConfig,
    /// Whether the proxies start on wiped nodes, after the objects were written.
    pub fresh: bool,
    /// What exists before the first step.
    pub objects: Vec<Object>,
    pub steps: Vec<Step>,
    /// Outcomes that kube-proxy has but nobody would ask for, by label.
    pub quirks: BTreeMap<String, String>,
    /// What was recorded: mode, label, outcome.
    pub observed: BTreeMap<String, BTreeMap<String, Value>>,
    /// All labels in the order of the file.
    pub labels: Vec<String>,
}

/// One step: first the changes, then the looking.
#[derive(Debug, Clone)]
pub struct Step {
    pub change: Vec<Change>,
    /// Whether to wait for the proxies after the changes.
    pub converge: bool,
    pub wait: Duration,
    /// Opens long-lived flows.
    pub open: Vec<(String, Probe)>,
    /// Sends something on a flow: label and flow.
    pub check: Vec<(String, String)>,
    pub probe: Vec<(String, Probe)>,
    /// Runs from before the changes until it is done.
    pub background: Vec<(String, Probe)>,
    /// One probe after the other.
    pub serial: bool,
}

/// Why cases could not be read.
#[derive(Debug, Error)]
pub enum CaseError {
    #[error("{path}: {source}", path = .0.display(), source = .1)]
    Read(PathBuf, std::io::Error),
    #[error("{0}: {1}")]
    Case(String, String),
    #[error("{0}")]
    Word(String),
}

pub(crate) fn wrong(what: impl Into<String>) -> CaseError {
    CaseError::Word(what.into())
}

/// Reads all case files of a folder, sorted by name.
pub fn load(folder: &Path) -> Result<Vec<Case>, CaseError> {
    let plan = Plan::new();
    let failed = |error| CaseError::Read(folder.to_owned(), error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            paths.push(path);
        }
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).map_err(|error| CaseError::Read(path, error))?;
            Case::parse(&plan, &stem, &text)
        })
        .collect()
}

impl Case {
    /// Reads one case; `name` is the file's name without its ending.
    pub fn parse(plan: &Plan, name: &str, text: &str) -> Result<Self, CaseError> {
        let tree = Yaml::parse(text).map_err(|error| CaseError::Case(name.to_owned(), error))?;
        let case =
            Self::of(plan, &tree).map_err(|error| CaseError::Case(name.to_owned(), error.to_string()))?;
        if case.name != name {
            return Err(CaseError::Case(name.to_owned(), format!("the case is called {}", case.name)));
        }
        Ok(case)
    }

    fn of(plan: &Plan, tree: &Yaml) -> Result<Self, CaseError> {
        let mut fields = Fields::of(tree, "case")?;
        let objects = change::changes(plan, &fields.take("objects").unwrap_or(Yaml::Null))?;
        let objects = match objects.as_slice() {
            [] => Vec::new(),
            [Change::Write(objects)] => objects.clone(),
            _ => return Err(wrong("objects: there are other changes among them")),
        };
        let steps = fields.take("steps").unwrap_or(Yaml::Null);
        let steps: Vec<Step> =
            steps.list("steps")?.iter().map(|step| Step::of(plan, step)).collect::<Result<_, _>>()?;
        let labels: Vec<String> = steps.iter().flat_map(Step::labels).map(str::to_owned).collect();
        let case = Self {
            name: fields.need_text("case")?,
            topic: fields.need_text("topic")?,
            why: fields.need_text("why")?,
            config: ProxyConfig::parse(&fields.take("config").unwrap_or(Yaml::Null))?,
            fresh: fields.take("fresh").map(|v| v.bool("fresh")).transpose()?.unwrap_or(false),
            objects,
            steps,
            quirks: quirks(&fields.take("quirks").unwrap_or(Yaml::Null))?,
            observed: observed(&fields.take("observed").unwrap_or(Yaml::Null))?,
            labels,
        };
        fields.end()?;
        case.check_labels()?;
        Ok(case)
    }

    fn check_labels(&self) -> Result<(), CaseError> {
        let mut known = BTreeSet::new();
        if let Some(twice) = self.labels.iter().find(|label| !known.insert(label.as_str())) {
            return Err(wrong(format!("label {twice} is not unique")));
        }
        let recorded = self.observed.values().flat_map(BTreeMap::keys);
        if let Some(stranger) =
            recorded.chain(self.quirks.keys()).find(|label| !known.contains(label.as_str()))
        {
            return Err(wrong(format!("outcome or quirk of an unknown label {stranger}")));
        }
        let flows: BTreeSet<_> = self.steps.iter().flat_map(|s| &s.open).map(|(label, _)| label).collect();
        match self.steps.iter().flat_map(|s| &s.check).find(|(_, flow)| !flows.contains(flow)) {
            Some((label, flow)) => Err(wrong(format!("{label} checks an unknown flow {flow}"))),
            None => Ok(()),
        }
    }
}

fn quirks(tree: &Yaml) -> Result<BTreeMap<String, String>, CaseError> {
    tree.entries("quirks")?.iter().map(|(label, text)| Ok((label.clone(), text.text(label)?))).collect()
}

fn observed(tree: &Yaml) -> Result<BTreeMap<String, BTreeMap<String, Value>>, CaseError> {
    let mut modes = BTreeMap::new();
    for (mode, outcomes) in tree.entries("observed")? {
        let outcomes = outcomes.entries(mode)?.iter().map(|(label, tree)| (label.clone(), tree.to_json()));
        modes.insert(mode.clone(), outcomes.collect());
    }
    Ok(modes)
}

impl Step {
    fn of(plan: &Plan, tree: &Yaml) -> Result<Self, CaseError> {
        let mut fields = Fields::of(tree, "step")?;
        let mut take = |name: &str| fields.take(name).unwrap_or(Yaml::Null);
        let probes = |tree: Yaml| -> Result<Vec<(String, Probe)>, CaseError> {
            let entries = tree.entries("probes")?.iter();
            entries
                .map(|(label, text)| Ok((label.clone(), Probe::parse(plan, &text.text(label)?)?)))
                .collect()
        };
        let step = Self {
            change: change::changes(plan, &take("change"))?,
            open: probes(take("open"))?,
            check: take("check")
                .entries("check")?
                .iter()
                .map(|(label, flow)| Ok((label.clone(), flow.text(label)?)))
                .collect::<Result<_, CaseError>>()?,
            probe: probes(take("probe"))?,
            background: probes(take("background"))?,
            wait: take("wait").seconds("wait")?,
            serial: matches!(take("serial"), Yaml::Bool(true)),
            converge: !matches!(take("converge"), Yaml::Bool(false)),
        };
        fields.end()?;
        Ok(step)
    }

    fn labels(&self) -> impl Iterator<Item = &str> {
        let open = self.open.iter().map(|(label, _)| label);
        let check = self.check.iter().map(|(label, _)| label);
        let probes = self.probe.iter().chain(&self.background).map(|(label, _)| label);
        open.chain(check).chain(probes).map(String::as_str)
    }
}

#[cfg(test)]
mod tests;
