//! Running kubectl with a home, a cache and a kubeconfig of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(90);

/// One run, everything filled in.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) arguments: String,
    pub(super) files: Vec<(String, String)>,
    pub(super) stdin: String,
    pub(super) editor: String,
    pub(super) kubeconfig: String,
}

/// Where `cargo xtask test` puts the kubectl whose output was recorded.
const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/kubectl");

/// Answers where kubectl is: the project's own, or one on the path.
pub fn installed_kubectl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let files = std::env::split_paths(&path).map(|folder| folder.join("kubectl"));
    std::iter::once(PathBuf::from(OWN)).chain(files).find(|file| file.is_file())
}

/// Runs it in a new folder below `home`; answers exit code, stdout and stderr.
pub(super) async fn run(program: &Path, home: &Path, run: &Run) -> Result<Value, String> {
    let failed = |error: std::io::Error| format!("running kubectl: {error}");
    let folder = home.join("work");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(failed)?;
    }
    std::fs::create_dir_all(&folder).map_err(failed)?;
    for (name, text) in &run.files {
        std::fs::write(folder.join(name), text).map_err(failed)?;
    }
    let kubeconfig = folder.join(".kubeconfig");
    std::fs::write(&kubeconfig, &run.kubeconfig).map_err(failed)?;
    let mut child = Command::new(program)
        .args(words(&run.arguments)?)
        .current_dir(&folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("KUBECONFIG", &kubeconfig)
        .env("KUBECACHEDIR", home.join("cache"))
        .env("KUBE_EDITOR", &run.editor)
        .envs([("LANG", "C.UTF-8"), ("TZ", "UTC")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let stdin = child.stdin.take();
    let finished = async {
        if let Some(mut stdin) = stdin {
            // A command that reads nothing may be gone already.
            drop(stdin.write_all(run.stdin.as_bytes()).await);
        }
        child.wait_with_output().await
    };
    let output = timeout(PATIENCE, finished).await.map_err(|_| format!("kubectl took over {PATIENCE:?}"))?;
    let output = output.map_err(failed)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(json!({"exit": output.status.code(), "stdout": text(output.stdout), "stderr": text(output.stderr)}))
}

/// Splits a command line as a shell does, as far as quotes and backslashes go.
pub(super) fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some('"') | None, '\\') => {
                let escaped = letters.next().ok_or_else(|| format!("{line}: ends with a backslash"))?;
                let word = word.get_or_insert_default();
                if quote.is_some() && !matches!(escaped, '"' | '\\') {
                    word.push('\\');
                }
                word.push(escaped);
            }
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, space) if space.is_whitespace() => words.extend(word.take()),
            (Some(_) | None, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(format!("{line}: a quote is not closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_like_a_shell() {
        for (line, expected) in [
            ("get svc  -o wide", &["get", "svc", "-o", "wide"][..]),
            (r#"-o jsonpath='{"\t"}{.a}'"#, &["-o", r#"jsonpath={"\t"}{.a}"#]),
            (r#"a "b c\"d\n" '' e\ f"#, &["a", r#"b c"d\n"#, "", "e f"]),
            ("", &[]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        assert!(words("a 'b").is_err() && words("a \\").is_err());
    }

    #[test]
    fn answers_what_a_program_did() {
        let home = std::env::temp_dir().join(format!("testkit-kubectl-{}", std::process::id()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let one = Run {
            arguments: r#"-c 'cat f.yaml -; echo "$KUBE_EDITOR" >&2; test -s "$KUBECONFIG"; exit 3'"#.into(),
            files: vec![("f.yaml".into(), "file ".into())],
            stdin: "input".into(),
            editor: "ed".into(),
            kubeconfig: "{}".into(),
        };
        let answer = runtime.block_on(run(Path::new("/bin/sh"), &home, &one)).unwrap();
        std::fs::remove_dir_all(&home).unwrap();
        assert_eq!(answer, json!({"exit": 3, "stdout": "file input", "stderr": "ed\n"}));
    }
}
