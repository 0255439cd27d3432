//! Any bytes as a configuration, a Corefile or a file of ours; and what must hold then.

use std::collections::BTreeSet;
use std::io;

use dns::config::{Mistakes, Settings};
use dns::plan::Plan;

/// Plays a text; answers whether it is a configuration.
pub(crate) fn play(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let variable = |name: &str| Some(name.to_lowercase()).filter(|name| name.len() < 9);
    let found = Settings::parse(&text, &variable);
    assert_eq!(found, Settings::parse(&text, &variable), "it means two things");
    match found {
        Ok(settings) => {
            check(&settings);
            true
        }
        Err(Mistakes(mistakes)) => {
            assert!(!mistakes.is_empty());
            for mistake in mistakes {
                assert!(!mistake.reason.is_empty());
                check_place(&text, &mistake.place);
            }
            false
        }
    }
}

/// What can be served without another question.
fn check(settings: &Settings) {
    assert!(!settings.servers.is_empty());
    for server in &settings.servers {
        assert!(server.port != 0 && !server.zones.is_empty(), "{server:?}");
        assert!(server.forwards.iter().all(|forward| (1..=15).contains(&forward.to.len())), "{server:?}");
        assert!(server.kubernetes.is_some() || server.completes.is_none(), "{server:?}");
    }
    assert!(!settings.reload.is_some_and(|interval| interval.is_zero()));
    // Files are not there, which is a mistake but no more.
    let Ok(plan) = Plan::new(settings, &[], &|_| Err(io::ErrorKind::NotFound.into())) else { return };
    let answering: BTreeSet<usize> = plan.places.values().flatten().copied().collect();
    assert!(answering.into_iter().eq(0..settings.servers.len()), "each server answers somewhere");
    for (cluster, zone) in plan.shown.into_iter().flatten() {
        assert!(plan.clusters[cluster].zones.len() > zone);
    }
}

/// A line and a column are of this text; everything else is the path of a field, or nothing.
fn check_place(text: &str, place: &str) {
    let Some((line, column)) = place.split_once(':') else { return };
    if text.contains(place) {
        // A field may be called so.
        return;
    }
    let (Ok(line), Ok(column)) = (line.parse::<usize>(), column.parse::<usize>()) else { return };
    assert!((1..=text.lines().count().max(1)).contains(&line) && column > 0, "{place} of {text:?}");
}
