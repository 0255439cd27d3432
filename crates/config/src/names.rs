//! The flags of the DNS beside the proxy. They are flags only: kube-proxy's file has no place for them, and names have a file of
//! their own.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::{Flags, Mistakes, Remark};

/// What is told about names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameSettings {
    /// The file that says more.
    pub config: Option<PathBuf>,
    /// Addresses of this node alone that are answered at.
    pub addresses: Vec<IpAddr>,
    /// Namespace and name of the Service that is the cluster's DNS.
    pub service: (String, String),
}

impl Flags {
    /// Answers what is told about names; `None`: they are not answered here.
    pub fn names(&self) -> Result<Option<NameSettings>, Mistakes> {
        let mut mistakes = Vec::new();
        let is_on = self.is_on("dns").unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            false
        });
        let addresses = addresses(self.last("dns-listen").unwrap_or("169.254.20.10"), &mut mistakes);
        let text = self.last("dns-service").unwrap_or("kube-system/kube-dns");
        let service = match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                (namespace.to_owned(), name.to_owned())
            }
            Some(_) | None => {
                mistakes.push(Remark::new("--dns-service", format!("`{text}` is not NAMESPACE/NAME")));
                Default::default()
            }
        };
        if is_on && self.manifests().is_some() {
            mistakes.push(Remark::new("--dns", "cannot be used with --manifests, it needs an API server"));
        }
        if !mistakes.is_empty() {
            return Err(Mistakes(mistakes));
        }
        let config = self.last("dns-config").map(PathBuf::from);
        Ok(is_on.then_some(NameSettings { config, addresses, service }))
    }
}

fn addresses(text: &str, mistakes: &mut Vec<Remark>) -> Vec<IpAddr> {
    if text == "none" {
        return Vec::new();
    }
    let mut found = Vec::new();
    for part in text.split(',') {
        match part.trim().parse::<IpAddr>() {
            Ok(address) if is_usable(address) && !found.contains(&address) => found.push(address),
            Ok(address) if is_usable(address) => {}
            Ok(_) => mistakes.push(Remark::new(
                "--dns-listen",
                format!("`{part}` is not an address that only this node could have, such as 169.254.20.10 or fd00::10"),
            )),
            Err(_) => {
                mistakes.push(Remark::new("--dns-listen", format!("`{part}` is neither an IP address nor none")));
            }
        }
    }
    found
}

/// Pods must be able to send there: not to loopback, and to no address that means another machine on each link.
fn is_usable(address: IpAddr) -> bool {
    let is_of_one_link = match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local() || address.to_ipv4_mapped().is_some(),
    };
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || is_of_one_link)
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn told(line: &str) -> Result<String, String> {
        let command = <Flags as clap::Args>::augment_args(Command::new("proxy"));
        let words = std::iter::once("proxy").chain(line.split_whitespace());
        let matches = command.try_get_matches_from(words).expect("flags of this test parse");
        let names = Flags::from_arg_matches(&matches).expect("they are texts").names();
        let names = names.map_err(|mistakes| mistakes.to_string())?;
        Ok(names.map_or("off".to_owned(), |names| {
            format!("{:?} {:?} {}/{}", names.config, names.addresses, names.service.0, names.service.1)
        }))
    }

    #[test]
    fn names_are_flags() {
        for (line, expected) in [
            ("", Ok("off")),
            ("--dns=false --dns-listen=none", Ok("off")),
            ("--dns", Ok("None [169.254.20.10] kube-system/kube-dns")),
            (
                "--dns=true --dns-config=/c --dns-listen=169.254.1.1,fd00::10,169.254.1.1 --dns-service=a/b",
                Ok("Some(\"/c\") [169.254.1.1, fd00::10] a/b"),
            ),
            ("--dns --dns-listen=none", Ok("None [] kube-system/kube-dns")),
            (
                "--dns=perhaps --dns-listen=x,127.0.0.1 --dns-service=a",
                Err(
                    "--dns: `perhaps` is not true or false\n--dns-listen: `x` is neither an IP address nor none\n\
                     --dns-listen: `127.0.0.1` is not an address that only this node could have, such as 169.254.20.10 or fd00::10\n\
                     --dns-service: `a` is not NAMESPACE/NAME",
                ),
            ),
            ("--dns --manifests=/m", Err("--dns: cannot be used with --manifests, it needs an API server")),
        ] {
            assert_eq!(told(line), expected.map(str::to_owned).map_err(str::to_owned), "{line}");
        }
    }
}
