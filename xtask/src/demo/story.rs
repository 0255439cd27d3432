//! What happens, act by act; each checks what it says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use model::Family;
use serde_json::json;
use sys::link::Links;
use sys::netns::Namespace;
use testkit::traffic::{HttpAnswer, Load, Tally, get, request};
use testkit::up::Up;

use super::meter::Meter;
use super::names::look_up;
use super::stage::{Pod, Stage};

/// How many requests show how they spread.
const REQUESTS: usize = 300;
/// How many requests are under way at a time while something changes.
const PARALLEL: usize = 4;
const NODES: [&str; 2] = ["node-1", "node-2"];

pub(super) struct Story<'a> {
    up: &'a Up,
    root: &'a Path,
    stage: Stage,
}

impl<'a> Story<'a> {
    pub(super) fn new(up: &'a Up, root: &'a Path) -> Result<Self> {
        Ok(Self { up, root, stage: Stage::new(up)? })
    }

    pub(super) fn tell(&self) -> Result<()> {
        let frontend = self.deploy()?;
        let service = self.ghost()?;
        self.name((&frontend, service))?;
        let frontend = (&frontend, service);
        self.requests(frontend, 3)?;
        self.pod_dies(frontend)?;
        self.scale(frontend)?;
        self.readiness(frontend)?;
        self.roll_out(frontend)?;
        self.rules(service)
    }

    fn deploy(&self) -> Result<Namespace> {
        act(
            "A Deployment of three backend pods, and a frontend pod that will ask them",
            "kubectl apply -f demo/",
        );
        let begin = Instant::now();
        self.stage.apply(&self.root.join("demo/backend.yaml"))?;
        self.stage.apply(&self.root.join("demo/frontend.yaml"))?;
        let mut pods = self.stage.ready_pods("backend", 3)?;
        pods.extend(self.stage.ready_pods("frontend", 1)?);
        show_pods(&pods);
        println!(
            "\n    All were ready {} ms later, each a network namespace of its own.",
            begin.elapsed().as_millis()
        );
        pods.last().map(Pod::namespace).context("there is no frontend")
    }

    fn ghost(&self) -> Result<SocketAddr> {
        let service = self.stage.service()?;
        println!(
            "\n    The Service `backend-service` has the IP {}. It is on no interface: a ghost.",
            service.ip()
        );
        for node in NODES {
            let place = self.node(node)?;
            let read = place.run(|| Links::open()?.addresses()).and_then(|read| read);
            let addresses = read.map_err(|error| anyhow!("failed to {error}"))?;
            if addresses.iter().any(|net| net.addr() == service.ip()) {
                bail!("{node} has the Service IP");
            }
        }
        Ok(service)
    }

    fn name(&self, (frontend, service): (&Namespace, SocketAddr)) -> Result<()> {
        const NAME: &str = "backend-service.default.svc.cluster.local";
        let found = self.stage.until("the name", || Ok(look_up(frontend, NAME).ok()))?;
        if found != service.ip() {
            bail!("{NAME} is {found}, not {}", service.ip());
        }
        println!("    Pods find it by its name: {NAME} is {found}.");
        Ok(())
    }

    /// Sends requests until every backend was asked, and shows who answered.
    fn requests(&self, (frontend, service): (&Namespace, SocketAddr), pods: usize) -> Result<()> {
        self.await_answers((frontend, service), pods)?;
        let ask = || (0..REQUESTS).map(|_| get(service, "/name", Duration::from_secs(5))).collect::<Vec<_>>();
        let answers = frontend.run(ask).map_err(|error| anyhow!("failed to {error}"))?;
        println!("\n    {REQUESTS} requests, frontend -> {service}, answered by");
        show_counts(&names(&answers)?);
        Ok(())
    }

    /// Waits until so many backends, and nothing else, answer.
    fn await_answers(&self, (frontend, service): (&Namespace, SocketAddr), pods: usize) -> Result<()> {
        self.stage.until(&format!("answers of {pods} pods"), || {
            let ask =
                || (0..8 * pods).map(|_| get(service, "/name", Duration::from_secs(1))).collect::<Vec<_>>();
            let answers = frontend.run(ask).map_err(|error| anyhow!("failed to {error}"))?;
            Ok(names(&answers).ok().filter(|names| names.len() == pods).map(drop))
        })
    }

    fn pod_dies(&self, (frontend, service): (&Namespace, SocketAddr)) -> Result<()> {
        let victim = self.stage.pods("backend")?.into_iter().next().context("there is no backend")?;
        let load = Load::start(frontend, service, PARALLEL);
        self.show_slice("Before")?;
        act(
            "A pod is deleted while the frontend goes on asking",
            &format!("kubectl delete pod {}", victim.name),
        );
        let begin = Instant::now();
        self.stage.delete_pod(&victim.name)?;
        self.stage.until("the pod to leave the slice", || {
            let endpoints = self.stage.endpoints()?;
            let is_used = endpoints.iter().any(|one| one.pod == victim.name && one.is_ready);
            Ok((!is_used).then_some(()))
        })?;
        println!("\n    It has left the slice {} ms later;", begin.elapsed().as_millis());
        let pods = self.stage.ready_pods("backend", 3)?;
        println!(
            "    another one has its place, with another address, after {} ms.",
            begin.elapsed().as_millis()
        );
        self.until_in_slice(&pods)?;
        self.show_slice("After")?;
        no_failures("the Service IP was the same all the time", &load.end())
    }

    fn scale(&self, (frontend, service): (&Namespace, SocketAddr)) -> Result<()> {
        act("More of them", "kubectl scale deployment backend --replicas=5");
        let begin = Instant::now();
        self.stage.change(&json!({"spec": {"replicas": 5}}))?;
        let pods = self.stage.ready_pods("backend", 5)?;
        self.until_in_slice(&pods)?;
        println!("\n    Five are ready and in the slice after {} ms.", begin.elapsed().as_millis());
        self.requests((frontend, service), 5)
    }

    fn readiness(&self, (frontend, service): (&Namespace, SocketAddr)) -> Result<()> {
        let pods = self.stage.pods("backend")?;
        let ill = pods.first().context("there is no backend")?;
        let load = Load::start(frontend, service, PARALLEL);
        act("A pod is not well: its readiness probe fails", &format!("curl -X POST {}:8080/fail", ill.name));
        self.post(frontend, ill, "/fail")?;
        self.until_ready(ill, false)?;
        self.show_slice("Now")?;
        self.await_answers((frontend, service), 4)?;
        println!("\n    Nobody is sent to {} until it is well again.", ill.name);
        self.post(frontend, ill, "/recover")?;
        self.until_ready(ill, true)?;
        no_failures("the others answered", &load.end())
    }

    fn roll_out(&self, (frontend, service): (&Namespace, SocketAddr)) -> Result<()> {
        act(
            "A new version takes the place of the old one, pod by pod, under load",
            "kubectl set image deployment backend whoami=signalbox/whoami:v2",
        );
        println!();
        let load = Load::start(frontend, service, PARALLEL);
        let container = json!({"name": "whoami", "image": "signalbox/whoami:v2"});
        self.stage.change(&json!({"spec": {"template": {"spec": {"containers": [container]}}}}))?;
        let (begin, mut meter) = (Instant::now(), Meter::new());
        self.stage.until("the new version", || {
            let deployment = self.stage.deployment()?;
            let number = |field: &str| deployment["status"][field].as_u64().unwrap_or(0);
            let is_seen = deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"];
            let updated = if is_seen { number("updatedReplicas") } else { 0 };
            let tally = load.tally();
            meter.show(&format!("{updated} of 5 pods are new, {}", summary(&tally)));
            let is_done =
                is_seen && updated == 5 && number("replicas") == 5 && number("availableReplicas") == 5;
            Ok(is_done.then_some(()))
        })?;
        // The old ones still linger; what they answer counts as well.
        std::thread::sleep(Duration::from_secs(1));
        let tally = load.end();
        meter.end(&format!(
            "5 of 5 pods are new after {:.1} s, {}",
            begin.elapsed().as_secs_f64(),
            summary(&tally)
        ));
        no_failures("nobody noticed", &tally)
    }

    /// What the kernel holds for the Service, read over netlink.
    fn rules(&self, service: SocketAddr) -> Result<()> {
        act("That is all there is to it in the kernel of each node", "nft list table ip signalbox");
        println!();
        let read = self.node(NODES[0])?.run(|| crate::rules::in_kernel(Family::V4));
        let program = read.map_err(|error| anyhow!("failed to {error}"))??;
        for line in crate::rules::about(Family::V4, &program, &service.ip().to_string()).lines() {
            println!("    {}", line.replace('\t', "  "));
        }
        Ok(())
    }

    fn node(&self, name: &str) -> Result<Namespace> {
        self.up.node(name).with_context(|| format!("{name} has no network namespace"))
    }

    fn until_in_slice(&self, pods: &[Pod]) -> Result<()> {
        self.stage.until("the pods to be in the slice", || {
            let endpoints = self.stage.endpoints()?;
            let is_in = |pod: &Pod| endpoints.iter().any(|one| one.pod == pod.name && one.is_ready);
            Ok((pods.iter().all(is_in)).then_some(()))
        })
    }

    fn until_ready(&self, pod: &Pod, wanted: bool) -> Result<()> {
        self.stage.until("the slice to say how the pod is", || {
            let endpoints = self.stage.endpoints()?;
            Ok(endpoints.iter().any(|one| one.pod == pod.name && one.is_ready == wanted).then_some(()))
        })
    }

    fn show_slice(&self, when: &str) -> Result<()> {
        println!("\n    {when}, the EndpointSlice of backend-service:");
        for endpoint in self.stage.endpoints()? {
            let ready = if endpoint.is_ready { "ready" } else { "not ready" };
            println!("      {:<14} {:<28} {ready}", endpoint.address, endpoint.pod);
        }
        Ok(())
    }

    fn post(&self, frontend: &Namespace, pod: &Pod, path: &str) -> Result<()> {
        let to = SocketAddr::new(pod.address.context("the pod has no address")?, 8080);
        let text = format!("POST {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
        let answer = frontend.run(|| request(to, &text, Duration::from_secs(5)));
        match answer.map_err(|error| anyhow!("failed to {error}"))? {
            HttpAnswer { code: Some(200), .. } => Ok(()),
            other => bail!("{} did not take POST {path}: {}", pod.name, other.verdict),
        }
    }
}

fn act(title: &str, command: &str) {
    println!("\n== {title}\n\n$ {command}");
}

fn show_pods(pods: &[Pod]) {
    println!();
    for Pod { name, node, address, .. } in pods {
        println!(
            "    {name:<28} {node:<8} {}",
            address.map(|address| address.to_string()).unwrap_or_default()
        );
    }
}

/// How often each answered; an answer that is none is an error.
fn names(answers: &[HttpAnswer]) -> Result<BTreeMap<String, usize>> {
    let mut names = BTreeMap::new();
    for answer in answers {
        if answer.code != Some(200) {
            bail!("a request failed: {} {:?}", answer.verdict, answer.code);
        }
        *names.entry(answer.body.trim().to_owned()).or_default() += 1;
    }
    Ok(names)
}

fn show_counts(counts: &BTreeMap<String, usize>) {
    for (name, count) in counts {
        println!("    {name:<28} {count:>4}  {}", "#".repeat(count / 4));
    }
}

/// How many requests each version answered.
fn summary(tally: &Tally) -> String {
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for (who, count) in &tally.by {
        let version = who.rsplit_once('(').map_or(who.as_str(), |(_, version)| version.trim_end_matches(')'));
        *versions.entry(version).or_default() += count;
    }
    let versions: Vec<_> = versions.iter().map(|(version, count)| format!("{version}: {count}")).collect();
    format!("{} requests ({}), {} failed", tally.requests, versions.join(", "), tally.failed.len())
}

fn no_failures(meanwhile: &str, tally: &Tally) -> Result<()> {
    if let Some((when, why)) = tally.failed.first() {
        bail!(
            "{} of {} requests failed, the first after {when:?}: {why}",
            tally.failed.len(),
            tally.requests
        );
    }
    println!("\n    {} requests meanwhile, none of them failed: {meanwhile}.", tally.requests);
    Ok(())
}
