//! The kernel behind [`Nftables`]: committing batches, reading a table back.

use model::Family;

use super::batch::{Batch, Sealed};
use super::wire;
use crate::Error;
use crate::netlink::{self, Message, Received, Socket, attributes, number, put_str, text};

/// Writing and reading nftables; the kernel, or a fake of it.
pub trait Nftables {
    /// Carries out a transaction, as a whole or not at all.
    fn commit(&mut self, batch: Batch) -> Result<(), CommitError>;

    /// Answers the names of all tables of a family.
    fn tables(&mut self, family: Family) -> Result<Vec<String>, Error>;

    /// Reads chains and sets of a table, without their rules and elements. `None`: there is no such table.
    fn read_table(&mut self, family: Family, name: &str) -> Result<Option<TableDump>, Error>;

    /// Hands every element of a set, named by table and set, on. After an [`Error::Interrupted`] the caller must forget what it got.
    fn read_elements(
        &mut self,
        family: Family,
        table_and_set: (&str, &str),
        each: &mut dyn FnMut(Element<'_>),
    ) -> Result<(), Error>;

    /// Hands every rule of a table on: its chain and its expressions, in order within a chain.
    fn read_rules(
        &mut self,
        family: Family,
        table: &str,
        each: &mut dyn FnMut(&str, &[KernelExpression<'_>]),
    ) -> Result<(), Error>;

    /// Answers whether missing elements can be deleted without an error (Linux 6.3).
    fn can_destroy(&self) -> bool;
}

/// Why a transaction was not carried out. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The kernel refused operations.
    #[error("write {} to the kernel: {}", plural(refused.len()), refused.first().map_or(String::new(), ToString::to_string))]
    Refused {
        /// Which and why, in order; at least one.
        refused: Vec<Refused>,
    },
    /// The kernel could not be asked, or its answer was lost: then it is not known whether the batch is in force.
    #[error(transparent)]
    Failed(#[from] Error),
}

fn plural(count: usize) -> String {
    if count == 1 { "an operation".to_owned() } else { format!("{count} operations") }
}

/// One operation that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Number of the operation in its batch.
    pub operation: usize,
    /// Error number, positive.
    pub errno: i32,
    /// The kernel's explanation, often empty.
    pub text: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.errno))?;
        // Who may not write at all is told so for the whole batch.
        if self.errno == libc::EPERM {
            f.write_str(": another process owns the table")?;
        }
        if self.text.is_empty() { Ok(()) } else { write!(f, " ({})", self.text) }
    }
}

/// What a table holds besides rules and elements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableDump {
    /// Its comment.
    pub comment: Option<String>,
    /// Its chains.
    pub chains: Vec<ChainDump>,
    /// Its sets and maps, without those that belong to one rule only.
    pub sets: Vec<SetDump>,
}

/// One chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainDump {
    /// Its name.
    pub name: String,
    /// Hook number and priority of a base chain.
    pub hook: Option<(u32, i32)>,
}

/// One set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetDump {
    /// Its name.
    pub name: String,
    /// The kernel's flags.
    pub flags: u32,
    /// Bytes of a key.
    pub key_len: u32,
    /// Bytes of a value; verdicts have none.
    pub data_len: u32,
    /// Life of elements in milliseconds; 0: for ever.
    pub timeout_ms: u64,
    /// Whether each element counts the packets that find it.
    pub counted: bool,
}

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// The end of its range.
    pub key_end: Option<&'a [u8]>,
    /// What it leads to.
    pub data: ElementData<'a>,
    /// How many packets found it, of sets that count.
    pub packets: Option<u64>,
    /// Its user data; [`Element::comment`] reads it.
    user_data: &'a [u8],
}

/// One expression of a rule as the kernel gives it back.
#[derive(Debug, Clone)]
pub struct KernelExpression<'a> {
    /// The kernel's name of it.
    pub name: &'a str,
    attributes: Vec<(u16, &'a [u8])>,
}

impl<'a> KernelExpression<'a> {
    /// Answers an attribute.
    pub fn bytes(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes.iter().find(|(found, _)| *found == kind).map(|(_, value)| *value)
    }

    /// Answers an attribute that is a number.
    pub fn number(&self, kind: u16) -> Option<u32> {
        self.bytes(kind).map(number)
    }

    /// Answers an attribute that is a name.
    pub fn text(&self, kind: u16) -> Option<&'a str> {
        self.bytes(kind).map(text)
    }

    /// Answers an attribute that is the content of a register.
    pub fn data(&self, kind: u16) -> Option<&'a [u8]> {
        self.bytes(kind).and_then(inner)
    }
}

/// Answers the verdict that an `immediate` expression sets.
pub fn verdict_of<'a>(immediate: &KernelExpression<'a>) -> ElementData<'a> {
    immediate.bytes(2).map_or(ElementData::None, read_data)
}

pub(super) fn read_expressions(list: &[u8]) -> Vec<KernelExpression<'_>> {
    let read = |(_, element)| {
        let value = |wanted| attributes(element).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let name = value(1).map(text).unwrap_or_default();
        KernelExpression { name, attributes: attributes(value(2).unwrap_or_default()).collect() }
    };
    attributes(list).map(read).collect()
}

/// What an element leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementData<'a> {
    /// Nothing.
    None,
    /// A value.
    Value(&'a [u8]),
    /// A verdict with the chain it goes to.
    Verdict(i32, Option<&'a str>),
}

impl Element<'_> {
    /// Answers the comment of the element.
    pub fn comment(&self) -> Option<String> {
        wire::read_comment(0, self.user_data)
    }

    /// Answers the chain of a `goto`.
    pub fn goto(&self) -> Option<&str> {
        match self.data {
            ElementData::Verdict(wire::VERDICT_GOTO, chain) => chain,
            ElementData::Verdict(..) | ElementData::None | ElementData::Value(_) => None,
        }
    }

    /// Answers whether it drops.
    pub fn is_drop(&self) -> bool {
        self.data == ElementData::Verdict(wire::VERDICT_DROP, None)
    }
}

/// The kernel's nftables in the network namespace in which it was opened.
pub struct NftSocket {
    socket: Socket,
    can_destroy: bool,
}

impl NftSocket {
    /// Answers how many transactions there were in this network namespace; it wraps.
    pub fn generation(&mut self) -> Result<u32, Error> {
        let mut generation = 0;
        let request = Message::new(wire::kind(wire::GET_GENERATION), &wire::header(0, 0));
        let result = self.socket.ask(request, "count transactions", &mut |message| {
            let body = message.payload.get(4..).unwrap_or_default();
            let value = attributes(body).find(|(kind, _)| *kind == 1).map(|(_, value)| value);
            generation = value.map_or(generation, number);
        });
        result.map_err(name_missing_kernel)?;
        Ok(generation)
    }

    /// Opens the kernel's nftables for the network namespace of the calling thread.
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open(libc::NETLINK_NETFILTER).map_err(name_missing_kernel)?;
        let release = rustix::system::uname();
        let mut parts =
            release.release().to_str().unwrap_or_default().split(['.', '-']).map(str::parse::<u32>);
        let version = (parts.next().and_then(Result::ok), parts.next().and_then(Result::ok));
        let can_destroy = version >= (Some(6), Some(3));
        let mut opened = Self { socket, can_destroy };
        // Fails early and clearly where nothing could ever be written.
        opened.tables(Family::V4).map_err(name_missing_kernel)?;
        Ok(opened)
    }

    /// Answers the port by which notifications name this socket.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    fn dump(
        &mut self,
        message: u16,
        (family, write): (Family, WriteAttributes<'_>),
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Error> {
        const WHAT: &str = "nftables";
        let header = wire::header(wire::number(family), 0);
        let request = Message::new(wire::kind(message), &header).attributes(write);
        let mut hand_on = |received: &Received<'_>| {
            if let Some(body) = received.payload.get(4..) {
                each(body);
            }
            Ok(())
        };
        self.socket.dump(request, WHAT, &mut hand_on).map_err(name_missing)
    }

    /// Throws away what an earlier, failed conversation left behind.
    fn drain(&mut self) -> Result<(), Error> {
        while self.socket.wait(std::time::Duration::ZERO)? {
            match self.socket.receive() {
                Ok(_) | Err(Error::Lost) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn answers(&mut self, batch: &Sealed) -> Result<(), CommitError> {
        let mut refused = Vec::new();
        let mut acknowledged = false;
        // The kernel has worked when `send` returns, so every answer is here already.
        while self.socket.wait(std::time::Duration::ZERO)? {
            for message in netlink::messages(self.socket.receive()?) {
                let Some(answer) = message?.error()? else { continue };
                if answer.errno == 0 {
                    acknowledged |= answer.sequence == batch.messages();
                    continue;
                }
                let Some(operation) = batch.operation(answer.sequence, answer.offset) else {
                    return Err(name_missing(Error::Refused {
                        what: "write to nftables".to_owned(),
                        errno: answer.errno,
                        text: answer.text,
                    })
                    .into());
                };
                refused.push(Refused { operation, errno: answer.errno, text: answer.text });
            }
        }
        if !refused.is_empty() {
            return Err(CommitError::Refused { refused });
        }
        if acknowledged { Ok(()) } else { Err(Error::Lost.into()) }
    }
}

/// Writes the attributes of a request.
type WriteAttributes<'a> = &'a dyn Fn(&mut Vec<u8>);

/// Says what a process may lack.
fn name_missing(error: Error) -> Error {
    match error.errno() {
        Some(libc::EPERM | libc::EACCES) => Error::NotPermitted { what: "use nftables" },
        Some(_) | None => error,
    }
}

/// Says what a kernel may lack: without nf_tables it does not know the message (`EINVAL`), without nfnetlink not even
/// the socket. Only the very first request can tell; later the same numbers mean other things.
fn name_missing_kernel(error: Error) -> Error {
    match error.errno() {
        Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => {
            Error::NoNfTables
        }
        Some(_) | None => error,
    }
}

impl Nftables for NftSocket {
    fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        let batch = batch.seal();
        self.drain()?;
        // An error for each message, with its explanation and the request's header, takes less than 512 bytes.
        self.socket.make_room(batch.bytes.len() + 64 * 1024, batch.messages() as usize * 512 + 1024 * 1024);
        self.socket.send(&batch.bytes).map_err(name_missing)?;
        self.answers(&batch)
    }

    fn tables(&mut self, family: Family) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        self.dump(wire::GET_TABLE, (family, &|_| {}), &mut |body| {
            names.extend(
                attributes(body).find(|(kind, _)| *kind == 1).map(|(_, value)| text(value).to_owned()),
            );
        })?;
        names.sort();
        Ok(names)
    }

    fn read_table(&mut self, family: Family, name: &str) -> Result<Option<TableDump>, Error> {
        let mut found = None;
        self.dump(wire::GET_TABLE, (family, &|_| {}), &mut |body| {
            let value = |wanted| attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            if value(1).map(text) == Some(name) {
                found = Some(TableDump {
                    comment: value(6).and_then(|v| wire::read_comment(0, v)),
                    ..TableDump::default()
                });
            }
        })?;
        let Some(mut table) = found else { return Ok(None) };
        self.dump(wire::GET_CHAIN, (family, &|out| put_str(out, 1, name)), &mut |body| {
            if let Some(chain) = read_chain(body, name) {
                table.chains.push(chain);
            }
        })?;
        self.dump(wire::GET_SET, (family, &|out| put_str(out, 1, name)), &mut |body| {
            if let Some(set) = read_set(body, name) {
                table.sets.push(set);
            }
        })?;
        table.chains.sort_by(|a, b| a.name.cmp(&b.name));
        table.sets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(table))
    }

    fn read_elements(
        &mut self,
        family: Family,
        (table, set): (&str, &str),
        each: &mut dyn FnMut(Element<'_>),
    ) -> Result<(), Error> {
        let name = |out: &mut Vec<u8>| {
            put_str(out, 1, table);
            put_str(out, 2, set);
        };
        self.dump(wire::GET_ELEMENT, (family, &name), &mut |body| {
            let Some((_, list)) = attributes(body).find(|(kind, _)| *kind == 3) else { return };
            for (_, element) in attributes(list) {
                each(read_element(element));
            }
        })
    }

    fn read_rules(
        &mut self,
        family: Family,
        table: &str,
        each: &mut dyn FnMut(&str, &[KernelExpression<'_>]),
    ) -> Result<(), Error> {
        self.dump(wire::GET_RULE, (family, &|out| put_str(out, 1, table)), &mut |body| {
            let value = |wanted| attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            // Old kernels dump the rules of all tables.
            if let (Some(found), Some(chain)) = (value(1).map(text), value(2).map(text))
                && found == table
            {
                each(chain, &read_expressions(value(4).unwrap_or_default()));
            }
        })
    }

    fn can_destroy(&self) -> bool {
        self.can_destroy
    }
}

/// Reads a chain; `None` when it belongs to another table (old kernels dump all).
fn read_chain(body: &[u8], table: &str) -> Option<ChainDump> {
    let value = |wanted| attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    if value(1).map(text) != Some(table) {
        return None;
    }
    let hook = value(4).map(|hook| {
        let value =
            |wanted| attributes(hook).find(|(kind, _)| *kind == wanted).map_or(0, |(_, value)| number(value));
        (value(1), value(2).cast_signed())
    });
    Some(ChainDump { name: text(value(3)?).to_owned(), hook })
}

fn read_set(body: &[u8], table: &str) -> Option<SetDump> {
    const ANONYMOUS: u32 = 1;
    let value = |wanted| attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let word = |wanted| value(wanted).map_or(0, number);
    if value(1).map(text) != Some(table) || word(3) & ANONYMOUS != 0 {
        return None;
    }
    let timeout_ms = value(11).and_then(|v| v.first_chunk::<8>()).map_or(0, |b| u64::from_be_bytes(*b));
    let name = text(value(2)?).to_owned();
    // The kernel answers its own size of a verdict.
    let data_len = if word(6) == wire::DATA_VERDICT { 0 } else { word(7) };
    let counted = is_counted(&value);
    Some(SetDump { name, flags: word(3), key_len: word(5), data_len, timeout_ms, counted })
}

/// Whether a set with these attributes has a counter in every element: the kernel tells of one expression in another
/// attribute than of several.
pub(super) fn is_counted<'a>(value: &dyn Fn(u16) -> Option<&'a [u8]>) -> bool {
    let several = value(18).and_then(|list| attributes(list).next()).map(|(_, expression)| expression);
    value(17).or(several).is_some_and(|expression| packets(expression).is_some())
}

/// The packets of a counter; `None`: another expression. A counter that has none yet has so many.
fn packets(expression: &[u8]) -> Option<u64> {
    let value = |wanted| attributes(expression).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    value(1).filter(|name| text(name) == "counter")?;
    let packets = attributes(value(2).unwrap_or_default()).find(|(kind, _)| *kind == 2);
    let packets =
        packets.and_then(|(_, bytes)| bytes.first_chunk::<8>()).map(|bytes| u64::from_be_bytes(*bytes));
    Some(packets.unwrap_or(0))
}

pub(super) fn read_element(element: &[u8]) -> Element<'_> {
    let mut read =
        Element { key: &[], key_end: None, data: ElementData::None, packets: None, user_data: &[] };
    for (kind, value) in attributes(element) {
        match kind {
            1 => read.key = inner(value).unwrap_or_default(),
            10 => read.key_end = inner(value),
            2 => read.data = read_data(value),
            6 => read.user_data = value,
            7 => read.packets = packets(value),
            _ => {}
        }
    }
    read
}

fn inner(value: &[u8]) -> Option<&[u8]> {
    attributes(value).find(|(kind, _)| *kind == 1).map(|(_, bytes)| bytes)
}

fn read_data(value: &[u8]) -> ElementData<'_> {
    if let Some(bytes) = inner(value) {
        return ElementData::Value(bytes);
    }
    let Some((_, verdict)) = attributes(value).find(|(kind, _)| *kind == 2) else { return ElementData::None };
    let mut code = 0;
    let mut chain = None;
    for (kind, value) in attributes(verdict) {
        match kind {
            1 => code = number(value).cast_signed(),
            2 => chain = Some(text(value)),
            _ => {}
        }
    }
    ElementData::Verdict(code, chain)
}
