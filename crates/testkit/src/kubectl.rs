//! kubectl as people use it: lines that must succeed, and lines that come to something.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sys::netns::Namespace;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// kubectl and what it is told once and for all.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    /// Its home, and where it is run.
    home: PathBuf,
    kubeconfig: PathBuf,
    place: Option<Namespace>,
}

impl Kubectl {
    /// This program with a home of its own, which is made. `place`: the network in which it runs; `None`: here.
    pub fn new(program: &Path, home: &Path, kubeconfig: &Path, place: Option<Namespace>) -> Self {
        std::fs::create_dir_all(home).expect("a folder can be made");
        Self { program: program.to_owned(), home: home.to_owned(), kubeconfig: kubeconfig.to_owned(), place }
    }

    /// Runs a line; single quotes keep words together. Answers whether it succeeded, and what it said.
    pub fn run(&self, line: &str) -> (bool, String, String) {
        let mut command = match &self.place {
            Some(place) => place.command(&self.program),
            None => Command::new(&self.program),
        };
        command.args(words(line)).current_dir(&self.home).env("HOME", &self.home);
        command.env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        let output = command.output().expect("kubectl can be started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    /// Runs a line that must succeed; answers what it printed. `more`: what to show besides when it does not.
    #[track_caller]
    pub fn ok(&self, line: &str, more: &dyn Fn() -> String) -> String {
        let (is_success, stdout, stderr) = self.run(line);
        assert!(is_success, "kubectl {line}\n{stdout}{stderr}{}{}", self.everything(), more());
        stdout.trim_end().to_owned()
    }

    /// Waits until what a line prints is good.
    #[track_caller]
    pub fn comes(
        &self,
        line: &str,
        (is_good, what): (&dyn Fn(&str) -> bool, &str),
        more: &dyn Fn() -> String,
    ) {
        let end = Instant::now() + PATIENCE;
        loop {
            let (_, stdout, stderr) = self.run(line);
            if is_good(stdout.trim_end()) {
                return;
            }
            let late = Instant::now() > end;
            assert!(
                !late,
                "kubectl {line}\n{stdout}{stderr}instead of {what}\n{}{}",
                self.everything(),
                more()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What there is, for people who look why something failed.
    pub fn everything(&self) -> String {
        self.run("get all,nodes,endpointslices,events -A -o wide").1
    }
}

/// The words of a line; single quotes keep them together.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_words_together() {
        assert_eq!(words("get pods  -o 'a b' c"), ["get", "pods", "-o", "a b", "c"]);
    }
}
