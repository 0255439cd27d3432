//! Durations as Go's flags write them: `1h30m`, `250ms`, `0`, `24h0m0s`.

use std::time::Duration;

/// Reads a duration as Go's flags write it; the error quotes what was typed.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration such as 30s, 1h30m or 250ms");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(wrong()),
        };
        total += number * seconds;
        rest = &rest[end..];
    }
    // Go counts nanoseconds in 63 bits.
    const LONGEST: Duration = Duration::from_nanos(i64::MAX as u64);
    let time = Duration::try_from_secs_f64(total).ok().filter(|time| *time <= LONGEST);
    time.filter(|_| !text.is_empty()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("24h0m0s", 86_400_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1500),
            ("250ms", 250),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["5000000000000000h", "", "1", "h", "1x", "-1s", "1s2", "1..5s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
