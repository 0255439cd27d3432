//! The part of `deploy/Dockerfile` that decides what is in the image. Made for that file: what it does not use is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dockerfile {
    /// The variables of the stage that builds.
    pub(super) variables: BTreeMap<String, String>,
    /// The commands of that stage.
    pub(super) commands: Vec<String>,
    /// What the final stage, which is empty, gets, in this order.
    pub(super) copies: Vec<Copy>,
    /// The program that is run.
    pub(super) entry_point: Vec<String>,
}

/// A line `COPY` of the final stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Copy {
    /// What is in a folder of the project goes to this place.
    Folder { from: PathBuf, to: PathBuf },
    /// A file of the stage that builds gets this name.
    Built { from: PathBuf, to: PathBuf },
}

impl Dockerfile {
    pub(super) fn read(project: &Path) -> Result<Self> {
        let path = project.join("deploy/Dockerfile");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::parse(&text).context("deploy/Dockerfile")
    }

    fn parse(text: &str) -> Result<Self> {
        let mut file = Self {
            variables: BTreeMap::new(),
            commands: Vec::new(),
            copies: Vec::new(),
            entry_point: Vec::new(),
        };
        let mut stages = Vec::new();
        for line in instructions(text) {
            let (word, rest) = line.split_once(' ').with_context(|| format!("`{line}`"))?;
            match (word, stages.len()) {
                ("FROM", 0 | 1) => stages.push(rest.to_owned()),
                ("ENV", 1) => {
                    let (name, value) =
                        rest.split_once('=').with_context(|| format!("`{line}`: no value"))?;
                    file.variables.insert(name.to_owned(), value.trim_matches('"').to_owned());
                }
                ("RUN", 1) => file.commands.push(rest.to_owned()),
                ("WORKDIR" | "COPY", 1) | ("LABEL", 2) => {}
                ("COPY", 2) => file.copies.push(copy(rest).with_context(|| format!("`{line}`"))?),
                ("ENTRYPOINT", 2) => {
                    file.entry_point =
                        serde_json::from_str(rest).with_context(|| format!("`{line}`: no list"))?;
                }
                (_, stage) => bail!("`{line}`: not expected in stage {stage}"),
            }
        }
        match stages.as_slice() {
            [build, last] if build.ends_with(" AS build") && last == "scratch" => Ok(file),
            _ => bail!("not the stages `... AS build` and `scratch`: {stages:?}"),
        }
    }
}

/// The lines without comments, each put together with those that it goes on in.
fn instructions(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let part = line.trim_end_matches('\\').trim_end();
        match found.last_mut().filter(|_| goes_on) {
            Some(last) => *last = format!("{last} {part}"),
            None => found.push(part.to_owned()),
        }
        goes_on = line.ends_with('\\');
    }
    found
}

fn copy(rest: &str) -> Result<Copy> {
    match rest.split_whitespace().collect::<Vec<_>>()[..] {
        ["--from=build", from, to] if from.starts_with('/') && to.starts_with('/') && !to.ends_with('/') => {
            Ok(Copy::Built { from: from.into(), to: to.into() })
        }
        [from, to] if from.ends_with('/') && to.starts_with('/') && !from.contains("..") => {
            Ok(Copy::Folder { from: from.into(), to: to.into() })
        }
        _ => bail!("neither `--from=build /FILE /FILE` nor `FOLDER/ /PLACE`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_image_is_made_of_is_read() {
        let text = "# why\nFROM rust:1 AS build\nWORKDIR /src\nENV A=\"b c\"\nCOPY . .\nRUN one \\\n  && two\n\n\
                    FROM scratch\nCOPY deploy/root/ /\n# that\nCOPY --from=build /x /usr/bin/x\nENTRYPOINT [\"/usr/bin/x\"]\n";
        let file = Dockerfile::parse(text).unwrap();
        assert_eq!(file.variables, BTreeMap::from([("A".to_owned(), "b c".to_owned())]));
        assert_eq!(file.commands, ["one && two"]);
        assert_eq!(
            file.copies,
            [
                Copy::Folder { from: "deploy/root/".into(), to: "/".into() },
                Copy::Built { from: "/x".into(), to: "/usr/bin/x".into() }
            ]
        );
        assert_eq!(file.entry_point, ["/usr/bin/x"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, expected) in [
            ("FROM scratch\n", "not the stages"),
            ("FROM rust AS build\nFROM debian\n", "not the stages"),
            ("FROM rust AS build\nFROM scratch\nRUN true\n", "`RUN true`: not expected in stage 2"),
            ("FROM rust AS build\nFROM scratch\nCOPY --chown=1 a b\n", "neither"),
            ("FROM rust AS build\nFROM scratch\nCOPY ../ /\n", "neither"),
            ("FROM rust AS build\nFROM scratch\nFROM scratch\n", "not expected in stage 2"),
        ] {
            let error = format!("{:#}", Dockerfile::parse(text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
