//! The invariants of ARCHITECTURE.md that a machine can check. Pure reading; changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Lines of a file without its tests.
const MAX_FILE_LINES: usize = 600;
/// Lines of a function.
const MAX_FUNCTION_LINES: usize = 80;

/// Files that may be longer, with the reason.
const LONG_FILES: [(&str, &str); 0] = [];
/// Functions that may be longer, as `file:function`, with the reason.
const LONG_FUNCTIONS: [(&str, &str); 0] = [];

/// What each crate may use of ours, by layer: arrows point down to `model`.
const LAYERS: [(&str, &[&str]); 23] = [
    ("model", &[]),
    ("telemetry", &[]),
    ("config", &["model", "desired"]),
    ("store", &[]),
    ("trust", &[]),
    ("apiserver", &["model", "objects", "store", "telemetry", "trust"]),
    ("objects", &["model"]),
    ("sys", &["model"]),
    ("backend", &["model", "telemetry"]),
    ("desired", &["model", "objects"]),
    ("watch", &["model", "objects", "telemetry"]),
    ("controllers", &["model", "objects", "watch", "telemetry"]),
    ("dns", &["model", "objects", "sys", "telemetry", "watch"]),
    ("endpointslice", &["model", "objects", "telemetry", "watch"]),
    ("health", &["model", "sys", "telemetry"]),
    ("site", &["model", "sys"]),
    ("workload", &["model", "objects", "sys", "telemetry", "trust", "watch"]),
    ("backend-iptables", &["model", "backend", "sys"]),
    ("backend-nftables", &["model", "backend", "sys"]),
    (
        "agent",
        &[
            "model",
            "telemetry",
            "objects",
            "sys",
            "backend",
            "desired",
            "watch",
            "health",
            "backend-iptables",
            "backend-nftables",
            "config",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "config",
            "telemetry",
            "objects",
            "sys",
            "backend",
            "desired",
            "watch",
            "health",
            "backend-iptables",
            "backend-nftables",
            "agent",
            "store",
            "apiserver",
            "controllers",
            "dns",
            "endpointslice",
            "workload",
            "site",
        ],
    ),
    ("testkit", &["model", "objects", "sys", "backend", "desired", "trust"]),
    (
        "xtask",
        &[
            "model",
            "store",
            "objects",
            "sys",
            "backend",
            "backend-iptables",
            "backend-nftables",
            "desired",
            "dns",
            "watch",
            "testkit",
        ],
    ),
];

/// Checks everything and lists every violation at once.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut violations = Vec::new();
    for file in files(root, "rs")? {
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        violations.extend(long_file(&name, &text));
        violations.extend(long_functions(&name, &text));
        violations.extend(missing_purpose(&name, &text));
        violations.extend(stray_use_of_sys(&name, &text));
    }
    violations.extend(layers(root)?);
    for file in files(root, "md")? {
        violations.extend(dead_links(root, &file)?);
    }
    if violations.is_empty() {
        println!("tidy: all invariants hold");
        return Ok(());
    }
    violations.sort();
    bail!("{} violations:\n  {}", violations.len(), violations.join("\n  "))
}

fn long_file(name: &str, text: &str) -> Option<String> {
    let lines = without_tests(text).lines().count();
    let allowed = LONG_FILES.iter().any(|(file, _)| *file == name) || is_test(name);
    (lines > MAX_FILE_LINES && !allowed).then(|| format!("{name}: {lines} lines, more than {MAX_FILE_LINES}"))
}

/// Functions as rustfmt leaves them: `fn` at some indentation, the closing brace alone at the same one.
fn long_functions(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines: Vec<_> = without_tests(text).lines().collect();
    for (start, line) in lines.iter().enumerate() {
        let Some(function) = function_name(line) else { continue };
        let closing = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
        let Some(length) = lines[start..].iter().position(|l| *l == closing || l.ends_with("{}")) else {
            continue;
        };
        let known = format!("{name}:{function}");
        if length + 1 > MAX_FUNCTION_LINES
            && !LONG_FUNCTIONS.iter().any(|(f, _)| *f == known)
            && !is_test(name)
        {
            found.push(format!("{known}: {} lines, more than {MAX_FUNCTION_LINES}", length + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let code = line.trim_start();
    if code.starts_with("//") || code.ends_with(';') {
        return None;
    }
    // `pub(crate)` has parentheses of its own.
    let code = match code.strip_prefix("pub(") {
        Some(rest) => rest.split_once(") ")?.1,
        None => code,
    };
    let before = code.split('(').next()?;
    let (head, name) = before.rsplit_once("fn ")?;
    let is_qualifier = |word: &str| matches!(word, "pub" | "const" | "async" | "unsafe" | "extern");
    head.split_whitespace().all(is_qualifier).then(|| name.split('<').next().unwrap_or(name))
}

fn missing_purpose(name: &str, text: &str) -> Option<String> {
    (!text.starts_with("//!")).then(|| format!("{name}: does not begin with its purpose (`//!`)"))
}

/// In a back end only `apply.rs` may touch the kernel.
fn stray_use_of_sys(name: &str, text: &str) -> Option<String> {
    let in_back_end = name.starts_with("crates/backend-") && name.contains("/src/");
    if !in_back_end || name.contains("/apply") {
        return None;
    }
    let uses = |l: &str| !l.trim_start().starts_with("//") && (l.contains("use sys") || l.contains("sys::"));
    without_tests(text).lines().any(uses).then(|| format!("{name}: uses `sys`; only apply.rs may"))
}

fn layers(root: &Path) -> Result<Vec<String>> {
    let allowed: BTreeMap<_, _> = LAYERS.into_iter().collect();
    let mut violations = Vec::new();
    let mut manifests = vec![root.join("xtask/Cargo.toml")];
    for entry in fs::read_dir(root.join("crates")).context("reading crates/")? {
        manifests.push(entry?.path().join("Cargo.toml"));
    }
    for manifest in manifests {
        let folder =
            manifest.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        let text =
            fs::read_to_string(&manifest).with_context(|| format!("reading {}", manifest.display()))?;
        let Some(may_use) = allowed.get(folder.as_str()) else {
            violations
                .push(format!("crates/{folder}: stands in no layer; add it to LAYERS in xtask/src/tidy.rs"));
            continue;
        };
        for used in dependencies(&text) {
            if allowed.contains_key(used) && !may_use.contains(&used) {
                violations.push(format!("crates/{folder}: may not depend on `{used}`"));
            }
        }
    }
    Ok(violations)
}

/// The names in `[dependencies]`; what only tests use is free.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim() == "[dependencies]";
        } else if inside && !line.trim().is_empty() && !line.starts_with('#') {
            names.push(line.split(['.', '=', ' ']).next().unwrap_or_default());
        }
    }
    names
}

/// Relative links of a Markdown file that lead nowhere.
fn dead_links(root: &Path, file: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let folder = file.parent().unwrap_or(root);
    let name = file.strip_prefix(root).unwrap_or(file).display();
    let mut dead = Vec::new();
    for piece in text.split("](").skip(1) {
        let target = piece.split(')').next().unwrap_or_default().split('#').next().unwrap_or_default();
        if target.is_empty() || target.contains("://") || target.contains(' ') {
            continue;
        }
        if !folder.join(target).exists() {
            dead.push(format!("{name}: dead link to {target}"));
        }
    }
    Ok(dead)
}

fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs")
}

fn files(root: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_by_name_whatever_stands_before_fn() {
        assert_eq!(function_name("    pub(crate) async fn run(&self) {"), Some("run"));
        assert_eq!(function_name("fn generic<T: Fn(u8)>(t: T) {"), Some("generic"));
        assert_eq!(function_name("    // fn not_one() {"), None);
        assert_eq!(function_name("    let f = some fn (x);"), None);
    }

    #[test]
    fn a_long_function_and_a_long_file_are_named() {
        let text = format!("//! x\nfn long() {{\n{}}}\n", "    step();\n".repeat(80));
        assert_eq!(long_functions("a.rs", &text), ["a.rs:long: 82 lines, more than 80"]);
        assert_eq!(long_functions("a.rs", "fn short() {\n}\n"), Vec::<String>::new());
        let text = "x\n".repeat(601);
        assert_eq!(long_file("a.rs", &text).as_deref(), Some("a.rs: 601 lines, more than 600"));
        assert_eq!(long_file("a.rs", &format!("x\n\n#[cfg(test)]\nmod tests {{\n{text}}}")), None);
    }

    #[test]
    fn only_apply_uses_sys() {
        let text = "//! x\nuse sys::nftables::Batch;\n";
        assert!(stray_use_of_sys("crates/backend-nftables/src/compile.rs", text).is_some());
        assert!(stray_use_of_sys("crates/backend-nftables/src/apply.rs", text).is_none());
        assert!(stray_use_of_sys("crates/agent/src/lib.rs", text).is_none());
    }

    #[test]
    fn only_the_dependencies_section_counts() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\nmodel.workspace = true\nserde = \"1\"\n[dev-dependencies]\nsys.workspace = true\n";
        assert_eq!(dependencies(manifest), ["model", "serde"]);
    }
}
