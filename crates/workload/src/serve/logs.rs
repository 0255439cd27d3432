//! `GET /containerLogs`: what a container said, as it says it.

use std::time::Duration;

use super::refusal::Refusal;
use super::route::Query;
use crate::log::{LogOptions, Stream};
use crate::time::{Time, parse};

/// Reads what of a log is wanted.
pub(super) fn options(query: &Query, now: Time) -> Result<LogOptions, Refusal> {
    let number = |name: &str| match query.get(name) {
        None | Some("") => Ok(None),
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| bad(name, text)),
    };
    let moment = match query.get("sinceTime") {
        None | Some("") => None,
        Some(text) => Some(moment(text).ok_or_else(|| bad("sinceTime", text))?),
    };
    let seconds = number("sinceSeconds")?;
    if moment.is_some() && seconds.is_some() {
        return Err(Refusal::bad_request("at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    Ok(LogOptions {
        follow: query.is_set("follow"),
        previous: query.is_set("previous"),
        timestamps: query.is_set("timestamps"),
        since: moment.or(seconds.map(|seconds| now.saturating_sub(Duration::from_secs(seconds)))),
        tail: number("tailLines")?.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
        limit: number("limitBytes")?,
        stream: match query.get("stream") {
            None | Some("" | "All") => None,
            Some("Stdout") => Some(Stream::Out),
            Some("Stderr") => Some(Stream::Error),
            Some(text) => return Err(bad("stream", text)),
        },
    })
}

fn bad(name: &str, text: &str) -> Refusal {
    Refusal::bad_request(format!("invalid value {text:?} of {name}"))
}

/// A moment in any zone, such as `2026-01-01T02:00:00+02:00`.
fn moment(text: &str) -> Option<Time> {
    if text.ends_with('Z') {
        return parse(text);
    }
    let (local, zone) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let zone_seconds = hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60;
    let (local, ahead) = (parse(&format!("{local}Z"))?, Duration::from_secs(zone_seconds));
    match zone.as_bytes().first() {
        Some(b'+') => Some(local.saturating_sub(ahead)),
        Some(b'-') => local.checked_add(ahead),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expected: Result<LogOptions, &str>) {
        let found = options(&Query::read(query), Duration::from_secs(1000));
        assert_eq!(found, expected.map_err(Refusal::bad_request), "{query}");
    }

    #[test]
    fn queries_for_logs() {
        let all = LogOptions::default();
        check("", Ok(all.clone()));
        check(
            "follow=true&previous=1&timestamps=true&tailLines=0&limitBytes=7&sinceSeconds=600&stream=Stderr",
            Ok(LogOptions {
                follow: true,
                previous: true,
                timestamps: true,
                since: Some(Duration::from_secs(400)),
                tail: Some(0),
                limit: Some(7),
                stream: Some(Stream::Error),
            }),
        );
        check("sinceSeconds=5000", Ok(LogOptions { since: Some(Duration::ZERO), ..all.clone() }));
        let hour = || Ok(LogOptions { since: Some(Duration::from_secs(3600)), ..LogOptions::default() });
        check("sinceTime=1970-01-01T01:00:00Z", hour());
        check("sinceTime=1970-01-01T03:00:00%2B02:00", hour());
        check("sinceTime=1970-01-01T00:30:00-00:30", hour());
        check("sinceTime=tomorrow", Err("invalid value \"tomorrow\" of sinceTime"));
        check("sinceTime=%C3%A9%C3%A9%C3%A9%C3%A9", Err("invalid value \"éééé\" of sinceTime"));
        check("tailLines=-1", Err("invalid value \"-1\" of tailLines"));
        check("stream=x", Err("invalid value \"x\" of stream"));
        check(
            "sinceTime=1970-01-01T01:00:00Z&sinceSeconds=1",
            Err("at most one of `sinceTime` or `sinceSeconds` may be specified"),
        );
    }
}
