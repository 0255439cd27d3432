//! How a request becomes a connection of frames: WebSocket or SPDY, and which protocol in it.

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::refusal::Refusal;
use super::websocket;

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// What a connection will speak, and the protocol in it; empty where the client names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    WebSocket(&'static str),
    Spdy(&'static str),
}

/// Finds out what both sides speak, the client's first wish first, and answers the headers that say so.
pub(super) fn negotiate(
    headers: &HeaderMap,
    websocket: &[&'static str],
    spdy: &[&'static str],
) -> Result<(Speech, HeaderMap), Refusal> {
    let upgrade = words(headers, &UPGRADE).into_iter().next().unwrap_or_default();
    let asks = words(headers, &CONNECTION).iter().any(|word| word.eq_ignore_ascii_case("upgrade"));
    let mut answer = HeaderMap::new();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if asks && upgrade.eq_ignore_ascii_case("websocket") {
        let wishes = words(headers, &SEC_WEBSOCKET_PROTOCOL);
        let protocol = choose(&wishes, websocket)?;
        let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| bad("missing Sec-WebSocket-Key"))?;
        let accepted = HeaderValue::try_from(websocket::accept(key.as_bytes()));
        answer.insert(SEC_WEBSOCKET_ACCEPT, accepted.map_err(|_| bad("the key cannot be answered"))?);
        answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
        if !wishes.is_empty() {
            answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        return Ok((Speech::WebSocket(protocol), answer));
    }
    if asks && upgrade.eq_ignore_ascii_case("SPDY/3.1") {
        let wishes = words(headers, &STREAM_PROTOCOL);
        let protocol = choose(&wishes, spdy)?;
        answer.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        if !wishes.is_empty() {
            answer.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
        }
        return Ok((Speech::Spdy(protocol), answer));
    }
    Err(bad("missing upgrade headers in request"))
}

fn bad(why: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, format!("unable to upgrade: {why}"))
}

/// The words of a header that may be there more than once.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty()).collect()
}

/// Very old clients name no protocol.
fn choose(wishes: &[&str], known: &[&'static str]) -> Result<&'static str, Refusal> {
    if wishes.is_empty() {
        return Ok("");
    }
    let found = wishes.iter().find_map(|wish| known.iter().find(|known| *known == wish));
    found.copied().ok_or_else(|| {
        let why = format!(
            "unable to upgrade: unable to negotiate protocol: client supports {wishes:?}, server accepts {known:?}"
        );
        Refusal::new(StatusCode::FORBIDDEN, why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &str, expected: &str) {
        let mut headers = HeaderMap::new();
        for line in lines.split('\n') {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        let found = match negotiate(&headers, &["v5", "v4"], &["v4", "v3"]) {
            Ok((speech, answer)) => {
                let mut said: Vec<String> = answer
                    .iter()
                    .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                    .collect();
                said.sort();
                format!("{speech:?}, {}", said.join(", "))
            }
            Err(refusal) => format!("{} {}", refusal.code.as_u16(), refusal.text),
        };
        assert_eq!(found, expected, "{lines}");
    }

    #[test]
    fn what_both_speak_is_found() {
        check(
            "Connection: keep-alive, upgrade\nUpgrade: WebSocket\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Protocol: v9, v5\n\
             Sec-WebSocket-Protocol: v4",
            "WebSocket(\"v5\"), connection: Upgrade, sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=, \
             sec-websocket-protocol: v5, upgrade: websocket",
        );
        check(
            "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "WebSocket(\"\"), connection: Upgrade, sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=, upgrade: websocket",
        );
        check(
            "Connection: Upgrade\nUpgrade: SPDY/3.1\nX-Stream-Protocol-Version: v3\nX-Stream-Protocol-Version: v4",
            "Spdy(\"v3\"), connection: Upgrade, upgrade: SPDY/3.1, x-stream-protocol-version: v3",
        );
        check("Connection: Upgrade\nUpgrade: SPDY/3.1", "Spdy(\"\"), connection: Upgrade, upgrade: SPDY/3.1");
    }

    #[test]
    fn what_nobody_speaks_is_refused() {
        let missing = "400 unable to upgrade: missing upgrade headers in request";
        check("Host: x", missing);
        check("Upgrade: SPDY/3.1", missing);
        check("Connection: Upgrade\nUpgrade: h2c", missing);
        check("Connection: Upgrade\nUpgrade: websocket", "400 unable to upgrade: missing Sec-WebSocket-Key");
        check(
            "Connection: Upgrade\nUpgrade: SPDY/3.1\nX-Stream-Protocol-Version: v9",
            "403 unable to upgrade: unable to negotiate protocol: client supports [\"v9\"], server accepts [\"v4\", \"v3\"]",
        );
    }
}
