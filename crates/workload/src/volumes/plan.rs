//! Where in a container's file system, which is the host's, its volumes appear, and what has to be made for that. Pure.
//!
//! What is missing is never made on the host: the nearest directory that is there is covered by a mirror of itself, in
//! which the container alone sees more. Links are followed as the container would.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// More links than that in one path lead nowhere.
const MOST_LINKS: usize = 40;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    /// A file or something like it.
    File,
    Link(PathBuf),
}

/// Something that shall be at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Where.
    pub at: PathBuf,
    /// Where on the host it is.
    pub from: PathBuf,
    /// Whether it is a directory.
    pub is_folder: bool,
    /// Whether it is read-only there.
    pub read_only: bool,
}

/// What is to be done, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Cover the root directory with a mirror of itself.
    MirrorRoot,
    /// Cover a directory with a mirror of itself.
    Mirror(PathBuf),
    /// Make a directory, with those above it.
    MakeFolder(PathBuf),
    /// Make an empty file, with the directories above it.
    MakeFile(PathBuf),
    /// Show what is wanted, by its place in the list.
    Show(usize, PathBuf),
    /// Make what is shown at a place read-only.
    ReadOnly(PathBuf),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MirrorRoot => write!(f, "mirror the root directory"),
            Self::Mirror(path) => write!(f, "mirror {}", path.display()),
            Self::MakeFolder(path) => write!(f, "make the directory {}", path.display()),
            Self::MakeFile(path) => write!(f, "make the file {}", path.display()),
            Self::Show(_, path) => write!(f, "mount something at {}", path.display()),
            Self::ReadOnly(path) => write!(f, "make {} read-only", path.display()),
        }
    }
}

/// Answers what is to be done; `look` says what is on the host. Outer places come before those in them.
pub(crate) fn plan(wanted: &[Wanted], look: &dyn Fn(&Path) -> Option<Kind>) -> Result<Vec<Step>, String> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|index| wanted[*index].at.components().count());
    let mut view = View { look, shown: BTreeMap::new(), made: BTreeMap::new(), mirrored: BTreeSet::new() };
    let (mut steps, mut read_only) = (Vec::new(), Vec::new());
    for index in order {
        let one = &wanted[index];
        let at = view.make_room(one, &mut steps).map_err(|why| format!("{}: {why}", one.at.display()))?;
        view.shown.insert(at.clone(), (one.from.clone(), one.is_folder));
        // Last: places for others may have to be made in it.
        read_only.extend(one.read_only.then(|| Step::ReadOnly(at.clone())));
        steps.push(Step::Show(index, at));
    }
    // First: everything else happens in the new root.
    steps.sort_by_key(|step| *step != Step::MirrorRoot);
    steps.append(&mut read_only);
    Ok(steps)
}

/// The file system as the container will see it.
struct View<'a> {
    look: &'a dyn Fn(&Path) -> Option<Kind>,
    shown: BTreeMap<PathBuf, (PathBuf, bool)>,
    made: BTreeMap<PathBuf, Kind>,
    mirrored: BTreeSet<PathBuf>,
}

impl View<'_> {
    fn make_room(&mut self, one: &Wanted, steps: &mut Vec<Step>) -> Result<PathBuf, String> {
        let (base, missing) = self.resolve(&one.at)?;
        let at = missing.iter().fold(base.clone(), |path, part| path.join(part));
        if at == Path::new("/") || at.starts_with("/proc") {
            return Err("nothing can be mounted there".to_owned());
        }
        if missing.is_empty() {
            return match (self.kind(&at), one.is_folder) {
                (Some(Kind::Folder), true) | (Some(Kind::File), false) => Ok(at),
                (_, true) => Err("a directory cannot be mounted over a file".to_owned()),
                (_, false) => Err("a file cannot be mounted over a directory".to_owned()),
            };
        }
        let is_own = self.made.contains_key(&base) || self.covering(&base).is_some();
        if !is_own && self.mirrored.insert(base.clone()) {
            steps.push(if base == Path::new("/") { Step::MirrorRoot } else { Step::Mirror(base.clone()) });
        }
        let mut path = base;
        for part in &missing {
            path.push(part);
            self.made.insert(path.clone(), Kind::Folder);
        }
        if one.is_folder {
            steps.push(Step::MakeFolder(at.clone()));
        } else {
            self.made.insert(at.clone(), Kind::File);
            steps.push(Step::MakeFile(at.clone()));
        }
        Ok(at)
    }

    /// The part of a path that is there, without links, and the rest.
    fn resolve(&self, path: &Path) -> Result<(PathBuf, Vec<OsString>), String> {
        let mut rest: VecDeque<OsString> = parts(path).into();
        let (mut at, mut links) = (PathBuf::from("/"), 0);
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&part);
            match self.kind(&next) {
                Some(Kind::Folder) => at = next,
                Some(Kind::File) if rest.is_empty() => at = next,
                Some(Kind::File) => return Err(format!("{} is no directory", next.display())),
                Some(Kind::Link(target)) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err("too many links".to_owned());
                    }
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    parts(&target).into_iter().rev().for_each(|part| rest.push_front(part));
                }
                None => {
                    let mut missing = vec![part];
                    for part in rest {
                        if part == ".." { drop(missing.pop()) } else { missing.push(part) }
                    }
                    return Ok((at, missing));
                }
            }
        }
        Ok((at, Vec::new()))
    }

    fn kind(&self, path: &Path) -> Option<Kind> {
        match self.covering(path) {
            Some((at, _, is_folder)) if at == path => Some(if is_folder { Kind::Folder } else { Kind::File }),
            Some((at, from, _)) => self.made.get(path).cloned().or_else(|| {
                let inside = path.strip_prefix(at).unwrap_or(path);
                (self.look)(&from.join(inside))
            }),
            None => self.made.get(path).cloned().or_else(|| (self.look)(path)),
        }
    }

    /// The innermost thing that is shown at or above a path.
    fn covering(&self, path: &Path) -> Option<(&Path, &Path, bool)> {
        path.ancestors().find_map(|above| {
            let (at, (from, is_folder)) = self.shown.get_key_value(above)?;
            Some((at.as_path(), from.as_path(), *is_folder))
        })
    }
}

fn parts(path: &Path) -> Vec<OsString> {
    let part = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Directories end with a slash, links have an arrow.
    const HOST: &str = "/etc/ /etc/hosts /run/ /run/lock/ /var/ /var/run->/run /var/lib/ /tmp/ /usr/ /usr/bin/ \
        /bin->usr/bin /dev/ /loop->/loop /proc/ /v/ /v/data/ /v/data/there/ /v/data/out->/etc /v/file";

    fn look(path: &Path) -> Option<Kind> {
        if path == Path::new("/") {
            return Some(Kind::Folder);
        }
        let text = path.to_str().unwrap();
        HOST.split_whitespace().find_map(|entry| match entry.split_once("->") {
            Some((at, target)) => (at == text).then(|| Kind::Link(target.into())),
            None if entry.ends_with('/') => (entry.trim_end_matches('/') == text).then_some(Kind::Folder),
            None => (entry == text).then_some(Kind::File),
        })
    }

    /// `FROM AT`, with `!` for read-only; a `from` that is `/v/file` is a file.
    fn planned(text: &str) -> String {
        let one = |line: &str| {
            let (line, read_only) = line.strip_suffix('!').map_or((line, false), |line| (line, true));
            let (from, at) = line.split_once(' ').unwrap();
            Wanted { at: at.into(), from: from.into(), is_folder: from != "/v/file", read_only }
        };
        let wanted: Vec<Wanted> = text.split(", ").map(one).collect();
        match plan(&wanted, &look) {
            Err(error) => error,
            Ok(steps) => steps.iter().map(short).collect::<Vec<_>>().join(", "),
        }
    }

    fn short(step: &Step) -> String {
        match step {
            Step::MirrorRoot => "mirror /".to_owned(),
            Step::Mirror(path) => format!("mirror {}", path.display()),
            Step::MakeFolder(path) => format!("make {}/", path.display()),
            Step::MakeFile(path) => format!("make {}", path.display()),
            Step::Show(index, path) => format!("{index} at {}", path.display()),
            Step::ReadOnly(path) => format!("lock {}", path.display()),
        }
    }

    #[test]
    fn volumes_appear_without_a_trace_on_the_host() {
        for (wanted, expected) in [
            // Over what is there.
            ("/v/data /tmp", "0 at /tmp"),
            ("/v/file /etc/hosts!", "0 at /etc/hosts, lock /etc/hosts"),
            // Through links.
            ("/v/data /var/run/lock", "0 at /run/lock"),
            ("/v/data /bin/new", "mirror /usr/bin, make /usr/bin/new/, 0 at /usr/bin/new"),
            (
                "/v/data /var/run/secrets/x!",
                "mirror /run, make /run/secrets/x/, 0 at /run/secrets/x, lock /run/secrets/x",
            ),
            ("/v/data /loop/x", "/loop/x: too many links"),
            // Where nothing is.
            ("/v/data /data", "mirror /, make /data/, 0 at /data"),
            ("/v/file /etc/app/conf", "mirror /etc, make /etc/app/conf, 0 at /etc/app/conf"),
            ("/v/file /dev/log", "mirror /dev, make /dev/log, 0 at /dev/log"),
            (
                "/v/data /var/lib/a, /v/data /var/lib/b",
                "mirror /var/lib, make /var/lib/a/, 0 at /var/lib/a, make /var/lib/b/, 1 at /var/lib/b",
            ),
            // The root first, whatever the order.
            ("/v/data /tmp, /v/data /a/b", "mirror /, 0 at /tmp, make /a/b/, 1 at /a/b"),
            // What was made for one is the other's as well.
            (
                "/v/data /a/b/c, /v/data /a/b/d",
                "mirror /, make /a/b/c/, 0 at /a/b/c, make /a/b/d/, 1 at /a/b/d",
            ),
            ("/v/data /a/../../b/./c/", "mirror /, make /b/c/, 0 at /b/c"),
        ] {
            assert_eq!(planned(wanted), expected, "{wanted}");
        }
    }

    #[test]
    fn volumes_lie_in_volumes() {
        for (wanted, expected) in [
            ("/v/data /tmp/there, /v/data /tmp", "1 at /tmp, 0 at /tmp/there"),
            (
                "/v/data /tmp!, /v/data /tmp/new!",
                "0 at /tmp, make /tmp/new/, 1 at /tmp/new, lock /tmp, lock /tmp/new",
            ),
            // A link in a volume leads through the container's file system.
            ("/v/data /tmp, /v/file /tmp/out/hosts", "0 at /tmp, 1 at /etc/hosts"),
            ("/v/file /tmp/x, /v/file /tmp/x/y", "/tmp/x/y: /tmp/x is no directory"),
        ] {
            assert_eq!(planned(wanted), expected, "{wanted}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (wanted, expected) in [
            ("/v/data /", "/: nothing can be mounted there"),
            ("/v/data /proc/x", "/proc/x: nothing can be mounted there"),
            ("/v/data /etc/hosts", "/etc/hosts: a directory cannot be mounted over a file"),
            ("/v/file /etc", "/etc: a file cannot be mounted over a directory"),
            ("/v/data /etc/hosts/x", "/etc/hosts/x: /etc/hosts is no directory"),
        ] {
            assert_eq!(planned(wanted), expected, "{wanted}");
        }
    }
}
