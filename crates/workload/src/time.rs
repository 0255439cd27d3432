//! Times as durations since 1970, and as Kubernetes writes them.

use std::time::Duration;

/// A moment: the time since 1970.
pub type Time = Duration;

/// Writes a moment to the second, such as `2026-11-25T14:30:00Z`.
pub fn text(time: Time) -> String {
    format!("{}Z", date(time))
}

/// Writes a moment to the microsecond, as leases and logs have it.
pub fn precise(time: Time) -> String {
    format!("{}.{:06}Z", date(time), time.subsec_micros())
}

/// Writes a moment to the nanosecond.
pub fn exact(time: Time) -> String {
    format!("{}.{:09}Z", date(time), time.subsec_nanos())
}

/// Reads a moment in UTC; `None` where it is none.
pub fn parse(text: &str) -> Option<Time> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 {
        return None;
    }
    let rest = text.get(19..)?.strip_suffix('Z')?;
    let nanos = match rest.strip_prefix('.') {
        Some(digits) => format!("{digits:0<9}").get(..9)?.parse::<u32>().ok()?,
        None if rest.is_empty() => 0,
        None => return None,
    };
    let days = days_before(year, month) + day - 1;
    Some(Duration::new(days * 86_400 + hour * 3600 + minute * 60 + second, nanos))
}

fn date(time: Time) -> String {
    let (days, second) = (time.as_secs() / 86_400, time.as_secs() % 86_400);
    let mut year = 1970 + days / 366;
    while days_before(year + 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_before(year, month + 1) <= days {
        month += 1;
    }
    let day = days - days_before(year, month) + 1;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}", second % 60)
}

/// Days from 1970 to the first of a month.
fn days_before(year: u64, month: u64) -> u64 {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let last = year - 1;
    let leaps = (last / 4 - last / 100 + last / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400);
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let index = usize::try_from(month - 1).unwrap_or(0).min(11);
    (year - 1970) * 365 + leaps + BEFORE[index] + u64::from(is_leap && month > 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read() {
        for (seconds, written) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(text(Duration::from_secs(seconds)), written);
            assert_eq!(parse(written), Some(Duration::from_secs(seconds)), "{written}");
        }
        let fine = Duration::new(1_709_251_199, 120_003_000);
        assert_eq!(precise(fine), "2024-02-29T23:59:59.120003Z");
        assert_eq!(exact(fine), "2024-02-29T23:59:59.120003000Z");
        assert_eq!(parse("2024-02-29T23:59:59.120003Z"), Some(fine));
        for wrong in ["", "soon", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00", "1969-12-31T23:59:59Z"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
