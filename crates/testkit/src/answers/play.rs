//! Playing one case against a server: its requests, watches and kubectl commands, one after the other.
//!
//! Compares nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use http::Method;
use serde_json::{Map, Value, json};

use super::access::Access;
use super::case::{Action, Body, Case, How, Kubectl, Request, Step};
use super::clean;
use super::client::{Answer, Call, CallError, Client};
use super::frames::Frames;
use super::kubectl;
use super::seen::seen;
use super::settle::Settler;
use super::tree::{self, Filling};
use crate::cases::yaml::Yaml;

/// A watch that is read to its end has one by then.
const STREAM: Duration = Duration::from_secs(60);
/// Writes are in the store's history by then, whatever the compaction command asks.
const BEFORE_COMPACTION: Duration = Duration::from_millis(300);

/// Makes a server forget its history before a resourceVersion.
pub type Compact<'a> = &'a (dyn Fn(&str) -> Result<(), String> + Sync);

/// What cases are played with.
#[derive(Clone)]
pub struct Setup<'a> {
    pub access: Access,
    /// Without it cases with kubectl are skipped.
    pub kubectl: Option<PathBuf>,
    /// Without it cases that need that are skipped.
    pub compact: Option<Compact<'a>>,
    /// A folder for kubectl.
    pub home: PathBuf,
}

/// A command that makes a server forget its history before `{rv}`, run.
pub fn compact_by(command: &str, before: &str) -> Result<(), String> {
    let words = kubectl::words(&command.replace("{rv}", before))?;
    let (program, arguments) = words.split_first().ok_or("the compaction command is empty")?;
    let mut command = std::process::Command::new(program);
    match command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} ended with {status}")),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// One case on its way.
pub(super) struct Play<'a> {
    pub(super) case: &'a Case,
    pub(super) client: Client,
    setup: &'a Setup<'a>,
    filling: Filling,
    watches: BTreeMap<String, Frames>,
    settler: Option<Settler>,
    /// Paths that were written to.
    pub(super) written: Vec<String>,
}

impl<'a> Play<'a> {
    pub(super) fn new(setup: &'a Setup<'a>, case: &'a Case) -> Self {
        Self {
            case,
            client: Client::new(&setup.access),
            setup,
            filling: Filling::default(),
            watches: BTreeMap::new(),
            settler: None,
            written: Vec::new(),
        }
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        self.filling.namespace.as_deref()
    }

    /// Plays all steps; the answers are in the form in which they are recorded.
    pub(super) async fn run(&mut self) -> Result<Vec<Value>, String> {
        if self.case.sent.contains("$ns") || self.case.needs_kubectl() {
            self.make_namespace().await?;
        }
        if self.case.needs_controllers() {
            let namespace = self.filling.namespace.clone().ok_or("controllers without a namespace")?;
            self.settler = Some(Settler::start(&mut self.client, &namespace).await?);
        }
        let mut answers = Vec::new();
        for (at, step) in self.case.steps.iter().enumerate() {
            let answer = self.step(step).await;
            answers
                .push(answer.map_err(|error| format!("step {}: {}: {error}", at + 1, step.title()))?.into());
        }
        Ok(answers)
    }

    /// Ends the watches and removes everything that the case made.
    pub(super) async fn clean(mut self) -> Result<(), String> {
        self.watches.clear();
        self.settler = None;
        clean::clean(&mut self).await
    }

    async fn make_namespace(&mut self) -> Result<(), String> {
        for salt in 0..50 {
            let name = namespace_name(&self.case.name, salt);
            let body = json!({"metadata": {"name": name}});
            let call = Call::json(Method::POST, "/api/v1/namespaces", &body);
            if self.client.call(&call).await.map_err(text)?.code == 201 {
                self.filling.namespace = Some(name);
                return Ok(());
            }
        }
        Err("no namespace could be made".into())
    }

    async fn step(&mut self, step: &Step) -> Result<Map<String, Value>, String> {
        match &step.action {
            Action::Request(request) => match &request.each {
                Some(items) => self.each(request, items).await,
                None => self.request(request).await,
            },
            Action::Kubectl(kubectl) => self.kubectl(kubectl).await,
            Action::Frames(name) => {
                let watch = self.watches.get_mut(name).ok_or_else(|| format!("no watch {name}"))?;
                let frames = watch.take(step.recorded_frames()).await;
                Ok(Map::from_iter([("frames".to_owned(), Value::Array(frames))]))
            }
            Action::Compact(before) => self.compact(before).await,
            Action::Pause(time) => {
                tokio::time::sleep(*time).await;
                Ok(Map::new())
            }
            Action::Settle(settle) => {
                let settler = self.settler.as_mut().ok_or("nothing to settle")?;
                settler.settle(&mut self.client, settle).await
            }
        }
    }

    async fn request(&mut self, request: &Request) -> Result<Map<String, Value>, String> {
        let call = call(&self.filling, request)?;
        match &request.how {
            How::Plain => {}
            How::Stream => {
                let (answer, mut frames) = self.client.watch(&call).await.map_err(text)?;
                let mut seen = seen(&request.look, &answer);
                seen.insert("frames".into(), frames.all(STREAM).await.into());
                return Ok(seen);
            }
            How::Watch(name) => {
                let (answer, frames) = self.client.watch(&call).await.map_err(text)?;
                self.watches.insert(name.clone(), frames);
                return Ok(seen(&request.look, &answer));
            }
        }
        if call.method != Method::GET {
            self.written.push(call.path.split('?').next().unwrap_or_default().to_owned());
        }
        let answer = self.client.call(&call).await.map_err(text)?;
        let seen = seen(&request.look, &answer);
        if let Some(name) = &request.save {
            self.filling.saved.insert(name.clone(), seen.get("body").cloned().unwrap_or_default());
        }
        Ok(seen)
    }

    async fn each(&mut self, request: &Request, items: &[Yaml]) -> Result<Map<String, Value>, String> {
        for item in items {
            let call = call(&self.filling, &with_item(request, item))?;
            self.written.push(call.path.clone());
            let answer = self.client.call(&call).await.map_err(text)?;
            if answer.code >= 300 {
                return Err(format!("{} answered {}: {}", call.path, answer.code, brief(&answer)));
            }
        }
        Ok(Map::new())
    }

    async fn kubectl(&mut self, step: &Kubectl) -> Result<Map<String, Value>, String> {
        let program = self.setup.kubectl.as_deref().ok_or("there is no kubectl")?;
        let files = step.files.iter().map(|(name, text)| Ok((name.clone(), self.filling.text(text)?)));
        let run = kubectl::Run {
            arguments: self.filling.text(&step.arguments)?,
            files: files.collect::<Result<_, String>>()?,
            stdin: self.filling.text(&step.stdin)?,
            editor: step.editor.clone().unwrap_or_else(|| "true".into()),
            kubeconfig: self.setup.access.kubeconfig(self.namespace().unwrap_or("default")),
        };
        let answer = kubectl::run(program, &self.setup.home, &run).await?;
        let stdout = answer["stdout"].as_str().unwrap_or_default().to_owned();
        if let (Some(name), Ok(document)) = (&step.save, serde_json::from_str(&stdout)) {
            self.filling.saved.insert(name.clone(), document);
        }
        let mut seen = answer.as_object().cloned().unwrap_or_default();
        seen.insert("stdout".into(), lines(step, stdout).into());
        Ok(seen)
    }

    async fn compact(&self, before: &str) -> Result<Map<String, Value>, String> {
        let compact = self.setup.compact.ok_or("there is no way to compact")?;
        let before = self.filling.text(before)?;
        tokio::time::sleep(BEFORE_COMPACTION).await;
        compact(&before).map(|()| Map::new())
    }
}

/// What of kubectl's output is compared.
fn lines(step: &Kubectl, stdout: String) -> String {
    let mut lines: Vec<&str> = stdout.lines().collect();
    match &step.grep {
        Some(words) => lines.retain(|line| words.iter().any(|word| line.contains(word))),
        None if step.sorted => lines.sort_unstable(),
        None => return stdout,
    }
    lines.join("\n")
}

/// A namespace of eight characters, as wide as the recorded ones.
fn namespace_name(case: &str, salt: u64) -> String {
    // FNV-1a.
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = case.bytes().chain(salt.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, mix);
    let mut name = String::from("t-");
    for _ in 0..6 {
        name.push(char::from(b'a' + (hash % 26) as u8));
        hash /= 26;
    }
    name
}

/// The request with everything filled in.
fn call(filling: &Filling, request: &Request) -> Result<Call, String> {
    let line = filling.text(&request.line)?;
    let (method, path) = line.split_once(' ').ok_or("no path")?;
    let method = Method::from_bytes(method.as_bytes()).map_err(text)?;
    let headers = request.headers.iter().map(|(name, value)| Ok((name.clone(), filling.text(value)?)));
    let mut call = Call {
        headers: headers.collect::<Result<_, String>>()?,
        anonymous: request.anonymous,
        ..Call::new(method, path)
    };
    let content_type = call.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let is_yaml = content_type.is_some_and(|(_, value)| value == "application/yaml");
    if let Some(body) = body(filling, request, is_yaml)? {
        if content_type.is_some() {
            call.body = Some(body);
        } else {
            call = call.with_body("application/json", body);
        }
    }
    Ok(call)
}

fn body(filling: &Filling, request: &Request, is_yaml: bool) -> Result<Option<String>, String> {
    let mut document = match &request.body {
        Body::None => return Ok(None),
        Body::Raw(raw) => return filling.text(raw).map(Some),
        Body::Saved(name) => tree::from_json(filling.saved(name)?),
        Body::Given(body) => filling.tree(body)?,
    };
    for (pointer, value) in &request.set {
        tree::set(&mut document, pointer, filling.tree(value)?)?;
    }
    for pointer in &request.unset {
        tree::remove(&mut document, pointer);
    }
    if let Some((pointer, bytes)) = &request.pad {
        tree::set(&mut document, pointer, Yaml::Text("x".repeat(*bytes)))?;
    }
    let written = if is_yaml {
        serde_saphyr::to_string(&document).map_err(text)
    } else {
        serde_json::to_string(&document).map_err(text)
    };
    written.map(Some)
}

/// The request for one item: `{i}` is the item, `{hi}` and `{lo}` are two numbers that make one address of it.
fn with_item(request: &Request, item: &Yaml) -> Request {
    let mut one = Request { line: item_text(&request.line, item), each: None, ..request.clone() };
    if let Body::Given(body) = &request.body {
        one.body = Body::Given(item_tree(body, item));
    }
    for (_, value) in &mut one.set {
        *value = item_tree(value, item);
    }
    one
}

fn item_tree(tree: &Yaml, item: &Yaml) -> Yaml {
    match tree {
        Yaml::Text(text) if text == "{i}" => item.clone(),
        Yaml::Text(text) => Yaml::Text(item_text(text, item)),
        Yaml::List(items) => Yaml::List(items.iter().map(|tree| item_tree(tree, item)).collect()),
        Yaml::Map(entries) => {
            Yaml::Map(entries.iter().map(|(key, value)| (key.clone(), item_tree(value, item))).collect())
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) => tree.clone(),
    }
}

fn item_text(text: &str, item: &Yaml) -> String {
    let number = if let Yaml::Int(number) = item { Some(*number) } else { None };
    let part = |of: fn(i64) -> i64| number.map_or_else(String::new, |number| of(number).to_string());
    let text = text.replace("{i}", &item.text("an item").unwrap_or_default());
    text.replace("{hi}", &part(|number| number / 250)).replace("{lo}", &part(|number| number % 250 + 1))
}

fn brief(answer: &Answer) -> String {
    answer.json()["message"].as_str().unwrap_or_default().to_owned()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl From<CallError> for String {
    fn from(error: CallError) -> Self {
        error.to_string()
    }
}

/// Makes the folder that kubectl works in.
pub(super) fn prepare(home: &Path) -> Result<(), String> {
    std::fs::create_dir_all(home).map_err(|error| format!("{}: {error}", home.display()))
}

#[cfg(test)]
mod tests {
    use super::super::case;
    use super::*;

    fn sent(step: &str) -> String {
        let cases = case::parse(&format!("[{{case: a/b, steps: [{step}]}}]")).unwrap();
        let Action::Request(request) = &cases[0].steps[0].action else { panic!("no request") };
        let saved = json!({"metadata": {"name": "web"}, "b": 1, "a": [1, 2]});
        let filling =
            Filling { namespace: Some("t-x".into()), saved: BTreeMap::from([("s".to_owned(), saved)]) };
        let call = call(&filling, request).unwrap();
        let headers: Vec<_> = call.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        format!("{} {} [{}] {}", call.method, call.path, headers.join(", "), call.body.unwrap_or_default())
    }

    #[test]
    fn requests_are_filled_in() {
        for (step, expected) in [
            ("{request: GET /ns/$ns, headers: {Accept: x}}", "GET /ns/t-x [Accept: x] "),
            (
                "{request: 'PUT /${s/metadata/name}', body: {z: $ns, a: '${s/b}'}}",
                r#"PUT /web [Content-Type: application/json] {"z":"t-x","a":1}"#,
            ),
            (
                "{request: PUT /x, from: s, set: {/a/0: 7, /c/d: e}, unset: [/b, /metadata]}",
                r#"PUT /x [Content-Type: application/json] {"a":[7,2],"c":{"d":"e"}}"#,
            ),
            ("{request: POST /x, raw: '{\"a\":'}", r#"POST /x [Content-Type: application/json] {"a":"#),
            (
                "{request: POST /x, headers: {Content-Type: application/yaml}, body: {b: '1', a: [x]}}",
                "POST /x [Content-Type: application/yaml] b: \"1\"\na:\n- x\n",
            ),
            (
                "{request: POST /x, body: {}, pad: {at: /data/k, bytes: 3}}",
                r#"POST /x [Content-Type: application/json] {"data":{"k":"xxx"}}"#,
            ),
        ] {
            assert_eq!(sent(step), expected, "{step}");
        }
    }

    #[test]
    fn items_are_filled_in() {
        let tree = Yaml::parse("{n: '{i}', ip: '10.0.{hi}.{lo}'}").unwrap();
        let got = serde_json::to_string(&item_tree(&tree, &Yaml::Int(260))).unwrap();
        assert_eq!(got, r#"{"n":260,"ip":"10.0.1.11"}"#);
    }

    #[test]
    fn namespaces_differ_and_have_eight_letters() {
        let names: std::collections::BTreeSet<_> = (0..50).map(|salt| namespace_name("a/b", salt)).collect();
        assert_eq!(names.len(), 50);
        assert!(names.iter().all(|name| name.len() == 8), "{names:?}");
    }

    #[test]
    fn output_is_cut_to_what_is_looked_at() {
        let step = |grep: Option<Vec<String>>, sorted| Kubectl { grep, sorted, ..Kubectl::default() };
        for (step, expected) in [
            (step(None, false), "b x\na y\n"),
            (step(None, true), "a y\nb x"),
            (step(Some(vec!["y".into(), "z".into()]), false), "a y"),
        ] {
            assert_eq!(lines(&step, "b x\na y\n".into()), expected);
        }
    }
}
