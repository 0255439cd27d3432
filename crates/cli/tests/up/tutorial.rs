//! The tutorial, word for word: each command is run, each answer is what is printed, but for what differs each time.

use std::process::{Command, Stdio};

use regex::Regex;
use sys::netns::Namespace;
use testkit::answers;
use testkit::up::Up;

use super::host::machine;
use super::machine::{Folder, ROOT, SIGNALBOX, brought};

/// The directory that the tutorial uses.
const DATA: &str = "/var/lib/signalbox";

/// A command of the tutorial, and its answer.
struct Line {
    command: String,
    answer: String,
}

fn read(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_inside = line == "```console";
        } else if let (true, Some(command)) = (is_inside, line.strip_prefix("$ ")) {
            lines.push(Line { command: command.to_owned(), answer: String::new() });
        } else if let (true, Some(last)) = (is_inside, lines.last_mut()) {
            last.answer += line;
            last.answer.push('\n');
        }
    }
    lines
}

/// What is the same every time, in lines without an order.
fn plain(text: &str, node: &str) -> Vec<String> {
    let node = Regex::new(&format!(r"\b{}\b", regex::escape(node))).unwrap();
    let mut text = node.replace_all(text, "machine").into_owned();
    for (what, instead) in [
        // Newer kubectls say it.
        (" from default namespace", ""),
        // Before addresses: times and ages.
        (r"\b\d+(\.\d+)? s\b", "TIME s"),
        (r"\b(\d+[smh])+\b( ago)?", "AGE"),
        (r"\b10\.\d+\.\d+\.\d+\b", "ADDRESS"),
        (r"\b[a-z0-9]{8,10}-[a-z0-9]{5}\b", "NAME"),
        (r"\bbackend-service-[a-z0-9]{5}\b", "SLICE"),
        (r"127\.0\.0\.1:\d+", "SERVER"),
        (r"[ \t]+", " "),
    ] {
        text = Regex::new(what).unwrap().replace_all(&text, instead).into_owned();
    }
    let mut lines: Vec<_> =
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
    lines.sort();
    lines
}

/// A shell that remembers its variables from one command to the next.
struct Shell<'a> {
    place: &'a Namespace,
    folder: &'a Folder,
    path: String,
}

impl Shell<'_> {
    fn run(&self, command: &str) -> String {
        let file = self.folder.path().join("variables");
        let file = file.display();
        let script = format!(
            "sudo() {{ \"$@\"; }}\n. {file}\n{command}\ncode=$?\ndeclare -p IP PORT KUBECONFIG 2>/dev/null | sed 's/declare -x/export/;s/declare --//' > {file}\nexit $code"
        );
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("variables"))
            .unwrap();
        let mut bash = self.place.command(std::path::Path::new("/bin/bash"));
        let home = self.folder.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        bash.arg("-c").arg(&script).env("PATH", &self.path).env("HOME", &home).current_dir(&home);
        bash.env("SIGNALBOX_DATA", self.folder.path().join("data"))
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null());
        let output = bash.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "$ {command}\n{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}

#[test]
fn the_tutorial_is_true() {
    let Some(machine) = machine("tutorial") else { return };
    let Some(kubectl) = brought(answers::installed_kubectl(), "kubectl") else { return };
    for tool in ["curl", "nft", "ip"] {
        let found = Command::new("which").arg(tool).output().is_ok_and(|output| output.status.success());
        if brought(found.then(|| tool.into()), tool).is_none() {
            return;
        }
    }
    let text = std::fs::read_to_string(format!("{ROOT}/docs/tutorial.md")).unwrap();
    let mut lines = read(&text).into_iter();
    let folder = Folder::new();
    let data = folder.path().join("data");
    let here = |text: &str| text.replace(DATA, &data.display().to_string());
    let node = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_lowercase();

    let first = lines.next().unwrap();
    let words: Vec<&str> =
        first.command.strip_prefix("sudo signalbox up").unwrap().split_whitespace().collect();
    let mut up = Up::new(std::path::Path::new(SIGNALBOX), &data, &words, Some(machine.here.clone()));
    up.start().unwrap();
    let expected = here(&first.answer)
        .replace("`signalbox down`", &format!("`signalbox down --data {}`", data.display()));
    assert_eq!(plain(&up.said(), &node), plain(&expected, &node));

    let programs = [kubectl.parent().unwrap(), std::path::Path::new(SIGNALBOX).parent().unwrap()];
    let path = programs.map(|folder| folder.display().to_string()).join(":");
    let path = format!("{path}:{}", std::env::var("PATH").unwrap());
    let shell = Shell { place: &machine.here, folder: &folder, path };
    let mut count = 0;
    for Line { command, answer } in lines {
        let said = shell.run(&here(&command));
        // How far a rollout has come meanwhile is a matter of luck.
        let said: String = said
            .lines()
            .filter(|line| !line.starts_with("Waiting for"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(plain(&said, &node), plain(&here(&answer), &node), "$ {command}\n{said}\n{}", up.log());
        count += 1;
    }
    assert!(count > 20, "{count}");
    assert!(!data.exists());
}
