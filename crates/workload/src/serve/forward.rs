//! Connections to the ports of a pod: pairs of streams of SPDY, itself perhaps within a WebSocket, or pairs of channels.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::channels::{Channels, Form, Messages};
use super::spdy::{self, Gone, Stream};
use super::websocket::{NORMAL, binary, close};
use super::wire::{Connection, Writing};
use crate::runtime::Runtime;

/// How much of what a program says is taken at once.
const READ: usize = 32 * 1024;
/// How many parts wait.
const WAITING: usize = 32;
/// How many streams may wait for the other one of their pair.
const MOST_SINGLE: usize = 64;
/// How much may be on its way between a WebSocket and the streams in it.
const TUNNEL: usize = 64 * 1024;

/// A pod to whose ports somebody connects.
#[derive(Clone)]
pub(super) struct Forward {
    pub(super) runtime: Runtime,
    pub(super) uid: String,
    /// The pod's name and namespace, for people.
    pub(super) pod: String,
}

impl Forward {
    /// Connects pairs of streams: one for data, one for what goes wrong.
    pub(super) async fn over_spdy(self, connection: impl Connection) {
        let (read, write) = tokio::io::split(connection);
        let writing = Writing::new(write);
        let (opened, streams) = mpsc::channel(WAITING);
        let reading = spdy::read(read, writing.out(), opened);
        writing.hold(reading, self.pair_up(streams)).await;
    }

    /// Does the same within the messages of a WebSocket.
    pub(super) async fn over_tunnel(self, connection: impl Connection) {
        let (near, far) = tokio::io::duplex(TUNNEL);
        let (mut near_read, mut near_write) = tokio::io::split(near);
        let (read, write) = tokio::io::split(connection);
        let writing = Writing::new(write);
        let out = writing.out();
        let mut messages = Messages::new(read, out.clone());
        let reading = async move {
            while let Some((_, bytes)) = messages.next().await {
                if near_write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        };
        let talking = async move {
            let mut buffer = vec![0; READ];
            while let Ok(read @ 1..) = near_read.read(&mut buffer).await {
                if out.send(binary(&[&buffer[..read]])).await.is_err() {
                    return;
                }
            }
            drop(out.send(close(NORMAL)).await);
        };
        let outside = writing.hold(reading, talking);
        tokio::pin!(outside);
        // The streams end when the WebSocket does; the WebSocket has something to say after the streams have ended.
        tokio::select! {
            () = &mut outside => {}
            () = self.over_spdy(far) => outside.await,
        }
    }

    /// Connects one port for each pair of channels.
    pub(super) async fn over_channels(self, connection: impl Connection, (form, ports): (Form, Vec<u16>)) {
        let (read, write) = tokio::io::split(connection);
        let writing = Writing::new(write);
        let out = writing.out();
        let messages = Messages::new(read, out.clone());
        let (mut inward, mut connections) = (Vec::new(), JoinSet::new());
        for (number, port) in (0_u8..).step_by(2).zip(ports) {
            let (sender, incoming) = mpsc::channel(WAITING);
            inward.push(Some(sender));
            let pair = Pair::Channels { form, out: out.clone(), number };
            connections.spawn(self.clone().connect(port, pair, incoming));
        }
        let talking = async move {
            while connections.join_next().await.is_some() {}
            drop(out.send(close(NORMAL)).await);
        };
        writing.hold(listen(messages, Channels::new(form), inward), talking).await;
    }

    async fn pair_up(self, mut streams: mpsc::Receiver<Stream>) {
        let mut single: HashMap<String, Stream> = HashMap::new();
        let mut connections = JoinSet::new();
        loop {
            let stream = tokio::select! {
                stream = streams.recv() => stream,
                Some(_) = connections.join_next() => continue,
            };
            let Some(stream) = stream else { return };
            let Ok(port) = stream.header("port").parse::<u16>() else {
                stream.refuse().await;
                continue;
            };
            let is_data = match stream.header("streamtype") {
                "data" => true,
                "error" => false,
                _ => {
                    stream.refuse().await;
                    continue;
                }
            };
            let key = format!("{port} {}", stream.header("requestid"));
            let Some(other) = single.remove(&key) else {
                if single.len() < MOST_SINGLE {
                    single.insert(key, stream);
                } else {
                    stream.refuse().await;
                }
                continue;
            };
            let (mut data, error) = if is_data { (stream, other) } else { (other, stream) };
            let (_, nothing) = mpsc::channel(1);
            let incoming = std::mem::replace(&mut data.incoming, nothing);
            connections.spawn(self.clone().connect(port, Pair::Streams { data, error }, incoming));
        }
    }

    async fn connect(self, port: u16, pair: Pair, incoming: mpsc::Receiver<Bytes>) {
        pair.begin(port).await;
        match self.runtime.dial(&self.uid, port).await {
            Ok(stream) => {
                tokio::select! {
                    () = copy(stream, &pair, incoming) => {}
                    () = pair.given_up() => {}
                }
                pair.end().await;
            }
            Err(error) => {
                let message = format!(
                    "error forwarding port {port} to pod {}, uid {}: failed to connect to localhost:{port} inside \
                     the pod's network: {error}",
                    self.pod, self.uid
                );
                pair.complain(&message).await;
                pair.end().await;
            }
        }
    }
}

/// Copies both ways, until the program has no more to say.
async fn copy(mut stream: TcpStream, pair: &Pair, mut incoming: mpsc::Receiver<Bytes>) {
    let (mut read, mut write) = stream.split();
    let inward = async {
        while let Some(bytes) = incoming.recv().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The program learns that nothing comes any more, and may still answer.
        drop(write.shutdown().await);
    };
    let outward = async {
        let mut buffer = vec![0; READ];
        while let Ok(read @ 1..) = read.read(&mut buffer).await {
            if pair.say(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::pin!(outward);
    tokio::select! {
        () = &mut outward => {}
        () = inward => outward.await,
    }
}

/// Hears a client that talks in channels: those with even numbers are data.
async fn listen<R: tokio::io::AsyncRead + Unpin>(
    mut messages: Messages<R>,
    mut channels: Channels,
    mut inward: Vec<Option<mpsc::Sender<Bytes>>>,
) {
    while let Some((begins, bytes)) = messages.next().await {
        let Ok(heard) = channels.hear(begins, bytes) else { return };
        let Some((channel, bytes)) = heard.filter(|(channel, bytes)| channel % 2 == 0 && !bytes.is_empty())
        else {
            continue;
        };
        let place = inward.get_mut(usize::from(channel / 2));
        if let Some(Some(sender)) = place {
            // Nobody listens any more: the client may go on.
            drop(sender.send(bytes).await);
        }
    }
}

/// The client's end of a connection.
enum Pair {
    Streams { data: Stream, error: Stream },
    Channels { form: Form, out: super::wire::Out, number: u8 },
}

impl Pair {
    /// Channels begin with the number of the port.
    async fn begin(&self, port: u16) {
        match self {
            Self::Streams { .. } => {}
            Self::Channels { form, out, number } => {
                for channel in [*number, number + 1] {
                    drop(out.send(form.message(channel, &port.to_le_bytes())).await);
                }
            }
        }
    }

    /// Waits until the client gives the connection up.
    async fn given_up(&self) {
        match self {
            Self::Streams { data, .. } => data.given_up().await,
            // The connection goes when the whole WebSocket does.
            Self::Channels { .. } => std::future::pending().await,
        }
    }

    async fn say(&self, bytes: &[u8]) -> Result<(), Gone> {
        match self {
            Self::Streams { data, .. } => data.say(bytes).await,
            Self::Channels { form, out, number } => {
                out.send(form.message(*number, bytes)).await.map_err(|_| Gone)
            }
        }
    }

    async fn complain(&self, message: &str) {
        // Who is gone hears nothing.
        match self {
            Self::Streams { error, .. } => {
                let _ = error.say(message.as_bytes()).await;
            }
            Self::Channels { form, out, number } => {
                drop(out.send(form.message(number + 1, message.as_bytes())).await);
            }
        }
    }

    async fn end(&self) {
        match self {
            Self::Streams { data, error } => {
                data.end().await;
                error.end().await;
            }
            // A channel has no end of its own.
            Self::Channels { .. } => {}
        }
    }
}
