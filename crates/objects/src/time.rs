//! RFC 3339 times as Kubernetes writes them.

use std::num::NonZeroU64;

/// Reads a time with its fraction as milliseconds since 1970.
pub(crate) fn parse_millis(text: &str) -> Option<NonZeroU64> {
    let seconds = u64::try_from(parse(text)?).ok()?;
    let fraction = text.get(19..)?.strip_prefix('.').unwrap_or_default();
    let digits = fraction.bytes().take(3).take_while(u8::is_ascii_digit);
    let millis = digits.zip([100, 10, 1]).map(|(digit, worth)| u64::from(digit - b'0') * worth).sum::<u64>();
    NonZeroU64::new(seconds * 1000 + millis)
}

/// Reads a time such as `2026-11-23T08:00:00Z` as seconds since 1970; fractions are cut off.
pub fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, wanted)| bytes.get(*at) != Some(wanted)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(19..)?;
    let rest = rest
        .strip_prefix('.')
        .map_or(rest, |fraction| fraction.trim_start_matches(|c: char| c.is_ascii_digit()));
    Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset(rest)?)
}

/// Seconds that the zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let two_digits = |text: &str, below: i64| -> Option<i64> {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|number| digits && *number < below)
    };
    Some(sign * (two_digits(hours, 24)? * 3600 + two_digits(minutes, 60)? * 60))
}

/// Days from 1970-01-01 in the Gregorian calendar; years begin in March so that the leap day is last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_milliseconds() {
        let check =
            |text: &str, expected| assert_eq!(parse_millis(text).map(NonZeroU64::get), expected, "{text}");
        check("1970-01-01T00:00:01Z", Some(1000));
        check("1970-01-01T00:00:01.5Z", Some(1500));
        check("1970-01-01T00:00:01.123456789Z", Some(1123));
        check("1970-01-01T00:00:01.04+00:00", Some(1040));
        check("1970-01-01T00:00:00Z", None);
        check("1969-01-01T00:00:00Z", None);
        check("soon", None);
    }

    #[test]
    fn times_are_seconds_since_1970() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(parse(text), expected, "{text}");
        check("1970-01-01T00:00:00Z", Some(0));
        check("2000-02-29T12:00:00Z", Some(951_825_600));
        check("2026-11-23T08:00:00Z", Some(1_795_420_800));
        check("2026-11-23T09:00:00.123456+01:00", Some(1_795_420_800));
        for wrong in ["", "2026-11-23", "2026-13-01T00:00:00Z", "2026-11-23T08:00:00", "2026-11-23 08:00:00Z"]
        {
            check(wrong, None);
        }
    }
}
