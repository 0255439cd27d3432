//! Points in time: RFC 3339 as Go reads and prints it, and seconds since 1970 as protobuf has them.

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// `2006-01-02T15:04:05Z`; a fraction is read and dropped.
    Seconds,
    /// `2006-01-02T15:04:05.000000Z`; six digits, no more and no fewer.
    Micros,
}

impl Precision {
    fn layout(self) -> &'static str {
        match self {
            Self::Seconds => "2006-01-02T15:04:05Z07:00",
            Self::Micros => "2006-01-02T15:04:05.000000Z07:00",
        }
    }
}

/// Seconds since 1970 and nanoseconds on top of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds on top of them.
    pub nanos: u32,
}

/// Year 1, which Go takes for "no time".
const ZERO: i64 = -62_135_596_800;

impl Instant {
    /// Whether it stands for no time at all.
    pub fn is_zero(self) -> bool {
        self == Self { seconds: ZERO, nanos: 0 }
    }

    /// Prints it in UTC; `None`: its year has not four digits.
    pub fn print(self, precision: Precision) -> Option<String> {
        let (days, second) = (self.seconds.div_euclid(86_400), self.seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let year = u16::try_from(year).ok().filter(|year| *year <= 9999)?;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let whole = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        Some(match precision {
            Precision::Seconds => format!("{whole}Z"),
            Precision::Micros => format!("{whole}.{:06}Z", self.nanos / 1000),
        })
    }
}

/// Reads a time; the error is worded as Go words it.
pub fn parse(text: &str, precision: Precision) -> Result<Instant, String> {
    let mut reading = Reading { text, rest: text, layout: precision.layout() };
    let year = reading.digits(4, "2006")?;
    reading.literal("-")?;
    let month = reading.digits(2, "01")?;
    reading.within(month, 1..=12, "month")?;
    reading.literal("-")?;
    let day = reading.digits(2, "02")?;
    reading.literal("T")?;
    let hour = reading.hour()?;
    reading.within(hour, 0..=23, "hour")?;
    reading.literal(":")?;
    let minute = reading.digits(2, "04")?;
    reading.within(minute, 0..=59, "minute")?;
    reading.literal(":")?;
    let second = reading.digits(2, "05")?;
    reading.within(second, 0..=59, "second")?;
    let nanos = match precision {
        Precision::Seconds => reading.any_fraction(),
        Precision::Micros => reading.six_digits()?,
    };
    let offset = reading.zone()?;
    if !reading.rest.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {:?}", reading.rest));
    }
    reading.within(day, 1..=days_in(year, month), "day")?;
    let days = days_from_civil(year, month, day);
    Ok(Instant { seconds: days * 86_400 + hour * 3600 + minute * 60 + second - offset, nanos })
}

struct Reading<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl Reading<'_> {
    fn bad<T>(&self, element: &str) -> Result<T, String> {
        let Self { text, rest, layout } = self;
        Err(format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {element:?}"))
    }

    fn literal(&mut self, wanted: &str) -> Result<(), String> {
        let Some(rest) = self.rest.strip_prefix(wanted) else { return self.bad(wanted) };
        self.rest = rest;
        Ok(())
    }

    fn digits(&mut self, count: usize, element: &str) -> Result<i64, String> {
        let digits = self.rest.get(..count).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(number) = digits.and_then(|digits| digits.parse().ok()) else { return self.bad(element) };
        self.rest = &self.rest[count..];
        Ok(number)
    }

    /// Go's hours may have one digit.
    fn hour(&mut self) -> Result<i64, String> {
        let has_two = self.rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        self.digits(if has_two { 2 } else { 1 }, "15")
    }

    fn within(&self, number: i64, range: std::ops::RangeInclusive<i64>, what: &str) -> Result<(), String> {
        if range.contains(&number) {
            return Ok(());
        }
        Err(format!("parsing time {:?}: {what} out of range", self.text))
    }

    fn any_fraction(&mut self) -> u32 {
        let Some(fraction) = self.rest.strip_prefix(['.', ',']) else { return 0 };
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 {
            return 0;
        }
        self.rest = &fraction[length..];
        let nine = fraction.bytes().take(length).chain(std::iter::repeat(b'0')).take(9);
        nine.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
    }

    fn six_digits(&mut self) -> Result<u32, String> {
        let whole = self.rest;
        let six = whole.strip_prefix(['.', ',']).and_then(|rest| rest.get(..6));
        let six = six.filter(|six| six.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(micros) = six.and_then(|six| six.parse::<u32>().ok()) else { return self.bad(".000000") };
        self.rest = &whole[7..];
        Ok(micros * 1000)
    }

    fn zone(&mut self) -> Result<i64, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let bytes = self.rest.as_bytes();
        let number = |at: usize| -> Option<i64> {
            let digits = self.rest.get(at..at + 2)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let sign = match bytes.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return self.bad("Z07:00"),
        };
        let (Some(hours), Some(b':'), Some(minutes)) = (number(1), bytes.get(3), number(4)) else {
            return self.bad("Z07:00");
        };
        self.within(hours, 0..=24, "time zone offset hour")?;
        self.within(minutes, 0..=60, "time zone offset minute")?;
        self.rest = &self.rest[6..];
        Ok(sign * (hours * 3600 + minutes * 60))
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970 of a date; years begin in March so that the leap day is last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + day_of_year - 719_468
}

/// The date of a day since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) =
        (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_printed_in_utc() {
        let check = |text: &str, precision, expected: &str| {
            let printed = parse(text, precision).map(|instant| instant.print(precision).unwrap());
            assert_eq!(printed.unwrap_or_else(|error| error), expected);
        };
        let seconds = |text, expected| check(text, Precision::Seconds, expected);
        seconds("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
        seconds("2026-01-01T00:30:00.999+01:00", "2025-12-31T23:30:00Z");
        seconds("2024-02-29T1:00:00-00:30", "2024-02-29T01:30:00Z");
        seconds("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z");
        seconds("", r#"parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006""#);
        seconds(
            "yesterday",
            r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#,
        );
        seconds(
            "2026-01-01 00:00:00Z",
            r#"parsing time "2026-01-01 00:00:00Z" as "2006-01-02T15:04:05Z07:00": cannot parse " 00:00:00Z" as "T""#,
        );
        seconds("2026-13-01T00:00:00Z", r#"parsing time "2026-13-01T00:00:00Z": month out of range"#);
        seconds("2025-02-29T00:00:00Z", r#"parsing time "2025-02-29T00:00:00Z": day out of range"#);
        seconds("2026-01-01T00:00:00Zx", r#"parsing time "2026-01-01T00:00:00Zx": extra text: "x""#);
        let micros = |text, expected| check(text, Precision::Micros, expected);
        micros("2026-01-01T00:00:00.000250Z", "2026-01-01T00:00:00.000250Z");
        micros("2026-01-01T02:00:00.123456+02:00", "2026-01-01T00:00:00.123456Z");
        micros(
            "2026-01-01T00:00:00Z",
            r#"parsing time "2026-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000""#,
        );
    }

    #[test]
    fn every_day_is_itself_again() {
        for days in (-719_162..2_932_896).step_by(97) {
            let (year, month, day) = civil(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
        assert_eq!(Instant { seconds: i64::MAX, nanos: 0 }.print(Precision::Seconds), None);
        assert_eq!(Instant { seconds: i64::MIN, nanos: 0 }.print(Precision::Seconds), None);
        assert!(Instant { seconds: ZERO, nanos: 0 }.is_zero());
    }
}
