//! `/etc/resolv.conf`: who is asked by this machine, and what is tried behind short names. Pure.

use std::net::IpAddr;

/// What a resolv.conf says, as far as servers need it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolv {
    /// Who is asked.
    pub servers: Vec<IpAddr>,
    /// What is tried behind short names.
    pub search: Vec<String>,
    /// Servers that cannot be asked: addresses of one link (`fe80::1%eth0`), or none at all.
    pub skipped: Vec<String>,
}

impl Resolv {
    /// Reads a text as resolv.conf(5) says; what has no meaning is passed over, as the C library does.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => found.server(words.next().unwrap_or_default()),
                // The last one counts.
                Some("search" | "domain") => found.search = words.map(str::to_owned).collect(),
                Some(_) | None => {}
            }
        }
        found
    }

    fn server(&mut self, text: &str) {
        match text.parse() {
            Ok(address) if self.servers.contains(&address) => {}
            Ok(address) => self.servers.push(address),
            Err(_) => self.skipped.push(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read() {
        let text = "# made by somebody\nnameserver 10.0.0.1\nnameserver 10.0.0.1 # again\n nameserver fd00::1\n\
            nameserver fe80::1%eth0\nnameserver\noptions ndots:5\nsearch a.org\nsearch b.org c.org ; last\n";
        let found = Resolv::parse(text);
        let servers: Vec<String> = found.servers.iter().map(IpAddr::to_string).collect();
        assert_eq!(servers, ["10.0.0.1", "fd00::1"]);
        assert_eq!(found.search, ["b.org", "c.org"]);
        assert_eq!(found.skipped, ["fe80::1%eth0", ""]);
        assert_eq!(Resolv::parse(""), Resolv::default());
    }
}
