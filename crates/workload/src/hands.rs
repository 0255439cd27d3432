//! Carries the actions of a pod out, each in a task of its own that says what became of it.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sys::cgroup::Group;
use sys::netns::Namespace;
use sys::process::{self, Handle};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;
use watch::client::Client;

use crate::ask;
use crate::environment::{Surroundings, environment, hostname};
use crate::folder::{Exit, Folder, Kept, MARK, Started, read, write};
use crate::identity;
use crate::keeper::{Launch, TERMINATION_LOG};
use crate::machine::{Action, Ended, Input, Question, Run};
use crate::network;
use crate::node;
use crate::pod::{Act, Container, Pod};
use crate::resolver::{Resolvers, hosts, resolv_conf};
use crate::settings::Settings;
use crate::time::Time;
use crate::volumes::{self, Gate, Mount, Objects};

/// How many ended runs of a container are kept, for their logs.
const KEPT_RUNS: usize = 2;
/// The file that says that the pod's network is complete.
pub(crate) const NETWORK_MADE: &str = "network-made";
/// The setting in a keeper's environment that says what it keeps.
const KEEPS: &str = "SIGNALBOX_KEEPS";
/// How often a keeper is looked at that an earlier life of this program started.
const LOOK: Duration = Duration::from_millis(100);

/// What happened to a pod, by its identity.
pub(crate) type Happened = (String, Input);

/// What carries actions out. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hands {
    /// The API server.
    pub client: Client,
    /// What was told.
    pub settings: Arc<Settings>,
    /// Where things are kept.
    pub folder: Folder,
    /// Objects that several pods look at.
    pub objects: Objects,
    /// Whom to tell what happened.
    pub tell: mpsc::Sender<Happened>,
}

/// A pod as its actions need it.
#[derive(Clone)]
pub(crate) struct About {
    /// The pod.
    pub pod: Arc<Pod>,
    /// What is kept of it.
    pub kept: Arc<Kept>,
    /// What is closed when its volumes are removed.
    pub gate: Gate,
}

impl About {
    fn container(&self, run: Run) -> Option<&Container> {
        self.pod.containers.get(run.slot)
    }
}

impl Hands {
    /// Carries one out. Actions that concern the API server's object, memory, or what goes on and on are not for hands.
    pub(crate) fn carry_out(&self, action: &Action, about: &About) {
        let (hands, about) = (self.clone(), about.clone());
        match *action {
            Action::MakeNetwork(_) => drop(tokio::spawn(async move { hands.make_network(&about).await })),
            Action::RemoveNetwork => drop(tokio::spawn(async move { hands.remove_network(&about).await })),
            Action::Start(run) => drop(tokio::spawn(async move { hands.start(&about, run).await })),
            Action::Terminate(run) => self.signal((&about, run), Handle::terminate),
            Action::Kill(run) => self.signal((&about, run), Handle::kill),
            Action::PostStart(run) => drop(tokio::spawn(async move { hands.post_start(&about, run).await })),
            Action::PreStop(run, limit) => {
                drop(tokio::spawn(async move { hands.pre_stop((&about, run), limit).await }));
            }
            Action::Ask(run, question) => {
                drop(tokio::spawn(async move { hands.ask((&about, run), question).await }));
            }
            Action::MakeVolumes | Action::Tell(_) | Action::Delete | Action::Forget => {}
        }
    }

    async fn say(&self, about: &About, input: Input) {
        // Nobody listens any more when the program ends.
        drop(self.tell.send((about.pod.uid.clone(), input)).await);
    }

    /// The network namespace of the node.
    pub(crate) fn node(&self) -> network::Node {
        self.settings.netns.as_deref().map(Namespace::named)
    }

    /// The network namespace of a pod.
    pub(crate) fn network(&self, kept: &Kept) -> network::Node {
        if kept.host_network { self.node() } else { Some(Namespace::named(&kept.network())) }
    }

    async fn make_network(&self, about: &About) {
        drop(std::fs::remove_file(self.folder.pod(&about.pod.uid).join(NETWORK_MADE)));
        let (node, kept, folder) = (self.node(), about.kept.clone(), self.folder.clone());
        let made = tokio::task::spawn_blocking(move || {
            folder.keep(&kept).map_err(|error| format!("failed to write down the pod: {error}"))?;
            if kept.host_network {
                return Ok(());
            }
            network::make(&node, &kept).map_err(|error| format!("failed to {error}"))
        });
        let made = made.await.unwrap_or_else(|error| Err(error.to_string()));
        let addresses = self.addresses(&about.kept).to_vec();
        let result = made.and_then(|()| self.write_files(about).map_err(|error| error.to_string()));
        self.say(about, Input::Network(result.map(|()| addresses))).await;
    }

    fn write_files(&self, about: &About) -> io::Result<()> {
        let pod = &about.pod;
        let node = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let resolvers = Resolvers { cluster: &self.settings.dns, domain: &self.settings.domain, node: &node };
        let folder = self.folder.pod(&pod.uid);
        std::fs::write(folder.join("resolv.conf"), resolv_conf(pod, resolvers))?;
        std::fs::write(folder.join("hosts"), hosts(pod, &hostname(pod), &about.kept.addresses))?;
        // Last: a network that was cut off half made does not have it.
        std::fs::write(folder.join(NETWORK_MADE), "")
    }

    async fn remove_network(&self, about: &About) {
        let (node, kept, folder) = (self.node(), about.kept.clone(), self.folder.clone());
        let gate = about.gate.clone();
        let remove = move || {
            remove_from_kernel(&node, &kept);
            // What is left goes with everything else of the pod.
            drop(folder.remove_volumes(&kept.uid));
        };
        // Nothing of it can fail in a way that trying again would help.
        drop(tokio::task::spawn_blocking(move || gate.close(remove)).await);
        self.say(about, Input::NetworkRemoved).await;
    }

    async fn start(&self, about: &About, run: Run) {
        let Some(container) = about.container(run) else { return };
        let folder = self.folder.run(&about.pod.uid, &container.name, run.attempt);
        match self.prepare(about, container, &folder).await {
            Ok(()) => {}
            Err(error) => {
                let input = Input::NotStarted(run, "CreateContainerConfigError", error);
                return self.say(about, input).await;
            }
        }
        self.forget_old_runs(about, container, run);
        match self.start_keeper(&about.pod.uid, &folder).await {
            Ok((runs, child)) => {
                if runs {
                    self.say(about, Input::Started(run, now())).await;
                }
                // A keeper that could not start the program wrote down why.
                self.await_end((about, run), Some(child)).await;
            }
            Err(error) => {
                let error = format!("failed to start the keeper of the container: {error}");
                self.say(about, Input::NotStarted(run, "RunContainerError", error)).await;
            }
        }
    }

    /// Writes down what the keeper needs.
    async fn prepare(&self, about: &About, container: &Container, folder: &Path) -> Result<(), String> {
        let (pod, settings) = (&about.pod, &self.settings);
        let addresses = self.addresses(&about.kept);
        let (node, usual, capacity) = (&settings.addresses, &settings.environment, node::capacity());
        let around = Surroundings { pod: addresses, node, usual, capacity: &capacity };
        let (words, environment) = environment(&self.client, pod, container, &around)
            .await
            .map_err(|missing| missing.to_string())?;
        let user = identity::user(pod, container)?;
        let files = self.folder.pod(&pod.uid);
        let mut mounts = host_files(&files, about.kept.host_network);
        let volumes = self.folder.volumes(&pod.uid);
        mounts.extend(volumes::mounts((&pod.volumes, &volumes), container, &environment)?);
        let message = message_path(container);
        mounts.push(Mount::file(folder.join(TERMINATION_LOG), message));
        let launch = Launch {
            words,
            environment,
            folder: container.object["workingDir"]
                .as_str()
                .filter(|path| !path.is_empty())
                .map(str::to_owned),
            network: self.network(&about.kept).map(|namespace| namespace.path().to_owned()),
            hostname: (!about.kept.host_network).then(|| hostname(pod)),
            mounts,
            group: format!("{}/{}", about.kept.group(), container.name),
            limits: (container.limits.memory, container.limits.cpu),
            user,
            groups: identity::groups(pod),
            explains_by_log: container.object["terminationMessagePolicy"] == "FallbackToLogsOnError",
            stdin: container.object["stdin"] == true,
            stdin_once: container.object["stdinOnce"] == true,
            tty: container.tty(),
        };
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| make_termination_log(folder))
            .and_then(|()| write(&folder.join("launch.json"), &launch));
        written.map_err(|error| format!("failed to write down the container's launch: {error}"))
    }

    fn addresses<'a>(&'a self, kept: &'a Kept) -> &'a [IpAddr] {
        if kept.host_network { &self.settings.addresses } else { &kept.addresses }
    }

    fn forget_old_runs(&self, about: &About, container: &Container, run: Run) {
        let attempts = self.folder.attempts(&about.pod.uid, &container.name);
        let old = attempts.len().saturating_sub(KEPT_RUNS);
        for attempt in attempts.into_iter().take(old).filter(|attempt| *attempt < run.attempt) {
            drop(std::fs::remove_dir_all(self.folder.run(&about.pod.uid, &container.name, attempt)));
        }
    }

    /// Starts the keeper, and waits until it says whether the program runs.
    async fn start_keeper(&self, uid: &str, folder: &Path) -> io::Result<(bool, Child)> {
        let Some((program, words)) = self.settings.keeper.split_first() else {
            return Err(io::Error::other("no program is named for it"));
        };
        let mut command = std::process::Command::new(program);
        command
            .args(words)
            .arg(folder)
            .env(KEEPS, folder)
            .env(MARK, uid)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = tokio::process::Command::from(command).spawn()?;
        let Some(stdout) = child.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        Ok((line.trim() == "started", child))
    }

    /// Waits until the keeper of a run is gone, and tells how the run ended.
    pub(crate) async fn await_end(&self, (about, run): (&About, Run), child: Option<Child>) {
        let Some(container) = about.container(run) else { return };
        let folder = self.folder.run(&about.pod.uid, &container.name, run.attempt);
        match child {
            // What it ended with stands in its file.
            Some(mut child) => drop(child.wait().await),
            None => await_keeper(&folder).await,
        }
        let ended = end_of(&folder).unwrap_or_else(|| lost(&folder));
        self.say(about, Input::Ended(run, ended)).await;
    }

    fn signal(&self, (about, run): (&About, Run), send: fn(&Handle)) {
        let Some(container) = about.container(run) else { return };
        let folder = self.folder.run(&about.pod.uid, &container.name, run.attempt);
        let Some(started) = read::<Started>(&folder.join("started.json")) else { return };
        if let Some(handle) = Handle::open(started.process, started.process_ticks) {
            send(&handle);
        }
    }

    async fn post_start(&self, about: &About, run: Run) {
        let act = about.container(run).and_then(|container| container.post_start.as_ref());
        let result = match act {
            Some(act) => self.perform((about, run), act).await,
            None => Ok(()),
        };
        self.say(about, Input::PostStart(run, result)).await;
    }

    async fn pre_stop(&self, (about, run): (&About, Run), limit: Duration) {
        let act = about.container(run).and_then(|container| container.pre_stop.as_ref());
        let result = match act {
            Some(act) => match tokio::time::timeout(limit, self.perform((about, run), act)).await {
                Ok(result) => result,
                Err(_) => Err("it took longer than the grace period".to_owned()),
            },
            None => Ok(()),
        };
        self.say(about, Input::PreStop(run, result)).await;
    }

    async fn ask(&self, (about, run): (&About, Run), question: Question) {
        let Some(container) = about.container(run) else { return };
        let probe = match question {
            Question::Startup => &container.startup,
            Question::Readiness => &container.readiness,
            Question::Liveness => &container.liveness,
        };
        let Some(probe) = probe else { return };
        let result = match tokio::time::timeout(probe.timeout, self.perform((about, run), &probe.act)).await {
            Ok(result) => result,
            Err(_) => {
                Err(format!("context deadline exceeded (no answer within {}s)", probe.timeout.as_secs()))
            }
        };
        self.say(about, Input::Answered(run, question, result)).await;
    }

    async fn perform(&self, (about, run): (&About, Run), act: &Act) -> Result<(), String> {
        let Some(container) = about.container(run) else { return Ok(()) };
        let folder = self.folder.run(&about.pod.uid, &container.name, run.attempt);
        let address = self.addresses(&about.kept).first().copied();
        ask::perform(act, ask::Place { folder: &folder, network: self.network(&about.kept), address }).await
    }
}

/// Removes everything the kernel has of a pod.
pub(crate) fn remove_from_kernel(node: &network::Node, kept: &Kept) {
    const ATTEMPTS: u32 = 100;
    // First, and until there is none: a keeper that was just started would make the group anew.
    for _ in 0..ATTEMPTS {
        if process::kill_marked(&kept.mark()) == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    if let Some(group) = Group::named(&kept.group()) {
        group.remove();
    }
    if !kept.host_network {
        network::remove(node, kept);
    }
}

fn host_files(files: &Path, host_network: bool) -> Vec<Mount> {
    let both = [("resolv.conf", "/etc/resolv.conf"), ("hosts", "/etc/hosts")];
    let wanted =
        both.into_iter().filter(|(name, to)| Path::new(to).exists() && !(host_network && *name == "hosts"));
    wanted.map(|(name, to)| Mount::file(files.join(name), to)).collect()
}

/// Where a container says why it ended.
fn message_path(container: &Container) -> &str {
    let given = container.object["terminationMessagePath"].as_str().filter(|path| !path.is_empty());
    given.unwrap_or("/dev/termination-log")
}

/// Whoever the container runs as may write into it.
fn make_termination_log(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(TERMINATION_LOG);
    std::fs::write(&path, "")?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
}

/// Waits for a keeper that is no child of this program, and of whose end nobody tells.
async fn await_keeper(folder: &Path) {
    let Some(started) = read::<Started>(&folder.join("started.json")) else { return };
    while process::start_time(started.keeper) == Some(started.keeper_ticks) {
        tokio::time::sleep(LOOK).await;
    }
}

/// How a run ended, as its keeper wrote it down.
pub(crate) fn end_of(folder: &Path) -> Option<Ended> {
    let exit: Exit = read(&folder.join("exit.json"))?;
    let started = read::<Started>(&folder.join("started.json")).map_or(exit.at, |started| started.at);
    Some(Ended { code: exit.code, reason: exit.reason, message: exit.message, started, finished: exit.at })
}

/// A run whose keeper is gone without a word: somebody killed it, or the machine was restarted.
pub(crate) fn lost(folder: &Path) -> Ended {
    let started = read::<Started>(&folder.join("started.json"));
    let at = started.as_ref().map_or_else(now, |started| started.at);
    if let Some(handle) = started.and_then(|started| Handle::open(started.process, started.process_ticks)) {
        handle.kill();
    }
    let exit = Exit { code: 255, reason: "Unknown".to_owned(), message: String::new(), at: now() };
    // It ended once, whenever it is asked for.
    drop(write(&folder.join("exit.json"), &exit));
    Ended { code: exit.code, reason: exit.reason, message: exit.message, started: at, finished: exit.at }
}

/// Ends the keeper of a run that was cut off before it wrote anything down.
pub(crate) fn end_keeper(folder: &Path) {
    process::kill_marked(&format!("{KEEPS}={}", folder.display()));
}

/// The time, for the pure parts.
pub(crate) fn now() -> Time {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
