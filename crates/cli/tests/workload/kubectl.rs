//! kubectl through the API server to the node and back: with WebSocket, and with SPDY, as older ones speak.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use sys::netns::Namespace;
use testkit::answers::installed_kubectl;

use crate::world::{Folder, LIMIT, SIGNALBOX, prepare};

/// What kubectl is told to leave out.
const NO_WEBSOCKETS: [(&str, &str); 2] =
    [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false"), ("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false")];
const WITH_WEBSOCKETS: [(&str, &str); 2] =
    [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "true"), ("KUBECTL_PORT_FORWARD_WEBSOCKETS", "true")];
const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: shop}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: none
    command: [python3, -m, http.server, '8080', --directory, FOLDER]
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
  - name: talk
    image: none
    stdin: true
    command: [sh, -c, 'while read word; do echo \"heard $word\"; test $word = bye && exit 1; done']
";

/// A cluster of one node in a network of its own, with everything that belongs to it.
struct Cluster {
    folder: Folder,
    network: Namespace,
    netns: String,
    kubectl: PathBuf,
    variables: [(&'static str, &'static str); 2],
    running: Vec<Child>,
}

impl Cluster {
    fn start(name: &str) -> Option<Self> {
        let Some(kubectl) = installed_kubectl().filter(|_| rustix::process::geteuid().is_root()) else {
            println!("SKIPPED (needs root and kubectl): {name}");
            return None;
        };
        let netns = format!("sbt-{}-{name}", std::process::id());
        let folder = Folder::new(&netns);
        let network = Namespace::create(&netns).unwrap();
        prepare(&network);
        let variables = WITH_WEBSOCKETS;
        let mut cluster = Self { folder, network, netns, kubectl, variables, running: Vec::new() };
        let data = cluster.folder.path().join("data");
        let server = ["apiserver", "--listen=127.0.0.1:6443", "--data"].map(String::from);
        cluster.run(server.into_iter().chain([data.display().to_string()]), "server");
        let kubeconfig = cluster.kubeconfig();
        cluster.until("the server is ready", || {
            kubeconfig
                .exists()
                .then_some(())
                .filter(|()| cluster.kubectl("get --raw /readyz", b"").status.success())
        });
        let node = [
            "workload".to_owned(),
            format!("--state={}", cluster.folder.path().join("state").display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--client-ca-file={}", data.join("pki/ca.crt").display()),
            format!("--netns={}", cluster.netns),
            "--node-name=node-1".to_owned(),
            "--node-ip=192.0.2.1".to_owned(),
            "--port=0".to_owned(),
            "--pod-cidrs=10.244.1.0/24".to_owned(),
        ];
        cluster.run(node, "node");
        cluster.until("the node is there", || {
            cluster.kubectl("get node node-1", b"").status.success().then_some(())
        });
        Some(cluster)
    }

    fn run(&mut self, words: impl IntoIterator<Item = String>, log: &str) {
        let log = std::fs::File::create(self.folder.path().join(log)).unwrap();
        let mut command = self.network.command(Path::new(SIGNALBOX));
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.running.push(command.spawn().unwrap());
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("data/kubeconfig")
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.network.command(&self.kubectl);
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", self.folder.path()).envs(self.variables);
        // What stands in quotes is one word.
        for (number, part) in line.split('\'').enumerate() {
            if number % 2 == 1 {
                command.arg(part)
            } else {
                command.args(part.split_whitespace())
            };
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn kubectl(&self, line: &str, input: &[u8]) -> Output {
        let mut child = self.command(line).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // A command that has enough does not read the rest.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().unwrap()
        })
    }

    /// Checks exit code, standard output and standard error.
    #[track_caller]
    fn check(&self, line: &str, input: &str, expected: (i32, &str, &str)) {
        let output = self.kubectl(line, input.as_bytes());
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let found = (output.status.code().unwrap_or(-1), &*stdout, &*stderr);
        assert_eq!(found, expected, "kubectl {line} {:?}", self.variables);
    }

    #[track_caller]
    fn until<T>(&self, what: &str, found: impl Fn() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = found() {
                return found;
            }
            let log = |name: &str| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            assert!(begin.elapsed() < LIMIT, "never: {what}\n{}\n{}", log("server"), log("node"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn pod(&self) {
        let pod = POD.replace("FOLDER", &self.folder.path().display().to_string());
        self.check("apply -f -", &pod, (0, "pod/shop created\n", ""));
        self.check(
            "wait pod shop --for=condition=Ready --timeout=30s",
            "",
            (0, "pod/shop condition met\n", ""),
        );
    }

    /// Answers what a server in the pod answers to a number of clients at once, all of it.
    fn get(&self, port: u16, path: &str, clients: usize) -> Vec<Vec<u8>> {
        let got = self.network.run(|| {
            let streams: Vec<_> =
                (0..clients).map(|_| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
            for mut stream in &streams {
                write!(stream, "GET /{path} HTTP/1.0\r\n\r\n").unwrap();
            }
            let read = |mut stream: std::net::TcpStream| {
                let mut got = Vec::new();
                stream.read_to_end(&mut got).unwrap();
                let end = got.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
                got.split_off(end)
            };
            streams.into_iter().map(read).collect()
        });
        got.unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in &mut self.running {
            drop(child.kill());
            drop(child.wait());
        }
        let mut command = self.network.command(Path::new(SIGNALBOX));
        command.args(["workload", "--purge", "--netns", &self.netns, "--state"]);
        drop(command.arg(self.folder.path().join("state")).output());
        self.network.remove();
    }
}

/// Bytes that look different everywhere.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    };
    (0..length).map(step).collect()
}

#[test]
fn kubectl_exec_and_cp() {
    let Some(mut cluster) = Cluster::start("exec") else { return };
    cluster.pod();
    let bytes = noise(10_000_000);
    for variables in [WITH_WEBSOCKETS, NO_WEBSOCKETS] {
        cluster.variables = variables;
        let failed = "command terminated with exit code 3\n";
        let both = format!("err\n{failed}");
        cluster.check("exec shop -c web -- sh -c 'echo out; echo err >&2; exit 3'", "", (3, "out\n", &both));
        cluster.check("exec -i shop -c web -- cat", "a word", (0, "a word", ""));
        // Who has heard enough does not wait for the end.
        cluster.check("exec -i shop -c web -- head -c 3", &"word".repeat(1_000_000), (0, "wor", ""));
        let output = cluster.kubectl("exec -i shop -c web -- cat", &bytes);
        assert!(output.status.success() && output.stdout == bytes, "10 MB come back {variables:?}");
        // A program that leaves another one behind is not waited for.
        cluster.check("exec shop -c web -- sh -c 'sleep 1000 & echo done'", "", (0, "done\n", ""));
        let none = "error: Internal error occurred: error executing command in container: exec: \"no-such\": \
                    executable file not found in $PATH\n";
        cluster.check("exec shop -c web -- no-such", "", (1, "", none));

        let (here, there) = (cluster.folder.path().join("here"), cluster.folder.path().join("there"));
        std::fs::write(&here, &bytes[..300_000]).unwrap();
        let copy = format!("cp {} shop:{} -c web", here.display(), there.display());
        cluster.check(&copy, "", (0, "", ""));
        assert!(std::fs::read(&there).unwrap() == bytes[..300_000], "a file arrives {variables:?}");
        std::fs::remove_file(&there).unwrap();
    }
}

#[test]
fn kubectl_exec_with_a_terminal() {
    let Some(mut cluster) = Cluster::start("tty") else { return };
    cluster.pod();
    for variables in [WITH_WEBSOCKETS, NO_WEBSOCKETS] {
        cluster.variables = variables;
        let sys::terminal::Terminal { master, slave } = sys::terminal::Terminal::open().unwrap();
        sys::terminal::resize(std::os::fd::AsFd::as_fd(&master), 101, 43).unwrap();
        let script = "exec -it shop -c web -- sh -c 'until stty size | grep 43; do sleep 0.1; done; read word; \
                      echo \"<$word>\"; exit 5'";
        let mut command = cluster.command(script);
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut screen = BufReader::new(std::fs::File::from(master.try_clone().unwrap()));
        let mut line = String::new();
        while !line.contains("43 101") {
            line.clear();
            assert!(screen.read_line(&mut line).unwrap() > 0);
        }
        std::fs::File::from(master).write_all(b"hello\n").unwrap();
        let mut rest = Vec::new();
        // The end of a terminal is an error.
        drop(screen.read_to_end(&mut rest));
        assert_eq!(child.wait().unwrap().code(), Some(5));
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.contains("<hello>"), "{rest}");
    }
}

#[test]
fn kubectl_logs_and_attach() {
    let Some(cluster) = Cluster::start("logs") else { return };
    cluster.pod();
    let mut follower = cluster.command("logs -f shop -c talk").spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let attached = |variables, word: &str| {
        let mut command = cluster.command("attach -i shop -c talk -q");
        let mut child = command.envs(variables).spawn().unwrap();
        let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut stdout = BufReader::new(stdout);
        let mut said = String::new();
        // What was said before somebody attaches is not told.
        while said.is_empty() {
            writeln!(stdin, "{word}").unwrap();
            stdout.read_line(&mut said).unwrap();
        }
        (child, said)
    };
    let (mut first, said) = attached(WITH_WEBSOCKETS, "one");
    assert_eq!(said, "heard one\n");
    let (mut second, said) = attached(NO_WEBSOCKETS, "two");
    assert_eq!(said, "heard two\n");
    first.kill().unwrap();
    first.wait().unwrap();
    second.kill().unwrap();
    second.wait().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "heard one");
    let (mut last, said) = attached(WITH_WEBSOCKETS, "bye");
    assert_eq!(said, "heard bye\n");
    // Both end with the container.
    assert!(last.wait().unwrap().success());
    assert!(lines.map(Result::unwrap).last().is_some_and(|line| line == "heard bye"));
    assert!(follower.wait().unwrap().success());

    cluster.until("the container runs again", || {
        let again =
            cluster.kubectl("get pod shop -o 'jsonpath={.status.containerStatuses[1].restartCount}'", b"");
        (again.stdout == b"1").then_some(())
    });
    cluster.check("logs shop -c talk --previous --tail=1", "", (0, "heard bye\n", ""));
    cluster.check("logs shop -c talk --previous --limit-bytes=8", "", (0, "heard on", ""));
    cluster.check("logs shop -c talk --since=1s", "", (0, "", ""));
    let stamped = cluster.kubectl("logs shop -c talk --previous --tail=1 --timestamps", b"").stdout;
    let stamped = String::from_utf8(stamped).unwrap();
    assert!(stamped.starts_with("20") && stamped.ends_with("Z heard bye\n"), "{stamped}");
    let none = cluster.kubectl("logs shop -c web --previous", b"");
    let message = "previous terminated container \"web\" in pod \"shop\" not found";
    assert!(String::from_utf8_lossy(&none.stderr).contains(message), "{none:?}");
}

#[test]
fn kubectl_run_with_input() {
    let Some(mut cluster) = Cluster::start("run") else { return };
    for (variables, name) in [(WITH_WEBSOCKETS, "one"), (NO_WEBSOCKETS, "two")] {
        cluster.variables = variables;
        let overrides = "{\"spec\":{\"nodeName\":\"node-1\"}}";
        let line = format!(
            "run {name} -i --restart=Never --image=none -q --overrides '{overrides}' --command -- sh -c 'sleep 1; sort'"
        );
        // The program ends because its input does.
        let output = cluster.kubectl(&line, b"two\none\n");
        let phase =
            format!("wait pod {name} --for=jsonpath='{{.status.phase}}'=Succeeded --timeout=20s -o name");
        assert!(cluster.kubectl(&phase.replace('\'', ""), b"").status.success(), "{output:?}");
        cluster.check(&format!("logs {name}"), "", (0, "one\ntwo\n", ""));
    }
}

#[test]
fn kubectl_port_forward() {
    let Some(mut cluster) = Cluster::start("port") else { return };
    cluster.pod();
    let bytes = noise(3_000_000);
    std::fs::write(cluster.folder.path().join("noise"), &bytes).unwrap();
    for variables in [WITH_WEBSOCKETS, NO_WEBSOCKETS] {
        cluster.variables = variables;
        let mut forwarding = cluster.command("port-forward shop :8080 :81").spawn().unwrap();
        let mut lines = BufReader::new(forwarding.stdout.take().unwrap()).lines();
        let mut port_of = |to: &str| {
            let line = lines.find(|line| line.as_ref().unwrap().ends_with(to)).unwrap().unwrap();
            let port = line.split(" -> ").next().and_then(|from| from.rsplit(':').next()).unwrap();
            port.parse::<u16>().unwrap()
        };
        let (port, closed) = (port_of(" -> 8080"), port_of(" -> 81"));
        for got in cluster.get(port, "noise", 8) {
            assert!(got == bytes, "{} bytes of {} {variables:?}", got.len(), bytes.len());
        }
        // A port at which nobody listens is complained about.
        assert_eq!(cluster.get(closed, "noise", 1), [Vec::<u8>::new()]);
        let mut complaint = String::new();
        let mut errors = BufReader::new(forwarding.stderr.take().unwrap());
        errors.read_line(&mut complaint).unwrap();
        assert!(complaint.contains("error forwarding port 81 to pod shop_default"), "{complaint}");
        drop(forwarding.kill());
        forwarding.wait().unwrap();
    }
}
