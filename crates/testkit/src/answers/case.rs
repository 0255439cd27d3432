//! The reader of recorded API answers: what a case sends, and what came back. Refuses words it does not know.
//!
//! Plays nothing, compares nothing.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::settle;
use crate::cases::yaml::{Fields, Yaml};
use crate::cases::{CaseError, wrong};

/// One recorded case.
#[derive(Debug, Clone)]
pub struct Case {
    /// Topic and name, as in `watch/bookmark`.
    pub name: String,
    pub why: String,
    /// Collections that must be emptied afterwards besides those that the paths of the requests show.
    pub(super) cleans: Vec<String>,
    pub(super) steps: Vec<Step>,
    /// The steps as JSON without their responses: for questions such as whether the case is about pods.
    pub(super) sent: String,
}

/// One step and what came of it when it was recorded.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) action: Action,
    /// An object; empty when nothing was recorded.
    pub(super) response: Value,
}

/// What a step does.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Request(Box<Request>),
    Kubectl(Box<Kubectl>),
    /// Takes what a watch in the background brought, by its name.
    Frames(String),
    /// Forgets the history before a resourceVersion.
    Compact(String),
    Pause(Duration),
    Settle(Settle),
}

/// Waits until the endpoint controllers are at rest, and looks at what they wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settle {
    /// How long nothing is written by then.
    pub(super) quiet: Duration,
    /// Only sums are compared.
    pub(super) total: bool,
    /// Only the number of hints for each zone is compared.
    pub(super) counts_hints: bool,
}

/// How long nothing is written when controllers are at rest, unless the step says otherwise.
const QUIET: Duration = Duration::from_millis(800);

/// A request, or many that differ in a word.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    /// Method and path.
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Body,
    pub(super) set: Vec<(String, Yaml)>,
    pub(super) unset: Vec<String>,
    /// Where a long string goes, and how long it is.
    pub(super) pad: Option<(String, usize)>,
    pub(super) anonymous: bool,
    pub(super) how: How,
    pub(super) save: Option<String>,
    pub(super) look: Look,
    /// Sent once for each, with `{i}` filled in; the answers only have to be 2xx.
    pub(super) each: Option<Vec<Yaml>>,
}

#[derive(Debug, Clone, Default)]
pub(super) enum Body {
    #[default]
    None,
    Raw(String),
    Given(Yaml),
    Saved(String),
}

#[derive(Debug, Clone, Default)]
pub(super) enum How {
    #[default]
    Plain,
    /// A watch that is read to its end.
    Stream,
    /// A watch in the background, by its name.
    Watch(String),
}

/// What of an answer is compared.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    /// The body is text, also when it is JSON.
    pub(super) text: bool,
    pub(super) discovery: bool,
    pub(super) only: Option<Vec<String>>,
    /// Headers besides the usual ones.
    pub(super) note: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Kubectl {
    pub(super) arguments: String,
    /// Name and content.
    pub(super) files: Vec<(String, String)>,
    pub(super) stdin: String,
    pub(super) editor: Option<String>,
    pub(super) save: Option<String>,
    pub(super) sorted: bool,
    pub(super) grep: Option<Vec<String>>,
}

/// Reads all case files of a folder, sorted by their names; those that have the server forget its history come last.
pub fn load(folder: &Path) -> Result<Vec<Case>, CaseError> {
    let failed = |error| CaseError::Read(folder.to_owned(), error);
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut paths = entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).map_err(|error| CaseError::Read(path, error))?;
        cases.extend(parse(&text).map_err(|error| CaseError::Case(stem, error.to_string()))?);
    }
    // What they forget, others count on.
    cases.sort_by_key(Case::needs_compaction);
    Ok(cases)
}

/// Reads the cases of one file.
pub(super) fn parse(text: &str) -> Result<Vec<Case>, CaseError> {
    // The recorder wrote YAML 1.1, where U+2028 ends a line and the spaces after it are indentation.
    let text = text.split('\u{2028}').enumerate();
    let text: Vec<_> =
        text.map(|(at, part)| if at == 0 { part } else { part.trim_start_matches(' ') }).collect();
    let tree = Yaml::parse(&text.join("\u{2028}")).map_err(wrong)?;
    tree.list("cases")?.iter().map(Case::of).collect()
}

impl Case {
    fn of(tree: &Yaml) -> Result<Self, CaseError> {
        let mut fields = Fields::of(tree, "case")?;
        let name = fields.need_text("case")?;
        Self::with(&name, fields).map_err(|error| CaseError::Case(name, error.to_string()))
    }

    fn with(name: &str, mut fields: Fields) -> Result<Self, CaseError> {
        let why = fields.take_text("why")?.unwrap_or_default();
        let cleans = texts(fields.take("cleans"), "cleans")?;
        // It says how managedFields were recorded; the responses show it.
        fields.take("managed");
        let steps = fields.take("steps").unwrap_or(Yaml::Null);
        fields.end()?;
        let steps = steps.list("steps")?;
        let sent = steps.iter().map(|step| without_response(step).to_string()).collect();
        let steps = steps.iter().enumerate().map(|(at, step)| Step::of(step, &format!("step {}", at + 1)));
        Ok(Self { name: name.to_owned(), why, cleans, steps: steps.collect::<Result<_, _>>()?, sent })
    }

    /// Whether a step runs kubectl.
    pub fn needs_kubectl(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::Kubectl(_)))
    }

    /// Whether a step waits for the endpoint controllers.
    pub fn needs_controllers(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::Settle(_)))
    }

    /// Whether the server's history has to be forgotten in between.
    pub fn needs_compaction(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::Compact(_)))
    }
}

fn without_response(step: &Yaml) -> Value {
    let mut json = step.to_json();
    if let Some(fields) = json.as_object_mut() {
        fields.remove("response");
    }
    json
}

impl Step {
    fn of(tree: &Yaml, what: &str) -> Result<Self, CaseError> {
        let mut fields = Fields::of(tree, what)?;
        let mut response =
            fields.take("response").map_or_else(|| Value::Object(Default::default()), |r| r.to_json());
        if !response.is_object() {
            return Err(wrong(format!("{what}: a response is a mapping")));
        }
        settle::in_order(&mut response);
        // It was applied when the response was recorded.
        fields.take("ignore");
        let action = if fields.has("request") {
            Action::Request(Box::new(Request::of(&mut fields)?))
        } else if fields.has("kubectl") {
            Action::Kubectl(Box::new(Kubectl::of(&mut fields)?))
        } else if let Some(pause) = fields.take("pause") {
            Action::Pause(pause.seconds(what)?)
        } else if fields.has("settle") {
            Action::Settle(Settle::of(&mut fields, what)?)
        } else if fields.has("compact") {
            Action::Compact(fields.need_text("compact")?)
        } else {
            Action::Frames(fields.need_text("frames")?)
        };
        fields.end()?;
        Ok(Self { action, response })
    }

    /// What the step is called in a report.
    pub(super) fn title(&self) -> String {
        match &self.action {
            Action::Request(request) => request.line.clone(),
            Action::Kubectl(kubectl) => format!("kubectl {}", kubectl.arguments),
            Action::Frames(name) => format!("frames {name}"),
            Action::Compact(before) => format!("compact {before}"),
            Action::Pause(time) => format!("pause {time:?}"),
            Action::Settle(_) => "settle".into(),
        }
    }

    /// How many frames were recorded; `None` when none were looked at.
    pub(super) fn recorded_frames(&self) -> Option<usize> {
        self.response.get("frames")?.as_array().map(Vec::len)
    }
}

impl Settle {
    fn of(fields: &mut Fields, what: &str) -> Result<Self, CaseError> {
        if !fields.take("settle").unwrap_or(Yaml::Null).bool("settle")? {
            return Err(wrong(format!("{what}: settle is true")));
        }
        // It was applied when the response was recorded.
        fields.take("joins");
        let quiet = fields.take("quiet").map(|quiet| quiet.seconds("quiet")).transpose()?;
        let counts_hints = match fields.take_text("hints")?.as_deref() {
            None => false,
            Some("count") => true,
            Some(other) => return Err(wrong(format!("{what}: hints: {other}"))),
        };
        let total = fields.take("total").map_or(Ok(false), |total| total.bool("total"))?;
        Ok(Self { quiet: quiet.map_or(QUIET, |quiet| quiet.max(QUIET)), total, counts_hints })
    }
}

impl Request {
    fn of(fields: &mut Fields) -> Result<Self, CaseError> {
        let line = fields.need_text("request")?;
        let body = match (fields.take_text("raw")?, fields.take_text("from")?, fields.take("body")) {
            (None, None, None) => Body::None,
            (Some(raw), None, None) => Body::Raw(raw),
            (None, Some(name), None) => Body::Saved(name),
            (None, None, Some(body)) => Body::Given(body),
            (Some(_), _, _) | (_, Some(_), _) => return Err(wrong(format!("{line}: two bodies"))),
        };
        let how = match (fields.take("stream"), fields.take_text("watch")?) {
            (None, None) => How::Plain,
            (Some(Yaml::Bool(true)), None) => How::Stream,
            (None, Some(name)) => How::Watch(name),
            (Some(_), _) => return Err(wrong(format!("{line}: stream is true, and nothing beside it"))),
        };
        let anonymous = match fields.take_text("token")?.as_deref() {
            None => false,
            Some("none") => true,
            Some(other) => return Err(wrong(format!("{line}: token {other}"))),
        };
        let set = fields.take("set").unwrap_or(Yaml::Null).entries("set")?.to_vec();
        let each = fields.take("each").map(|each| each.list("each").map(<[_]>::to_vec)).transpose()?;
        Ok(Self {
            headers: named_texts(fields.take("headers"), "headers")?,
            unset: texts(fields.take("unset"), "unset")?,
            pad: fields.take("pad").map(|pad| padding(&pad)).transpose()?,
            save: fields.take_text("save")?,
            look: Look::of(fields)?,
            line,
            body,
            set,
            anonymous,
            how,
            each,
        })
    }
}

fn padding(tree: &Yaml) -> Result<(String, usize), CaseError> {
    let mut fields = Fields::of(tree, "pad")?;
    let at = fields.need_text("at")?;
    let bytes = fields.take("bytes").unwrap_or(Yaml::Null).count("pad.bytes")?;
    fields.end()?;
    Ok((at, bytes as usize))
}

impl Look {
    fn of(fields: &mut Fields) -> Result<Self, CaseError> {
        let text = fields.take("text").map_or(Ok(false), |text| text.bool("text"))?;
        let discovery = match fields.take_text("keep")?.as_deref() {
            None => false,
            Some("discovery") => true,
            Some(other) => return Err(wrong(format!("keep: {other}"))),
        };
        let only = fields.take("only").map(|only| texts(Some(only), "only")).transpose()?;
        Ok(Self { text, discovery, only, note: texts(fields.take("note"), "note")? })
    }
}

impl Kubectl {
    fn of(fields: &mut Fields) -> Result<Self, CaseError> {
        let files = fields.take("files").unwrap_or(Yaml::Null);
        let files = files.entries("files")?.iter();
        Ok(Self {
            arguments: fields.need_text("kubectl")?,
            files: files
                .map(|(name, content)| Ok((name.clone(), documents(content)?)))
                .collect::<Result<_, _>>()?,
            stdin: fields.take("stdin").map_or(Ok(String::new()), |stdin| documents(&stdin))?,
            editor: fields.take_text("editor")?,
            save: fields.take_text("save")?,
            sorted: fields.take("sorted").map_or(Ok(false), |sorted| sorted.bool("sorted"))?,
            grep: fields.take("grep").map(|grep| texts(Some(grep), "grep")).transpose()?,
        })
    }
}

/// A file of manifests: a text as it stands, an object, or a list of objects as a YAML stream.
fn documents(content: &Yaml) -> Result<String, CaseError> {
    if let Yaml::Text(text) = content {
        return Ok(text.clone());
    }
    let one = std::slice::from_ref(content);
    let all = if matches!(content, Yaml::List(_)) { content.list("files")? } else { one };
    let all = all.iter().map(|tree| serde_saphyr::to_string(tree).map_err(|error| wrong(error.to_string())));
    Ok(all.collect::<Result<Vec<_>, _>>()?.join("---\n"))
}

fn texts(tree: Option<Yaml>, what: &str) -> Result<Vec<String>, CaseError> {
    tree.unwrap_or(Yaml::Null).list(what)?.iter().map(|item| item.text(what)).collect()
}

fn named_texts(tree: Option<Yaml>, what: &str) -> Result<Vec<(String, String)>, CaseError> {
    let tree = tree.unwrap_or(Yaml::Null);
    tree.entries(what)?.iter().map(|(name, value)| Ok((name.clone(), value.text(what)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/api/cases");

    #[test]
    fn all_recorded_cases_are_understood() {
        let cases = load(Path::new(CASES)).unwrap();
        assert_eq!(cases.len(), 401);
        assert_eq!(cases.iter().filter(|case| case.needs_kubectl()).count(), 37);
        assert_eq!(cases.iter().filter(|case| case.needs_compaction()).count(), 3);
        assert!(cases.iter().all(|case| !case.steps.is_empty() && !case.why.is_empty()));
    }

    #[test]
    fn all_recorded_histories_are_understood() {
        let cases = load(&Path::new(CASES).join("../../slices")).unwrap();
        assert_eq!(cases.len(), 64);
        assert!(cases.iter().all(|case| case.needs_controllers() && !case.why.is_empty()));
    }

    #[test]
    fn old_line_ends_are_followed_by_indentation() {
        let cases = parse("- case: a/b\n  steps: [{pause: 0, response: {text: 'a\u{2028}    '}}]\n").unwrap();
        assert_eq!(cases[0].steps[0].response["text"], "a\u{2028}");
    }

    #[test]
    fn unknown_words_are_refused() {
        for (step, expected) in [
            ("{request: GET /a, boddy: {}}", "step 1: unknown boddy"),
            ("{request: GET /a, raw: x, from: y}", "two bodies"),
            ("{request: GET /a, token: some}", "token some"),
            ("{request: GET /a, keep: all}", "keep: all"),
            ("{request: GET /a, stream: true, watch: w}", "nothing beside it"),
            ("{settle: false}", "settle is true"),
            ("{settle: true, hints: all}", "hints: all"),
            ("{}", "no frames"),
            ("{pause: 1, response: 3}", "a response is a mapping"),
        ] {
            let error = parse(&format!("[{{case: a/b, steps: [{step}]}}]")).unwrap_err().to_string();
            assert!(error.starts_with("a/b: ") && error.contains(expected), "{step}: {error}");
        }
    }

    #[test]
    fn manifests_become_a_stream_in_their_order() {
        let tree = Yaml::parse("[{kind: A, b: 'yes', a: ['1', 1]}, {kind: B}]").unwrap();
        let text = documents(&tree).unwrap();
        let (first, second) = text.split_once("---\n").unwrap();
        assert_eq!(Yaml::parse(first).unwrap(), tree.list("").unwrap()[0]);
        assert_eq!(Yaml::parse(second).unwrap(), tree.list("").unwrap()[1]);
        assert!(first.find("kind").unwrap() < first.find("a:").unwrap(), "{first}");
    }
}
