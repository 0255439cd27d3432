//! Headers of SPDY/3: names and values, compressed with a dictionary that both ends know.
//!
//! What is sent is not compressed: a stream of zlib may consist of stored blocks, and there is nothing worth more.

use std::fmt::Write;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::frame::Fault;

/// How far back a compressed text can point.
const WINDOW: usize = 32 * 1024;
/// The most bytes of the headers of one stream.
const MOST: usize = 64 * 1024;
/// The mark of a header of zlib that names a dictionary.
const HAS_DICTIONARY: u8 = 0x20;
/// The checksum of the dictionary.
const DICTIONARY: [u8; 4] = [0xe3, 0xc6, 0xa7, 0xc2];

/// Names in lower case, and their values.
pub(crate) type Headers = Vec<(String, String)>;

/// What the other end compressed so far.
pub(super) struct Reader {
    inflate: Box<DecompressorOxide>,
    window: Vec<u8>,
    at: usize,
    begun: bool,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { inflate: Box::new(DecompressorOxide::new()), window: vec![0; WINDOW], at: 0, begun: false }
    }

    /// Reads the headers of one frame. They have to be read in the order in which they were sent.
    pub(super) fn read(&mut self, mut compressed: &[u8]) -> Result<Headers, Fault> {
        if !self.begun {
            compressed = self.begin(compressed)?;
        }
        let text = self.inflate(compressed)?;
        headers(&text).ok_or(Fault("headers that end too early"))
    }

    /// Reads the two bytes with which zlib begins, and the checksum of the dictionary.
    fn begin<'a>(&mut self, compressed: &'a [u8]) -> Result<&'a [u8], Fault> {
        const NONE: Fault = Fault("headers that are not compressed as they should");
        let [method, flags, rest @ ..] = compressed else { return Err(NONE) };
        let sum = u16::from(*method) * 256 + u16::from(*flags);
        if method & 15 != 8 || sum % 31 != 0 {
            return Err(NONE);
        }
        self.begun = true;
        if flags & HAS_DICTIONARY == 0 {
            return Ok(rest);
        }
        let dictionary = dictionary();
        self.window[..dictionary.len()].copy_from_slice(&dictionary);
        self.at = dictionary.len();
        rest.strip_prefix(&DICTIONARY).ok_or(NONE)
    }

    fn inflate(&mut self, mut compressed: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut text = Vec::new();
        loop {
            let (status, read, written) = decompress(
                &mut self.inflate,
                compressed,
                &mut self.window,
                self.at,
                TINFL_FLAG_HAS_MORE_INPUT,
            );
            compressed = &compressed[read..];
            text.extend_from_slice(&self.window[self.at..self.at + written]);
            self.at = (self.at + written) % WINDOW;
            if text.len() > MOST {
                return Err(Fault("headers that are too long"));
            }
            if status == TINFLStatus::NeedsMoreInput {
                return Ok(text);
            }
            if status != TINFLStatus::HasMoreOutput {
                return Err(Fault("headers that cannot be read"));
            }
        }
    }
}

fn headers(mut text: &[u8]) -> Option<Headers> {
    let count = number(&mut text)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        let name = word(&mut text)?.to_ascii_lowercase();
        headers.push((name, word(&mut text)?));
    }
    Some(headers)
}

fn word(text: &mut &[u8]) -> Option<String> {
    let length = number(text)?;
    let (word, rest) = text.split_at_checked(length)?;
    *text = rest;
    Some(String::from_utf8_lossy(word).into_owned())
}

fn number(text: &mut &[u8]) -> Option<usize> {
    let (number, rest) = text.split_first_chunk()?;
    *text = rest;
    usize::try_from(u32::from_be_bytes(*number)).ok()
}

/// No headers, as a block that is not compressed, and the empty block after which what was read is handed on. `begins`: it is
/// the first that is sent.
pub(super) fn nothing(begins: bool) -> Vec<u8> {
    const BEGINNING: &[u8] = &[0x78, 0x01];
    const NOTHING: &[u8] = &[0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    if begins { [BEGINNING, NOTHING].concat() } else { NOTHING.to_vec() }
}

/// Section 2.6.10.1 of SPDY/3: words with their lengths, and a tail.
fn dictionary() -> Vec<u8> {
    let mut dictionary = Vec::new();
    for word in WORDS.split('|') {
        dictionary.extend_from_slice(&u32::try_from(word.len()).unwrap_or(0).to_be_bytes());
        dictionary.extend_from_slice(word.as_bytes());
    }
    let mut tail = String::from("100101201202205206300302303304305306307");
    // Statuses without words.
    for status in
        (402..=417).filter(|status| !matches!(status, 403 | 404)).chain(502..=505).filter(|s| *s != 503)
    {
        // A string takes everything.
        let _ = write!(tail, "{status}");
    }
    dictionary.extend_from_slice(tail.as_bytes());
    dictionary.extend_from_slice(TAIL.as_bytes());
    dictionary
}

const WORDS: &str = "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|\
    accept-ranges|age|allow|authorization|cache-control|connection|content-base|content-encoding|content-language|\
    content-length|content-location|content-md5|content-range|content-type|date|etag|expect|expires|from|host|if-match|\
    if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|location|max-forwards|pragma|\
    proxy-authenticate|proxy-authorization|range|referer|retry-after|server|te|trailer|transfer-encoding|upgrade|user-agent|\
    vary|via|warning|www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|public|set-cookie|keep-alive|origin";
const TAIL: &str = "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized\
    403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
    Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
    chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,\
    publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// Two blocks of one stream, as zlib makes them from these headers with the dictionary.
    const FIRST: &str = "78f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45e01c6061606100a4398b20d198094ade8c0600000000ffff";
    const SECOND: &str = "c2aa19540e2512d60b000000ffff";

    #[test]
    fn the_dictionary_is_that_of_spdy() {
        let dictionary = dictionary();
        let (mut low, mut high) = (1_u32, 0_u32);
        for byte in &dictionary {
            low = (low + u32::from(*byte)) % 65_521;
            high = (high + low) % 65_521;
        }
        assert_eq!((dictionary.len(), (high << 16 | low).to_be_bytes()), (1423, DICTIONARY));
    }

    #[test]
    fn headers_are_read_in_their_order() {
        let mut reader = Reader::new();
        let read = |reader: &mut Reader, hex: &str| {
            let headers = reader.read(&bytes(hex)).unwrap();
            headers.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(read(&mut reader, FIRST), "streamtype=error port=8080 requestid=0");
        assert_eq!(read(&mut reader, SECOND), "streamtype=data port=8080 requestid=0");
        // What this end sends can be read, too.
        let mut reader = Reader::new();
        assert_eq!(reader.read(&nothing(true)), Ok(Headers::new()));
        assert_eq!(reader.read(&nothing(false)), Ok(Headers::new()));
    }

    #[test]
    fn what_is_no_headers_is_refused() {
        // A block of zeros, compressed a thousand times over: 100 kB of them.
        let mut bomb = bytes("7801");
        bomb.extend(miniz_oxide::deflate::compress_to_vec(&[0; 100_000], 9));
        for compressed in [
            Vec::new(),
            bytes("78"),
            bytes("ffff"),
            bytes("78f9e3c6a7c3"),
            bytes("7801ff"),
            // Headers of which there should be more: 1 is announced.
            bytes("7801000400fbff00000001000000ffff"),
            // The end of a compressed text.
            bytes("7801010400fbff00000000"),
            bomb,
        ] {
            assert!(Reader::new().read(&compressed).is_err(), "{compressed:02x?}");
        }
    }
}
