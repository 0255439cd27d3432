//! CoreDNS' Corefile: what is understood of it. <https://coredns.io/manual/configuration/> describes the language.
//!
//! Mistakes are collected with line and column. A plugin, a property or an argument that is not understood is a mistake.

mod cluster;
mod elsewhere;
mod names;
mod tree;

use std::net::SocketAddr;
use std::time::Duration;

pub(super) use elsewhere::{LONGEST_FAILURE, PREFETCH, STALE};
use tree::{Block, Line, Word};

use super::words;
use crate::wire::Name;

use super::domain;
use super::{Health, Mistakes, Remark, Server, Settings, check};

/// Where `health` is served when it does not say so.
const HEALTH: &str = ":8080";
/// Where `ready` is.
const READY: &str = ":8181";
/// Where `prometheus` is.
const METRICS: &str = "localhost:9153";
/// How often `reload` looks at the file.
const RELOAD: Duration = Duration::from_secs(30);
/// No more often than this.
const SHORTEST_RELOAD: Duration = Duration::from_secs(2);

/// Reads a text.
pub(super) fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Settings, Mistakes> {
    let blocks = tree::blocks(text, variable).map_err(|remark| Mistakes(vec![remark]))?;
    let mut reading = Reading::default();
    let mut places = Vec::new();
    for block in &blocks {
        reading.block(block, &mut places);
    }
    for (at, reason) in check::mistakes(&reading.settings) {
        let place: Option<&Word> = at.and_then(|at| places.get(at).copied());
        reading.mistakes.push(place.map_or_else(|| Remark::new("1:1", &reason), |word| word.remark(&reason)));
    }
    if reading.mistakes.is_empty() { Ok(reading.settings) } else { Err(Mistakes(reading.mistakes)) }
}

/// Settings so far, and mistakes so far.
#[derive(Default)]
struct Reading {
    settings: Settings,
    mistakes: Vec<Remark>,
}

impl Reading {
    fn wrong(&mut self, word: &Word, reason: impl Into<String>) {
        self.mistakes.push(word.remark(reason));
    }

    /// Answers what was read, or notes what is wrong with it.
    fn take<T>(&mut self, word: &Word, read: Result<T, String>) -> Option<T> {
        read.map_err(|reason| self.wrong(word, reason)).ok()
    }

    /// Answers the arguments if there are as many as there may be.
    fn arguments<'a>(&mut self, line: &'a Line, (fewest, most): (usize, usize)) -> Option<&'a [Word]> {
        let found = line.arguments.len();
        if found < fewest {
            self.wrong(&line.name, format!("`{}` needs {}", line.name.text, counted(fewest)));
            return None;
        }
        if let Some(word) = line.arguments.get(most) {
            let limit =
                if most == 0 { "no argument".to_owned() } else { format!("at most {}", counted(most)) };
            self.wrong(word, format!("`{}` takes {limit}, this is one too many", line.name.text));
            return None;
        }
        Some(&line.arguments)
    }

    fn only_argument<'a>(&mut self, line: &'a Line) -> Option<&'a Word> {
        self.arguments(line, (1, 1)).map(|arguments| &arguments[0])
    }

    fn no_block(&mut self, line: &Line) {
        if let Some(first) = line.block.first() {
            self.wrong(&first.name, format!("`{}` has no properties here", line.name.text));
        }
    }

    fn unknown(&mut self, line: &Line, of: &str) {
        self.wrong(&line.name, format!("`{}` is no property of {of} that is understood", line.name.text));
    }

    fn zones(&mut self, words: &[Word]) -> Vec<Name> {
        let zones = words.iter().filter_map(|word| self.take(word, domain::zones(&word.text)));
        zones.flatten().collect()
    }

    /// The zones that are given, or else those of the server block.
    fn zones_or(&mut self, words: &[Word], server: &Server) -> Vec<Name> {
        if words.is_empty() { server.zones.clone() } else { self.zones(words) }
    }

    /// One server for each port among the keys.
    fn block<'a>(&mut self, block: &'a Block, places: &mut Vec<&'a Word>) {
        let mut servers: Vec<(Server, &Word)> = Vec::new();
        for word in &block.keys {
            let Some((zones, port)) = self.take(word, key(&word.text)) else { continue };
            match servers.iter_mut().find(|(server, _)| server.port == port) {
                Some((server, _)) => server.zones.extend(zones),
                None => servers.push((Server { zones, port, ..Server::default() }, word)),
            }
        }
        let mut seen: Vec<&str> = Vec::new();
        for line in &block.lines {
            let name = line.name.text.as_str();
            if seen.contains(&name) && !["forward", "rewrite"].contains(&name) {
                self.wrong(&line.name, format!("`{name}` stands in this server block twice"));
                continue;
            }
            seen.push(name);
            let noted = self.mistakes.len();
            if servers.is_empty() {
                self.directive(line, &mut Server::default());
            }
            for (server, _) in &mut servers {
                // What one line says is wrong once, however many servers it is for.
                self.mistakes.truncate(noted);
                self.directive(line, server);
            }
        }
        for (server, word) in servers {
            self.settings.servers.push(server);
            places.push(word);
        }
    }

    fn directive(&mut self, line: &Line, server: &mut Server) {
        match line.name.text.as_str() {
            "errors" => self.errors(line, server),
            "log" => server.logs_queries |= self.is_bare(line),
            "loop" => server.finds_loops |= self.is_bare(line),
            "loadbalance" => self.loadbalance(line, server),
            "bind" => self.bind(line, server),
            "health" => self.health(line),
            "ready" => self.ready(line),
            "prometheus" => self.prometheus(line, server),
            "reload" => self.reload(line),
            "kubernetes" => self.kubernetes(line, server),
            "autopath" => self.autopath(line, server),
            "hosts" => self.hosts(line, server),
            "rewrite" => self.rewrite(line, server),
            "forward" => self.forward(line, server),
            "cache" => self.cache(line, server),
            "import" => self.wrong(&line.name, "`import` is not understood: the text must stand here"),
            name => self.wrong(&line.name, format!("the plugin `{name}` is not understood")),
        }
    }

    /// Whether it is a word alone, as it must be.
    fn is_bare(&mut self, line: &Line) -> bool {
        self.no_block(line);
        self.arguments(line, (0, 0)).is_some()
    }

    fn errors(&mut self, line: &Line, server: &mut Server) {
        self.arguments(line, (0, 0));
        for property in &line.block {
            match property.name.text.as_str() {
                // Where in the program an error came from is nothing that errors have here.
                "stacktrace" => drop(self.is_bare(property)),
                _ => self.unknown(property, "errors"),
            }
        }
        server.logs_errors = true;
    }

    fn loadbalance(&mut self, line: &Line, server: &mut Server) {
        self.no_block(line);
        let Some(arguments) = self.arguments(line, (0, 1)) else { return };
        if let Some(word) = arguments.first().filter(|word| word.text != "round_robin") {
            return self.wrong(word, format!("`{}` is not understood, only round_robin", word.text));
        }
        server.shuffles = true;
    }

    fn bind(&mut self, line: &Line, server: &mut Server) {
        self.no_block(line);
        if line.arguments.is_empty() {
            self.wrong(&line.name, "`bind` needs an address");
        }
        for word in &line.arguments {
            let wrong =
                |_| format!("`{}` is not an IP address; names of interfaces are not understood", word.text);
            server.addresses.extend(self.take(word, word.text.parse::<std::net::IpAddr>().map_err(wrong)));
        }
    }

    /// The address that a line gives, or the usual one.
    fn listen(&mut self, line: &Line, usual: &str) -> Option<SocketAddr> {
        let arguments = self.arguments(line, (0, 1))?;
        let text = arguments.first().map_or(usual, |word| word.text.as_str());
        let word = arguments.first().unwrap_or(&line.name);
        self.take(word, words::listen(text))
    }

    fn health(&mut self, line: &Line) {
        let Some(address) = self.listen(line, HEALTH) else { return };
        let mut health = Health { address, lameduck: Duration::ZERO };
        for property in &line.block {
            match property.name.text.as_str() {
                "lameduck" => {
                    let Some(word) = self.only_argument(property) else { continue };
                    health.lameduck = self.take(word, words::time(&word.text)).unwrap_or_default();
                }
                _ => self.unknown(property, "health"),
            }
        }
        if self.settings.health.as_ref().is_some_and(|other| *other != health) {
            return self.wrong(&line.name, "another server block says something else about `health`");
        }
        self.settings.health = Some(health);
    }

    fn ready(&mut self, line: &Line) {
        self.no_block(line);
        let Some(address) = self.listen(line, READY) else { return };
        if self.settings.ready.is_some_and(|other| other != address) {
            return self.wrong(&line.name, "another server block says something else about `ready`");
        }
        self.settings.ready = Some(address);
    }

    fn prometheus(&mut self, line: &Line, server: &mut Server) {
        self.no_block(line);
        let Some(address) = self.listen(line, METRICS) else { return };
        server.is_counted = true;
        if !self.settings.metrics.contains(&address) {
            self.settings.metrics.push(address);
        }
    }

    fn reload(&mut self, line: &Line) {
        self.no_block(line);
        let Some(arguments) = self.arguments(line, (0, 2)) else { return };
        // The second, jitter, keeps many servers from asking one API server at once; a file is nobody's load.
        let times: Vec<_> = arguments.iter().map(|word| self.take(word, words::time(&word.text))).collect();
        let interval = times.first().copied().flatten().unwrap_or(RELOAD);
        if interval < SHORTEST_RELOAD && !interval.is_zero() {
            return self.wrong(&arguments[0], "is shorter than 2s");
        }
        self.settings.reload = Some(interval).filter(|interval| !interval.is_zero());
    }
}

/// Reads what stands before a server block: a zone or a range of addresses, with or without port.
fn key(text: &str) -> Result<(Vec<Name>, u16), String> {
    let rest = match text.split_once("://") {
        Some(("dns", rest)) => rest,
        Some((scheme, _)) => return Err(format!("{scheme}:// is not served, only dns://")),
        None if text.starts_with('(') => {
            return Err("snippets are not understood: the text must stand where it is used".to_owned());
        }
        None => text,
    };
    // `fd00::/8` has colons, and no port.
    let (zone, port) = match rest.rsplit_once(':') {
        Some((zone, port)) if !zone.contains(':') || !port.contains('/') && zone.contains('/') => {
            (zone, Some(port))
        }
        _ => (rest, None),
    };
    let wrong = |port: &str| format!("`{port}` is no port from 1 to 65535");
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong(port))?,
        None => words::DNS_PORT,
    };
    let zone = if zone.is_empty() { "." } else { zone };
    Ok((domain::zones(zone)?, port))
}

fn counted(count: usize) -> String {
    if count == 1 { "an argument".to_owned() } else { format!("{count} arguments") }
}

#[cfg(test)]
mod tests;
