//! A name looked up from a pod, as the pod's resolver does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use dns::wire::{Message, Name, Type, flag, write_query};
use sys::netns::Namespace;

/// Where pods ask.
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 53);

/// Answers the address of a name, asked for from within a pod.
pub(super) fn look_up(from: &Namespace, name: &str) -> Result<Ipv4Addr> {
    let parsed: Name = name.parse().map_err(|error| anyhow!("{name}: {error}"))?;
    let mut query = [0; 512];
    let len = write_query(&mut query, (7, flag::RECURSION_DESIRED), (parsed.as_wire(), Type::A), None);
    let query = query.get(..len.context("the query is too long")?).context("the query is too long")?;
    let answer = from.run(|| ask(query)).map_err(|error| anyhow!("failed to {error}"))?;
    let answer = answer.with_context(|| format!("asking {SERVER} for {name}"))?;
    let message = Message::read(&answer).map_err(|error| anyhow!("{error}"))?;
    for record in message.records() {
        let record = record.map_err(|error| anyhow!("{error}"))?;
        if record.kind == Type::A
            && let Some([a, b, c, d]) = answer.get(record.data_at..record.end)
        {
            return Ok(Ipv4Addr::new(*a, *b, *c, *d));
        }
    }
    bail!("{SERVER} does not know {name}")
}

fn ask(query: &[u8]) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.connect(SERVER)?;
    socket.send(query)?;
    let mut answer = vec![0; 1232];
    let len = socket.recv(&mut answer)?;
    answer.truncate(len);
    Ok(answer)
}
