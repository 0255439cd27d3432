//! Whole cases against a server that answers by a script.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{LazyLock, mpsc};

use regex::{Captures, Regex};
use serde_json::{Value, json};

use super::*;

/// Takes one request a connection and answers each with what the script says for its beginning, with 404 else. Answers
/// the address and what was asked.
fn scripted(script: Vec<(&'static str, &'static str)>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (to, asked) = mpsc::channel();
    std::thread::spawn(move || {
        let mut script = script;
        for stream in listener.incoming() {
            let Some((line, stream)) = stream.ok().and_then(request) else { continue };
            let at = script.iter().position(|(beginning, _)| line.starts_with(beginning));
            let answer = at.map_or("404 Not Found\n\n{}", |at| script.remove(at).1);
            if to.send(line).is_err() {
                return;
            }
            respond(stream, answer);
        }
    });
    (url, asked)
}

/// Reads a request: its first line, its token and its body, in one line.
fn request(stream: TcpStream) -> Option<(String, TcpStream)> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let header = |name: &str| head.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
    let mut body = vec![0; header("content-length:").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let first = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let token = header("authorization:").unwrap_or_else(|| "nobody".into());
    Some((format!("{first} {} ({token})", String::from_utf8_lossy(&body)), stream))
}

/// Writes an answer: status and headers as lines, an empty line, the body.
fn respond(mut stream: TcpStream, answer: &str) {
    let (head, body) = answer.split_once("\n\n").unwrap();
    let head = head.replace('\n', "\r\n");
    write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}").unwrap();
}

/// Plays cases by a script; answers the closing line, what was told, and what was asked.
fn play(cases: &str, script: Vec<(&'static str, &'static str)>, better: &str) -> (String, String, String) {
    let (url, asked) = scripted(script);
    let cases = case::parse(cases).unwrap();
    let lists = Lists::parse(better, "", &cases).unwrap();
    let home = std::env::temp_dir().join(format!("testkit-answers-{}", std::process::id()));
    let setup = Setup { access: Access::new(&url, "tok"), kubectl: None, compact: None, home };
    let mut told = Vec::new();
    let mut tell = Tell { to: &mut |line| told.push(line.to_owned()), verbose: false };
    let summary = run(&cases, &setup, &lists, &mut tell).unwrap();
    let asked: Vec<_> = asked.try_iter().collect();
    (summary.to_string(), told.join("\n"), asked.join("\n").replace(" (Bearer tok)", ""))
}

const JSON: &str = "200 OK\ncontent-type: application/json\n\n";

#[test]
fn a_namespace_is_made_and_removed_with_what_is_in_it() {
    let case = "[{case: a/b, steps: [
        {request: POST /api/v1/namespaces/$ns/pods, body: {a: $ns}, response: {code: 201, body: {in: $ns}}},
        {request: GET /api/v1/nodes, token: none, response: {code: 401, text: no}}]}]";
    let name = "t-xxbadc";
    let script = vec![
        ("POST /api/v1/namespaces {", "201 Created\n\n{}"),
        ("POST /api/v1/namespaces/t-xxbadc/pods", "201 Created\n\n{\"in\":\"t-xxbadc\"}"),
        ("GET /api/v1/nodes", "401 Unauthorized\n\nno"),
        ("GET /api/v1/namespaces/t-xxbadc/pods", "200 OK\n\n{\"items\":[{\"metadata\":{\"name\":\"p\"}}]}"),
        ("DELETE /api/v1/namespaces/t-xxbadc/pods/p", "200 OK\n\n{\"metadata\":{\"finalizers\":[\"x\"]}}"),
        (
            "GET /api/v1/namespaces/t-xxbadc ",
            "200 OK\n\n{\"kind\":\"Namespace\",\"spec\":{\"finalizers\":[\"kubernetes\"]}}",
        ),
    ];
    let (closing, told, asked) = play(case, script, "");
    assert_eq!((closing.as_str(), told.as_str()), ("1 passed, 0 failed, 0 skipped", ""), "{asked}");
    let expected = "POST /api/v1/namespaces {\"metadata\":{\"name\":\"NS\"}}
POST /api/v1/namespaces/NS/pods {\"a\":\"NS\"}
GET /api/v1/nodes  (nobody)
GET /api/v1/namespaces/NS/pods 
DELETE /api/v1/namespaces/NS/pods/p?gracePeriodSeconds=0 
PATCH /api/v1/namespaces/NS/pods/p {\"metadata\":{\"finalizers\":null}}
DELETE /api/v1/namespaces/NS?gracePeriodSeconds=0 
GET /api/v1/namespaces/NS 
PUT /api/v1/namespaces/NS/finalize {\"kind\":\"Namespace\",\"spec\":{\"finalizers\":[]}}";
    assert_eq!(asked, expected.replace("NS", name));
}

#[test]
fn answers_that_differ_fail_and_are_told() {
    let case = "[{case: a/b, why: because, steps: [{request: GET /x, response: {code: 200, body: {a: 1}}}]}]";
    let answer = |body: &str| -> &'static str { format!("{JSON}{body}").leak() };
    let (closing, told, _) = play(case, vec![("GET /x", answer("{\"a\":1}"))], "");
    assert_eq!((closing.as_str(), told.as_str()), ("1 passed, 0 failed, 0 skipped", ""));
    let (closing, told, _) = play(case, vec![("GET /x", answer("{\"a\":2}"))], "");
    assert_eq!(closing, "0 passed, 1 failed, 0 skipped");
    assert_eq!(told, "FAIL a/b: because\n  step 1: GET /x\n    body/a:\n      want 1\n      got  2");
    let (closing, _, _) = play(case, vec![("GET /x", answer("{\"a\":2}"))], "a/b: two is better");
    assert_eq!(closing, "1 passed, 0 failed, 0 skipped");
    let (closing, told, _) = play(case, vec![("GET /x", answer("{\"a\":1}"))], "a/b: two is better");
    assert_eq!(closing, "0 passed, 1 failed, 0 skipped");
    assert!(told.contains("delete that line"), "{told}");
}

#[test]
fn a_case_that_cannot_be_played_fails_whatever_the_lists_say() {
    let case = "[{case: a/b, steps: [{request: GET /x, save: s}, {request: 'GET /${s/nope}'}]}]";
    let (closing, told, _) = play(case, vec![("GET /x", "200 OK\n\n{}")], "a/b: because");
    assert_eq!(closing, "0 passed, 1 failed, 0 skipped");
    assert!(told.contains("step 2: GET /${s/nope}: s/nope: the answer had no such value"), "{told}");
}

#[test]
fn watches_bring_frames_in_the_background_or_to_their_end() {
    let lines =
        "200 OK\ncontent-type: application/json\n\n{\"type\":\"ADDED\"}\n{\"type\":\"BOOKMARK\"}\nodd";
    let case = |last: &str| {
        format!(
            "[{{case: a/b, steps: [
                {{request: GET /x, stream: true, response: {{code: 200, frames: [{{type: ADDED}}, {{type: BOOKMARK}}, odd]}}}},
                {{request: GET /y, watch: w, response: {{code: 200}}}},
                {{frames: w, response: {{frames: [{{type: ADDED}}, {{type: {last}}}, odd]}}}}]}}]"
        )
    };
    let script = || vec![("GET /x", lines), ("GET /y", lines)];
    assert_eq!(play(&case("BOOKMARK"), script(), "").0, "1 passed, 0 failed, 0 skipped");
    let (closing, told, _) = play(&case("DELETED"), script(), "");
    assert_eq!(closing, "0 passed, 1 failed, 0 skipped");
    assert!(told.contains("step 3: frames w\n    frames/1/type:\n      want DELETED"), "{told}");
}

#[test]
fn what_cannot_be_done_here_is_skipped_and_counted() {
    let cases = "[{case: a/b, steps: [{kubectl: get svc}]}, {case: a/c, steps: [{compact: '1'}]}]";
    let (closing, told, _) = play(cases, Vec::new(), "");
    assert_eq!(closing, "0 passed, 0 failed, 2 skipped");
    assert_eq!(
        told,
        "SKIPPED: 1 cases need kubectl, which is not installed\nSKIPPED: 1 cases need --compact"
    );
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let data: PathBuf = std::env::temp_dir().join(format!("testkit-own-{}/data", std::process::id()));
    let error = OwnServer::start(std::path::Path::new("/bin/false"), &data, &[]).unwrap_err();
    std::fs::remove_dir_all(data.parent().unwrap()).unwrap();
    assert!(error.contains("ended with exit status: 1"), "{error}");
}

/// A recorded response with values in place of the placeholders, as a server could have answered it.
fn answered(recorded: &Value) -> Value {
    match recorded {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (filled(key), answered(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(answered).collect(),
        Value::String(text) if text == "$managed" => json!([{"manager": "somebody"}]),
        Value::String(text) => filled(text).into(),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain.clone(),
    }
}

fn filled(text: &str) -> String {
    let number =
        |captures: &Captures| captures.get(2).map_or(0, |digits| digits.as_str().parse::<u32>().unwrap());
    let value = |found: &Captures| match &found[1] {
        "ns" => "t-abcdef".to_owned(),
        "uid" => format!("00000000-0000-0000-0000-{:012}", number(found)),
        "rv" => format!("{}", 100 + number(found)),
        "time" => "2026-01-02T03:04:05Z".to_owned(),
        "microtime" => "2026-01-02T03:04:05.678901Z".to_owned(),
        "rfctime" => "Mon, 02 Jan 2026 03:04:05 +0000".to_owned(),
        "ip4-" => format!("10.100.0.{}", number(found)),
        "ip6-" => format!("fd00:10:96::a{}", number(found)),
        "nodeport" => format!("{}", 30_100 + number(found)),
        "rand" => format!("bcdf{}", ['2', '4', '5', '6', '7', '8', '9'][number(found) as usize]),
        "age" => "5s".to_owned(),
        "continue" => "eyJ2IjoibWV0YS".to_owned(),
        _ => "7".to_owned(),
    };
    static PLACES: LazyLock<Regex> = LazyLock::new(|| Regex::new(NAMES).unwrap());
    const NAMES: &str =
        r"\$(ns|uid|rv|listrv|time|microtime|rfctime|ip4-|ip6-|nodeport|rand|age|continue|any)(\d+)?\b";
    PLACES.replace_all(text, value).into_owned()
}

#[test]
fn every_recorded_answer_fits_itself_and_no_other() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/api/cases");
    for case in load(std::path::Path::new(folder)).unwrap() {
        let answers: Vec<Value> = case.steps.iter().map(|step| answered(&step.response)).collect();
        let namespace = Some("t-abcdef".to_owned());
        assert_eq!(compare::differences(&case, namespace.clone(), &answers), [], "{}", case.name);
        for (step, answer) in case.steps.iter().zip(&answers) {
            let alone = Case { steps: vec![step.clone()], ..case.clone() };
            for part in answer.as_object().unwrap().keys() {
                let mut changed = answer.clone();
                let value = &mut changed[part];
                *value = match value.as_str() {
                    Some(text) => format!("{text}!").into(),
                    None => json!([value.clone()]),
                };
                let found = compare::differences(&alone, namespace.clone(), &[changed]);
                assert!(!found.is_empty(), "{}: {}: {part}", case.name, step.title());
            }
        }
    }
}
