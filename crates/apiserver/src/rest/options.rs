//! What a request asks for besides its path and its body, checked in Kubernetes' words.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::body::Strictness;
use crate::mistake::{self, Mistake, Path};
use crate::status::Status;

/// The part of an address behind `?`.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads it; nothing is refused.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescaped(name, true).into_owned(), unescaped(value, true).into_owned())
        };
        Self(pairs.map(pair).collect())
    }

    /// Answers the first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Answers every value of a name.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    /// As Kubernetes reads it: everything but `0` and `false` is true.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| !matches!(value.to_ascii_lowercase().as_str(), "0" | "false"))
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        let Some(value) = self.get(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        let wrong = || Status::bad_request(format!("strconv.ParseInt: parsing \"{value}\": invalid syntax"));
        value.parse().map(Some).map_err(|_| wrong())
    }
}

/// Answers a text with `%41` for `A`; with `is_form`, `+` is a space.
pub fn unescaped(text: &str, is_form: bool) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        let digits =
            behind.get(..2).filter(|_| *byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &behind[2..];
            }
            None => out.push(if is_form && *byte == b'+' { b' ' } else { *byte }),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// The longest watch, in seconds: a day.
const LONGEST_WATCH: u64 = 86_400;

/// What a list or a watch asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Which labels.
    pub labels: String,
    /// Which fields.
    pub fields: String,
    /// Whether changes are wanted.
    pub watch: bool,
    /// Whether bookmarks are.
    pub bookmarks: bool,
    /// From which revision on, as given.
    pub revision: String,
    /// How the revision is meant.
    pub matching: Option<Matching>,
    /// For how many seconds to watch.
    pub timeout: Option<u64>,
    /// The most objects; 0: all.
    pub limit: usize,
    /// Where to go on.
    pub continue_at: String,
    /// Whether a watch begins with what there is.
    pub initial_events: Option<bool>,
}

/// How a revision is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matching {
    /// The state at it.
    Exact,
    /// It, or any later one.
    NotOlderThan,
}

impl ListOptions {
    /// Reads and checks them.
    pub fn parse(query: &Query) -> Result<Self, Status> {
        let limit = query.number("limit")?.unwrap_or(0);
        let timeout = query.number("timeoutSeconds")?;
        let watch = query.flag("watch").unwrap_or(false);
        if let Some(timeout) = query.get("timeout").filter(|_| !watch)
            && !is_duration(timeout)
        {
            let why = format!(
                "invalid timeout specified in the request URL - time: invalid duration \"{timeout}\""
            );
            return Err(Status::bad_request(why));
        }
        let options = Self {
            labels: query.text("labelSelector"),
            fields: query.text("fieldSelector"),
            watch,
            bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
            revision: query.text("resourceVersion"),
            matching: match query.get("resourceVersionMatch") {
                Some("Exact") => Some(Matching::Exact),
                Some("NotOlderThan") => Some(Matching::NotOlderThan),
                Some(_) | None => None,
            },
            timeout: timeout
                .and_then(|seconds| u64::try_from(seconds).ok())
                .filter(|seconds| *seconds > 0)
                .map(|seconds| seconds.min(LONGEST_WATCH)),
            limit: usize::try_from(limit).unwrap_or(0),
            continue_at: query.text("continue"),
            initial_events: query.flag("sendInitialEvents"),
        };
        let matching = query.get("resourceVersionMatch").unwrap_or_default();
        let mistakes = if watch { options.of_watch(matching) } else { options.of_list(matching) };
        if mistakes.is_empty() { Ok(options) } else { Err(refuse("ListOptions", &mistakes)) }
    }

    fn of_list(&self, matching: &str) -> Vec<Mistake> {
        let path = Path::new("resourceVersionMatch");
        let mut found = Vec::new();
        if !matching.is_empty() {
            if self.revision.is_empty() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                found.push(Mistake::forbidden(&path, why));
            }
            if !self.continue_at.is_empty() {
                found.push(Mistake::forbidden(
                    &path,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
            if self.matching.is_none() {
                found.push(Mistake::not_supported(&path, matching, &["Exact", "NotOlderThan", ""]));
            }
            if self.matching == Some(Matching::Exact) && self.revision == "0" {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                found.push(Mistake::forbidden(&path, why));
            }
        }
        if self.initial_events.is_some() {
            let path = Path::new("sendInitialEvents");
            found.push(Mistake::forbidden(&path, "sendInitialEvents is forbidden for list"));
        }
        found
    }

    fn of_watch(&self, matching: &str) -> Vec<Mistake> {
        let path = Path::new("resourceVersionMatch");
        let is_right = self.matching == Some(Matching::NotOlderThan);
        let mut found = Vec::new();
        if self.initial_events.is_some() && !is_right {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            found.push(Mistake::forbidden(&path, why));
        }
        if !matching.is_empty() {
            if self.initial_events.is_none() {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                found.push(Mistake::forbidden(&path, why));
            }
            if !is_right {
                found.push(Mistake::not_supported(&path, matching, &["NotOlderThan"]));
            }
            if !self.continue_at.is_empty() {
                found.push(Mistake::forbidden(
                    &path,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
        }
        found
    }

    /// Answers the revision; `None`: none was given.
    pub fn revision(&self) -> Result<Option<u64>, Status> {
        if self.revision.is_empty() {
            return Ok(None);
        }
        let parsed = self.revision.parse().ok().filter(|_| !self.revision.starts_with('+'));
        parsed.map(Some).ok_or_else(|| {
            Status::bad_request(format!(
                "invalid resource version: resourceVersion: Invalid value: \"{0}\": strconv.ParseUint: parsing \"{0}\": invalid syntax",
                self.revision
            ))
        })
    }
}

/// `300ms`, `1h2.5m`, `0`: what Go takes for a duration.
fn is_duration(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut rest = text;
    while !rest.is_empty() && rest != "0" {
        let digits = rest.trim_start_matches(|char: char| char.is_ascii_digit() || char == '.');
        let number = &rest[..rest.len() - digits.len()];
        let is_number = number.bytes().any(|byte| byte.is_ascii_digit()) && number.matches('.').count() <= 1;
        let unit = ["ns", "us", "µs", "ms", "s", "m", "h"].into_iter().find(|unit| digits.starts_with(unit));
        match unit {
            Some(unit) if is_number => rest = &digits[unit.len()..],
            Some(_) | None => return false,
        }
    }
    !text.is_empty()
}

/// What a write asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOptions {
    /// Whether nothing of it shall be kept.
    pub is_dry_run: bool,
    /// Who writes.
    pub manager: String,
    /// What becomes of unknown fields.
    pub strictness: Strictness,
    /// Whether an apply takes fields from others.
    pub force: bool,
    /// Why a change may not create what is not there; `None`: it may.
    pub create_refusal: Option<Box<Status>>,
}

/// What sort of write it is; the words differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// A create.
    Create,
    /// An update.
    Update,
    /// A patch.
    Patch,
    /// An apply.
    Apply,
}

impl WriteOptions {
    /// Those of a part of this program.
    pub fn by(manager: &str) -> Self {
        Self {
            is_dry_run: false,
            manager: manager.to_owned(),
            strictness: Strictness::Ignore,
            force: false,
            create_refusal: None,
        }
    }

    /// Reads and checks them. `agent`: the header `User-Agent`, which names who writes if nothing else does.
    pub fn parse(query: &Query, writes: Writes, agent: &str) -> Result<Self, Status> {
        let (dry_run, manager) = (query.all("dryRun"), query.text("fieldManager"));
        let validation = query.text("fieldValidation");
        let mut mistakes = Vec::new();
        if writes == Writes::Apply && manager.is_empty() {
            mistakes.push(Mistake::required(&Path::new("fieldManager"), "is required for apply patch"));
        }
        if writes != Writes::Apply && query.get("force").is_some() && writes == Writes::Patch {
            mistakes
                .push(Mistake::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
        }
        mistakes.extend(of_manager(&manager));
        mistakes.extend(of_dry_run(&dry_run));
        let strictness = match validation.as_str() {
            // Unlike its clients, the server warns by itself.
            "" | "Warn" => Strictness::Warn,
            "Ignore" => Strictness::Ignore,
            "Strict" => Strictness::Strict,
            other => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                mistakes.push(Mistake::not_supported(&Path::new("fieldValidation"), other, &supported));
                Strictness::Warn
            }
        };
        if !mistakes.is_empty() {
            let kind = match writes {
                Writes::Create => "CreateOptions",
                Writes::Update => "UpdateOptions",
                Writes::Patch | Writes::Apply => "PatchOptions",
            };
            return Err(refuse(kind, &mistakes));
        }
        let manager = if manager.is_empty() { of_agent(agent) } else { manager };
        let force = query.flag("force").unwrap_or(false);
        Ok(Self { is_dry_run: !dry_run.is_empty(), manager, strictness, force, create_refusal: None })
    }
}

/// The most bytes of a manager's name.
const LONGEST_MANAGER: usize = 128;

fn of_manager(manager: &str) -> Vec<Mistake> {
    let path = Path::new("fieldManager");
    let mut found = Vec::new();
    if manager.len() > LONGEST_MANAGER {
        found.push(Mistake::too_long(&path, LONGEST_MANAGER));
    }
    for (at, char) in manager.chars().enumerate() {
        if char.is_control() {
            let why = format!("invalid character U+{:04X} (at position {at})", u32::from(char));
            found.push(Mistake::invalid(&path, manager, why));
        }
    }
    found
}

fn of_agent(agent: &str) -> String {
    let name = agent.split('/').next().unwrap_or_default();
    let shown: String = name.chars().filter(|char| !char.is_control()).collect();
    let mut end = shown.len().min(LONGEST_MANAGER);
    while !shown.is_char_boundary(end) {
        end -= 1;
    }
    if end == 0 { "unknown".to_owned() } else { shown[..end].to_owned() }
}

fn of_dry_run(dry_run: &[String]) -> Option<Mistake> {
    let is_wrong = dry_run.iter().any(|value| value != "All");
    is_wrong.then(|| Mistake::not_supported(&Path::new("dryRun"), json!(dry_run), &["All"]))
}

/// What a delete asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Whether nothing of it shall be kept.
    pub is_dry_run: bool,
    /// How many seconds the object may stay.
    pub grace: Option<i64>,
    /// What becomes of the objects that it owns.
    pub propagation: Option<Propagation>,
    /// Only the object with this UID.
    pub uid: Option<String>,
    /// Only this version of the object.
    pub revision: Option<String>,
}

/// What becomes of the objects that a deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They go afterwards.
    Background,
    /// They go before it.
    Foreground,
    /// They stay, without an owner.
    Orphan,
}

impl DeleteOptions {
    /// Reads them from the query, and from a body where there is one, which then counts alone.
    pub fn parse(query: &Query, body: Option<&Value>) -> Result<Self, Status> {
        let mut given = json!({});
        if let Some(seconds) = query.number("gracePeriodSeconds")? {
            given["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(policy) = query.get("propagationPolicy") {
            given["propagationPolicy"] = policy.into();
        }
        if let Some(orphan) = query.flag("orphanDependents") {
            given["orphanDependents"] = orphan.into();
        }
        let dry_run = query.all("dryRun");
        if !dry_run.is_empty() {
            given["dryRun"] = dry_run.into();
        }
        Self::of(body.unwrap_or(&given))
    }

    fn of(given: &Value) -> Result<Self, Status> {
        let path = Path::new("propagationPolicy");
        let (policy, orphan) = (given["propagationPolicy"].as_str(), given["orphanDependents"].as_bool());
        let mut mistakes = Vec::new();
        if let Some(policy) = policy.filter(|_| orphan.is_some()) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            mistakes.push(Mistake::invalid(&path, policy, why));
        }
        let propagation = match (policy, orphan) {
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (None, None) => None,
            (Some(other), _) => {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                mistakes.push(Mistake::not_supported(&path, other, &supported));
                None
            }
        };
        let list = given["dryRun"].as_array().into_iter().flatten();
        let dry_run: Vec<String> = list.filter_map(Value::as_str).map(str::to_owned).collect();
        mistakes.extend(of_dry_run(&dry_run));
        if !mistakes.is_empty() {
            return Err(refuse("DeleteOptions", &mistakes));
        }
        let precondition = |name: &str| given["preconditions"][name].as_str().map(str::to_owned);
        Ok(Self {
            is_dry_run: !dry_run.is_empty(),
            // A negative time makes no sense and is the shortest.
            grace: given["gracePeriodSeconds"].as_i64().map(|seconds| if seconds < 0 { 1 } else { seconds }),
            propagation,
            uid: precondition("uid"),
            revision: precondition("resourceVersion"),
        })
    }
}

fn refuse(kind: &str, mistakes: &[Mistake]) -> Status {
    mistake::refuse_as("meta.k8s.io", kind, "", mistakes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read() {
        let query = Query::parse("a=1&b=x%20y+z&c&a=2&d=%zz");
        assert_eq!((query.get("a"), query.get("b"), query.get("c")), (Some("1"), Some("x y z"), Some("")));
        assert_eq!((query.all("a").len(), query.get("d"), query.get("e")), (2, Some("%zz"), None));
    }

    #[test]
    fn durations_are_gos() {
        for right in ["1s", "0", "1h2.5m", "300ms", "-1s"] {
            assert!(is_duration(right), "{right}");
        }
        for wrong in ["", "bad", "1", "s", "1x", "1.2.3s"] {
            assert!(!is_duration(wrong), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_kubernetes_says_it() {
        let check = |query: &str, wanted: &str| {
            let status = ListOptions::parse(&Query::parse(query)).expect_err(query);
            assert_eq!(status.message, wanted, "{query}");
        };
        check(
            "watch=1&sendInitialEvents=true",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting \
             resourceVersionMatch to NotOlderThan",
        );
        check("timeoutSeconds=x", "strconv.ParseInt: parsing \"x\": invalid syntax");
        let status = WriteOptions::parse(&Query::parse("fieldManager=bad%09name"), Writes::Patch, "")
            .expect_err("a tab");
        assert_eq!(
            status.message,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"bad\\tname\": invalid character U+0009 \
             (at position 3)"
        );
        let status = DeleteOptions::parse(&Query::parse("dryRun=true"), None).expect_err("not All");
        assert_eq!(
            status.message,
            "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"true\"]: supported values: \"All\""
        );
        let options = WriteOptions::parse(&Query::parse(""), Writes::Create, "kubectl/v1.32")
            .expect("nothing is wrong");
        assert_eq!((options.manager.as_str(), options.is_dry_run), ("kubectl", false));
    }
}
