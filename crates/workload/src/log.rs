//! What containers said, from the files that their keepers write: lines of `TIME STREAM F|P TEXT`.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;

use crate::time::{Time, parse};

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How many pieces may wait for who reads.
const WAITING: usize = 64;

/// What of a log is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Whether to go on until the container ends.
    pub follow: bool,
    /// Whether the run before the newest is meant.
    pub previous: bool,
    /// Whether each line begins with its time.
    pub timestamps: bool,
    /// Only what was said from this moment on.
    pub since: Option<Time>,
    /// Only so many lines from the end.
    pub tail: Option<usize>,
    /// No more bytes than this.
    pub limit: Option<u64>,
    /// Only what was said there.
    pub stream: Option<Stream>,
}

/// Where a program said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// On standard output.
    Out,
    /// On standard error.
    Error,
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where.
    pub stream: Stream,
    /// What, with the end of its line if that was said.
    pub text: Bytes,
}

/// Tells a log until its end, or until nobody listens.
pub(crate) async fn tell(run: &Path, options: LogOptions) -> io::Result<mpsc::Receiver<Piece>> {
    let file = match File::open(run.join("log.before")).await {
        Ok(before) => before,
        Err(_) => File::open(run.join("log")).await?,
    };
    let (sender, pieces) = mpsc::channel(WAITING);
    let reader = Reader { file: BufReader::new(file), run: run.to_owned(), line: Vec::new(), inside: false };
    tokio::spawn(reader.tell(options, sender));
    Ok(pieces)
}

/// Tells what is said from now on.
pub(crate) async fn tell_from_now(run: &Path) -> io::Result<mpsc::Receiver<Piece>> {
    let mut file = File::open(run.join("log")).await?;
    file.seek(io::SeekFrom::End(0)).await?;
    let (sender, pieces) = mpsc::channel(WAITING);
    let reader = Reader { file: BufReader::new(file), run: run.to_owned(), line: Vec::new(), inside: false };
    tokio::spawn(reader.tell(LogOptions { follow: true, ..LogOptions::default() }, sender));
    Ok(pieces)
}

struct Reader {
    file: BufReader<File>,
    run: PathBuf,
    line: Vec<u8>,
    /// Whether what comes continues a line.
    inside: bool,
}

impl Reader {
    async fn tell(mut self, options: LogOptions, sender: mpsc::Sender<Piece>) {
        let mut left = options.limit.unwrap_or(u64::MAX);
        let mut last = VecDeque::new();
        let mut seeks_end = options.tail.is_some();
        loop {
            match self.next(&options).await {
                Ok(Some(piece)) if seeks_end => {
                    last.push_back(piece);
                    keep_lines(&mut last, options.tail.unwrap_or(usize::MAX));
                    continue;
                }
                Ok(Some(piece)) => last.push_back(piece),
                Ok(None) => seeks_end = false,
                Err(_) => return,
            }
            let is_end = last.is_empty();
            while let Some(mut piece) = last.pop_front() {
                let length = u64::try_from(piece.text.len()).unwrap_or(u64::MAX);
                piece.text.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                left = left.saturating_sub(length);
                if sender.send(piece).await.is_err() || left == 0 {
                    return;
                }
            }
            if is_end && !self.may_grow(&options, &sender).await {
                return;
            }
        }
    }

    /// Waits for more; answers whether there can be some.
    async fn may_grow(&mut self, options: &LogOptions, sender: &mpsc::Sender<Piece>) -> bool {
        // Looked at before the log is read once more: all that was said is in it then.
        let has_ended = self.run.join("exit.json").exists();
        if !options.follow || sender.is_closed() {
            return false;
        }
        if has_ended {
            let there = self.file.fill_buf().await;
            return there.is_ok_and(|there| !there.is_empty());
        }
        tokio::time::sleep(LOOK).await;
        true
    }

    /// The next piece that is wanted; `None` where there is none yet.
    async fn next(&mut self, options: &LogOptions) -> io::Result<Option<Piece>> {
        loop {
            if self.line.last() != Some(&b'\n') {
                self.file.read_until(b'\n', &mut self.line).await?;
            }
            if self.line.last() != Some(&b'\n') {
                if self.turn_page().await? {
                    continue;
                }
                // Half a line: the keeper is writing it.
                return Ok(None);
            }
            let line = std::mem::take(&mut self.line);
            let Some(read) = Line::read(&line) else { continue };
            let begins = !std::mem::replace(&mut self.inside, !read.is_whole);
            if options.stream.is_some_and(|stream| stream != read.stream) {
                continue;
            }
            if options.since.is_some_and(|since| parse(read.time).is_some_and(|time| time < since)) {
                continue;
            }
            let mut text = Vec::with_capacity(line.len());
            if options.timestamps && begins {
                text.extend_from_slice(read.time.as_bytes());
                text.push(b' ');
            }
            text.extend_from_slice(read.text);
            return Ok(Some(Piece { stream: read.stream, text: text.into() }));
        }
    }

    /// Goes on with the newest file, if it is another one. The one before is complete then.
    async fn turn_page(&mut self) -> io::Result<bool> {
        let Ok(newest) = File::open(self.run.join("log")).await else { return Ok(false) };
        let (here, there) = (self.file.get_ref().metadata().await?, newest.metadata().await?);
        if here.ino() == there.ino() {
            return Ok(false);
        }
        // What was written between the last read and the turn of the page.
        self.file.read_until(b'\n', &mut self.line).await?;
        if self.line.last() != Some(&b'\n') {
            self.line.clear();
            self.file = BufReader::new(newest);
        }
        Ok(true)
    }
}

/// Drops whole lines from the front until no more than `count` are left.
fn keep_lines(pieces: &mut VecDeque<Piece>, count: usize) {
    let ends = |piece: &Piece| piece.text.last() == Some(&b'\n');
    let open = usize::from(pieces.back().is_some_and(|last| !ends(last)));
    let mut lines = pieces.iter().filter(|piece| ends(piece)).count() + open;
    while lines > count {
        match pieces.pop_front() {
            Some(piece) if ends(&piece) => lines -= 1,
            Some(_) => {}
            None => return,
        }
    }
}

struct Line<'a> {
    time: &'a str,
    stream: Stream,
    is_whole: bool,
    /// With the end of the line, if it is whole.
    text: &'a [u8],
}

impl<'a> Line<'a> {
    fn read(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        let stream = if parts.next()? == b"stderr" { Stream::Error } else { Stream::Out };
        let is_whole = parts.next()? == b"F";
        let text = parts.next()?;
        let text = if is_whole { text } else { text.strip_suffix(b"\n").unwrap_or(text) };
        Some(Self { time, stream, is_whole, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:01.000000000Z stdout F one\n2026-01-01T00:00:02.000000000Z stderr F two\n\
        2026-01-01T00:00:03.000000000Z stdout P thr\n2026-01-01T00:00:03.500000000Z stdout F ee \n\
        2026-01-01T00:00:04.000000000Z stdout F \n2026-01-01T00:00:05.000000000Z stdout P end\n";

    fn check(options: LogOptions, expected: &str) {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("signalbox-log-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        // In two files, as when the first was full.
        let (before, now) = LOG.split_at(LOG.find("2026-01-01T00:00:03.5").unwrap());
        std::fs::write(folder.join("log.before"), before).unwrap();
        std::fs::write(folder.join("log"), now).unwrap();
        std::fs::write(folder.join("exit.json"), "{}").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let shown = format!("{options:?}");
        let said = runtime.block_on(async {
            let mut pieces = tell(&folder, options).await.unwrap();
            let mut said = Vec::new();
            while let Some(piece) = pieces.recv().await {
                said.extend_from_slice(&piece.text);
            }
            said
        });
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(String::from_utf8_lossy(&said), expected, "{shown}");
    }

    #[test]
    fn logs_are_told_as_kubectl_wants_them() {
        let all = LogOptions::default();
        check(all.clone(), "one\ntwo\nthree \n\nend");
        check(LogOptions { follow: true, ..all.clone() }, "one\ntwo\nthree \n\nend");
        check(LogOptions { stream: Some(Stream::Error), ..all.clone() }, "two\n");
        check(LogOptions { tail: Some(3), ..all.clone() }, "three \n\nend");
        check(LogOptions { tail: Some(0), ..all.clone() }, "");
        check(LogOptions { tail: Some(9), limit: Some(5), ..all.clone() }, "one\nt");
        let since = parse("2026-01-01T00:00:03.2Z");
        check(LogOptions { since, ..all.clone() }, "ee \n\nend");
        check(
            LogOptions { timestamps: true, tail: Some(3), ..all },
            "2026-01-01T00:00:03.000000000Z three \n2026-01-01T00:00:04.000000000Z \n\
             2026-01-01T00:00:05.000000000Z end",
        );
    }
}
