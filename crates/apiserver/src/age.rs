//! How long ago something was, in the words of `kubectl get` (`HumanDuration` of k8s.io/apimachinery).

use serde_json::Value;

use crate::body::time::{self, Precision};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// Answers the age of what began at a time; null or no time: `<unknown>`. `now`: seconds since 1970.
pub fn age(since: &Value, now: i64) -> String {
    let since = since.as_str().and_then(|text| time::parse(text, Precision::Seconds).ok());
    match since {
        Some(since) if !since.is_zero() => words(now.saturating_sub(since.seconds)),
        Some(_) | None => "<unknown>".to_owned(),
    }
}

/// Answers seconds in the words of people: the longer, the coarser.
pub fn words(seconds: i64) -> String {
    match seconds {
        // Clocks that differ a little are nobody's fault.
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds, (MINUTE, "m"), (1, "s")),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(seconds, (HOUR, "h"), (MINUTE, "m")),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(seconds, (DAY, "d"), (HOUR, "h")),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(seconds, (YEAR, "y"), (DAY, "d")),
        252_288_000.. => format!("{}y", seconds / YEAR),
    }
}

/// `2m5s`; without the second part if it is 0.
fn two(seconds: i64, (large, large_name): (i64, &str), (small, small_name): (i64, &str)) -> String {
    let (whole, rest) = (seconds / large, seconds % large / small);
    if rest == 0 { format!("{whole}{large_name}") } else { format!("{whole}{large_name}{rest}{small_name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_longer_the_coarser() {
        for (seconds, wanted) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 61, "3h1m"),
            (8 * HOUR - 1, "7h59m"),
            (8 * HOUR, "8h"),
            (2 * DAY - 1, "47h"),
            (2 * DAY + 59, "2d"),
            (2 * DAY + 5 * HOUR, "2d5h"),
            (8 * DAY, "8d"),
            (2 * YEAR - 1, "729d"),
            (2 * YEAR, "2y"),
            (2 * YEAR + DAY, "2y1d"),
            (8 * YEAR + DAY, "8y"),
        ] {
            assert_eq!(words(seconds), wanted, "{seconds}");
        }
    }

    #[test]
    fn no_time_has_no_age() {
        assert_eq!(age(&json!("2026-01-01T00:00:00Z"), 1_767_225_665), "65s");
        assert_eq!(age(&json!("2026-01-01T00:00:00.000250Z"), 1_767_225_665), "65s");
        for none in [json!(null), json!("0001-01-01T00:00:00Z"), json!("yesterday")] {
            assert_eq!(age(&none, 0), "<unknown>", "{none}");
        }
    }
}
