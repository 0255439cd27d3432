//! Programs that people talk to: one more in a container, or the container's own.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use super::channels::{Channels, Form, Messages};
use super::spdy::{self, Gone};
use super::websocket::{NORMAL, close};
use super::wire::{Connection, Out, Writing};
use crate::log::Stream as Voice;
use crate::runtime::{ExecOptions, Input, Output, Process, Runtime};

/// How long a client may take to open its streams.
const STREAMS: Duration = Duration::from_secs(30);
/// How long what others still say is waited for when the program has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How much of what a program says is taken at once.
const READ: usize = 32 * 1024;
/// How many parts of what the client says wait.
const WAITING: usize = 8;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
/// The channel in which a client says which other it has closed, in the fifth version.
const CLOSED: u8 = 255;

/// What is talked to.
pub(super) struct Command {
    pub(super) runtime: Runtime,
    pub(super) uid: String,
    pub(super) container: String,
    pub(super) wants: Wants,
    /// The words of one more program; `None`: the container's own is meant.
    pub(super) words: Option<Vec<String>>,
}

/// What a client wants to hear and to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wants {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

/// What the ends of a conversation are, whatever carries it.
struct Talk {
    stdin: Option<mpsc::Receiver<Bytes>>,
    sizes: Option<mpsc::Receiver<Bytes>>,
    mouth: Mouth,
}

/// Where a client is told something.
struct Mouth {
    carrier: Carrier,
    wants: Wants,
    /// Whether the end is told as a Status, which it is from the fourth version on.
    is_json: bool,
}

enum Carrier {
    Channels(Form, Out),
    Streams { stdout: Option<spdy::Stream>, stderr: Option<spdy::Stream>, status: spdy::Stream },
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Success,
    Code(Vec<String>, i32),
    Failed(String),
}

impl Command {
    /// Talks in the channels of a WebSocket.
    pub(super) async fn over_websocket(self, connection: impl Connection, form: Form, version: u32) {
        let (read, write) = tokio::io::split(connection);
        let writing = Writing::new(write);
        let out = writing.out();
        let (stdin, said) = mpsc::channel(WAITING);
        let (sizes, resized) = mpsc::channel(WAITING);
        let messages = Messages::new(read, out.clone());
        let mouth =
            Mouth { carrier: Carrier::Channels(form, out.clone()), wants: self.wants, is_json: version >= 4 };
        let talk = Talk { stdin: Some(said), sizes: Some(resized), mouth };
        let talking = async move {
            // By this the client knows that the connection is there.
            let first = if self.wants.stdout {
                STDOUT
            } else if self.wants.stderr {
                STDERR
            } else {
                STATUS
            };
            drop(out.send(form.message(first, b"")).await);
            self.run(talk).await;
            drop(out.send(close(NORMAL)).await);
        };
        writing.hold(listen(messages, Channels::new(form), (stdin, sizes)), talking).await;
    }

    /// Talks in the streams of SPDY.
    pub(super) async fn over_spdy(self, connection: impl Connection, version: u32) {
        let (read, write) = tokio::io::split(connection);
        let writing = Writing::new(write);
        let (opened, mut streams) = mpsc::channel(WAITING);
        let reading = spdy::read(read, writing.out(), opened);
        let talking = async move {
            let gathered = tokio::time::timeout(STREAMS, gather(&mut streams, self.wants, version)).await;
            if let Ok(Some(talk)) = gathered {
                self.run(talk).await;
            }
        };
        writing.hold(reading, talking).await;
    }

    async fn run(self, mut talk: Talk) {
        let outcome = match &self.words {
            Some(words) => self.exec(words, &mut talk).await,
            None => self.attach(&mut talk).await,
        };
        if let Ok(outcome) = outcome {
            talk.mouth.end(&outcome).await;
        }
    }

    async fn exec(&self, words: &[String], talk: &mut Talk) -> Result<Outcome, Gone> {
        let options = ExecOptions { stdin: self.wants.stdin, tty: self.wants.tty };
        let mut process = match self.runtime.exec((&self.uid, &self.container), words, options) {
            Ok(process) => process,
            Err(error) => return Ok(Outcome::Failed(not_started(words, &error))),
        };
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        let feeding = feed(talk.stdin.take(), process.stdin.take());
        let (over, ended) = watch::channel(false);
        let mouth = &talk.mouth;
        let waiting = async {
            let code = wait(&mut process, talk.sizes.take()).await;
            over.send_replace(true);
            Ok(code)
        };
        let all = async {
            tokio::try_join!(
                waiting,
                tell(stdout, (mouth, Voice::Out), ended.clone()),
                tell(stderr, (mouth, Voice::Error), ended.clone()),
            )
        };
        let (code, (), ()) = tokio::select! {
            all = all => all?,
            () = forever_after(feeding) => return Err(Gone),
        };
        Ok(match code {
            Ok(0) => Outcome::Success,
            Ok(code) => Outcome::Code(words.to_vec(), code),
            Err(error) => Outcome::Failed(error.to_string()),
        })
    }

    async fn attach(&self, talk: &mut Talk) -> Result<Outcome, Gone> {
        let mut attached = match self.runtime.attach(&self.uid, &self.container).await {
            Ok(attached) => attached,
            Err(error) => {
                return Ok(Outcome::Failed(format!("error attaching to container: {error}")));
            }
        };
        let stdin = attached.stdin.take().filter(|_| self.wants.stdin);
        let mut feeding = std::pin::pin!(forever_after(feed(talk.stdin.take(), stdin)));
        let mut sizes = Sizes::new(talk.sizes.take());
        loop {
            tokio::select! {
                piece = attached.output.recv() => match piece {
                    Some(piece) => talk.mouth.say(piece.stream, &piece.text).await?,
                    None => return Ok(Outcome::Success),
                },
                // A program that has ended meanwhile needs no size.
                (columns, rows) = sizes.next() => drop(attached.resize(columns, rows)),
                () = &mut feeding => return Err(Gone),
            }
        }
    }
}

/// Words for a program that cannot be started.
fn not_started(words: &[String], error: &io::Error) -> String {
    let program = words.first().map(String::as_str).unwrap_or_default();
    // `ENOENT`; what the runtime itself does not find has no such number.
    let why = if error.raw_os_error() == Some(2) {
        format!("exec: {program:?}: executable file not found in $PATH")
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        format!("exec: {program:?}: permission denied")
    } else {
        error.to_string()
    };
    format!("error executing command in container: {why}")
}

/// Does something, and then nothing.
async fn forever_after(something: impl Future<Output = ()>) {
    something.await;
    std::future::pending().await
}

/// Hears a client that talks in channels.
async fn listen<R: tokio::io::AsyncRead + Unpin>(
    mut messages: Messages<R>,
    mut channels: Channels,
    (stdin, sizes): (mpsc::Sender<Bytes>, mpsc::Sender<Bytes>),
) {
    let mut stdin = Some(stdin);
    while let Some((begins, bytes)) = messages.next().await {
        match channels.hear(begins, bytes) {
            Ok(Some((_, bytes))) if bytes.is_empty() => {}
            // Nobody listens any more: the client may go on.
            Ok(Some((STDIN, bytes))) => {
                if let Some(stdin) = &stdin {
                    drop(stdin.send(bytes).await);
                }
            }
            Ok(Some((RESIZE, bytes))) => drop(sizes.send(bytes).await),
            Ok(Some((CLOSED, which))) if which[0] == STDIN => stdin = None,
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// Waits for the streams that a client has to open; `None`: it left before.
async fn gather(streams: &mut mpsc::Receiver<spdy::Stream>, wants: Wants, version: u32) -> Option<Talk> {
    let (mut stdin, mut stdout, mut stderr, mut status, mut resize) = (None, None, None, None, None);
    loop {
        let has_all = status.is_some()
            && stdin.is_some() >= wants.stdin
            && stdout.is_some() >= wants.stdout
            && stderr.is_some() >= wants.stderr
            && resize.is_some() >= (wants.tty && version >= 3);
        if has_all {
            break;
        }
        let stream = streams.recv().await?;
        let place = match stream.header("streamtype") {
            "stdin" => &mut stdin,
            "stdout" => &mut stdout,
            "stderr" => &mut stderr,
            "error" => &mut status,
            "resize" => &mut resize,
            _ => {
                stream.refuse().await;
                continue;
            }
        };
        *place = Some(stream);
    }
    let carrier = Carrier::Streams { stdout, stderr, status: status? };
    let incoming = |stream: Option<spdy::Stream>| stream.map(|stream| stream.incoming);
    Some(Talk {
        stdin: incoming(stdin),
        sizes: incoming(resize),
        mouth: Mouth { carrier, wants, is_json: version >= 4 },
    })
}

/// Hands on what the client says; the end of it is the end of what the program reads.
async fn feed(from: Option<mpsc::Receiver<Bytes>>, to: Option<Input>) {
    let (Some(mut from), Some(mut to)) = (from, to) else { return };
    while let Some(bytes) = from.recv().await {
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

/// Tells what a program says, to the end: that of the program, and of those that it left behind if they say something.
async fn tell(
    from: Option<Output>,
    (mouth, voice): (&Mouth, Voice),
    mut ended: watch::Receiver<bool>,
) -> Result<(), Gone> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; READ];
    loop {
        let silence = async {
            drop(ended.wait_for(|ended| *ended).await);
            tokio::time::sleep(LAST_WORDS).await;
        };
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            () = silence => return Ok(()),
        };
        // The end of a terminal is an error.
        match read {
            Ok(read) if read > 0 => mouth.say(voice, &buffer[..read]).await?,
            Ok(_) | Err(_) => return Ok(()),
        }
    }
}

/// Waits for the end of a program, and tells it how large its terminal is meanwhile.
async fn wait(process: &mut Process, sizes: Option<mpsc::Receiver<Bytes>>) -> io::Result<i32> {
    let mut sizes = Sizes::new(sizes);
    loop {
        let (columns, rows) = tokio::select! {
            code = process.wait() => return code,
            size = sizes.next() => size,
        };
        // A program that has ended meanwhile needs no size.
        drop(process.resize(columns, rows));
    }
}

/// The sizes of the client's terminal, as JSON in any parts.
struct Sizes {
    from: Option<mpsc::Receiver<Bytes>>,
    text: Vec<u8>,
}

impl Sizes {
    fn new(from: Option<mpsc::Receiver<Bytes>>) -> Self {
        Self { from, text: Vec::new() }
    }

    /// The next; never comes when there are no more.
    async fn next(&mut self) -> (u16, u16) {
        loop {
            if let Some(size) = size(&mut self.text) {
                return size;
            }
            let more = match &mut self.from {
                Some(from) => from.recv().await,
                None => std::future::pending().await,
            };
            match more {
                Some(more) => self.text.extend_from_slice(&more),
                None => self.from = None,
            }
        }
    }
}

/// Takes the first size from a text.
fn size(text: &mut Vec<u8>) -> Option<(u16, u16)> {
    const LONGEST: usize = 1024;
    while let Some(end) = text.iter().position(|byte| *byte == b'}') {
        let first: Vec<u8> = text.drain(..=end).collect();
        let Ok(size) = serde_json::from_slice::<Value>(&first) else { continue };
        let number = |name: &str| size[name].as_u64().and_then(|number| u16::try_from(number).ok());
        if let (Some(columns), Some(rows)) = (number("Width"), number("Height")) {
            return Some((columns, rows));
        }
    }
    if text.len() > LONGEST {
        text.clear();
    }
    None
}

impl Mouth {
    async fn say(&self, voice: Voice, bytes: &[u8]) -> Result<(), Gone> {
        let (channel, is_wanted) = match voice {
            Voice::Out => (STDOUT, self.wants.stdout),
            Voice::Error => (STDERR, self.wants.stderr),
        };
        if !is_wanted {
            return Ok(());
        }
        match &self.carrier {
            Carrier::Channels(form, out) => out.send(form.message(channel, bytes)).await.map_err(|_| Gone),
            Carrier::Streams { stdout, stderr, .. } => {
                let stream = if channel == STDOUT { stdout } else { stderr };
                match stream {
                    Some(stream) => stream.say(bytes).await,
                    None => Ok(()),
                }
            }
        }
    }

    async fn end(&self, outcome: &Outcome) {
        let text = outcome.text(self.is_json);
        match &self.carrier {
            Carrier::Channels(form, out) => {
                if !text.is_empty() {
                    drop(out.send(form.message(STATUS, text.as_bytes())).await);
                }
            }
            Carrier::Streams { stdout, stderr, status } => {
                if !text.is_empty() {
                    let _ = status.say(text.as_bytes()).await;
                }
                for stream in [Some(status), stdout.as_ref(), stderr.as_ref()].into_iter().flatten() {
                    stream.end().await;
                }
            }
        }
    }
}

impl Outcome {
    /// What the client is told; nothing of a success where it is told in words.
    fn text(&self, is_json: bool) -> String {
        let (message, reason, cause) = match self {
            Self::Success if is_json => return json!({"metadata": {}, "status": "Success"}).to_string(),
            Self::Success => return String::new(),
            Self::Code(words, code) => {
                let why = format!("error executing command [{}], exit code {code}", words.join(" "));
                (
                    format!("command terminated with non-zero exit code: {why}"),
                    "NonZeroExitCode",
                    json!({"reason": "ExitCode", "message": code.to_string()}),
                )
            }
            Self::Failed(why) => {
                (format!("Internal error occurred: {why}"), "InternalError", json!({"message": why}))
            }
        };
        if !is_json {
            return message;
        }
        let mut status = json!({"metadata": {}, "status": "Failure", "message": message, "reason": reason,
            "details": {"causes": [cause]}});
        if reason == "InternalError" {
            status["code"] = 500.into();
        }
        status.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_in_any_parts() {
        for (text, expected, rest) in [
            (r#"{"Width":80,"Height":24}"#, Some((80, 24)), ""),
            ("{\"Width\":80,\"Height\":24}\n{\"Wid", Some((80, 24)), "\n{\"Wid"),
            ("{\"Width\":80", None, "{\"Width\":80"),
            ("}{}garbage}{\"Width\":1,\"Height\":2}", Some((1, 2)), ""),
            (r#"{"Width":-1,"Height":70000}"#, None, ""),
        ] {
            let mut left = text.as_bytes().to_vec();
            assert_eq!(
                (size(&mut left), String::from_utf8(left).unwrap().as_str()),
                (expected, rest),
                "{text}"
            );
        }
        let mut endless = vec![b'x'; 5000];
        assert_eq!((size(&mut endless), endless.len()), (None, 0));
    }

    #[test]
    fn ends_are_told_as_kubelets_do() {
        let words = ["sh", "-c", "exit 3"].map(str::to_owned).to_vec();
        let code = Outcome::Code(words, 3);
        let failed = Outcome::Failed("no".to_owned());
        let message =
            "command terminated with non-zero exit code: error executing command [sh -c exit 3], exit code 3";
        for (outcome, is_json, expected) in [
            (&Outcome::Success, true, r#"{"metadata":{},"status":"Success"}"#.to_owned()),
            (&Outcome::Success, false, String::new()),
            (&code, false, message.to_owned()),
            (&failed, false, "Internal error occurred: no".to_owned()),
        ] {
            assert_eq!(outcome.text(is_json), expected, "{outcome:?}");
        }
        let told = |outcome: &Outcome| serde_json::from_str::<Value>(&outcome.text(true)).unwrap();
        assert_eq!(
            told(&code),
            json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "message": message,
                "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}})
        );
        assert_eq!(
            told(&failed),
            json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
                "message": "Internal error occurred: no", "details": {"causes": [{"message": "no"}]}})
        );
    }
}
