//! The programs that packet tests, cases and the demo run beside our own, installed from Debian's packages if missing.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// Debian's package and a program in it.
const TOOLS: [(&str, &str); 6] = [
    ("nftables", "nft"),
    ("conntrack", "conntrack"),
    ("iptables", "iptables-legacy"),
    ("iproute2", "ip"),
    ("util-linux", "nsenter"),
    ("util-linux", "setpriv"),
];

/// Installs what is missing with apt-get, or fails and says what to install. Needs root, and says that, too.
pub(crate) fn require_tools() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces need root: run it with `sudo -E`");
    }
    let mut missing: Vec<_> = TOOLS.iter().filter(|(_, program)| !is_installed(program)).collect();
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
