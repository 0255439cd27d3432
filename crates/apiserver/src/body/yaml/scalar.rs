//! What a plain word means in YAML 1.1, as go-yaml resolves it.

use super::super::json::Node;

/// Answers what a plain word means. A point in time is a text.
pub(super) fn resolve(word: &str) -> Node {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Node::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Node::Bool(false);
        }
        _ => {}
    }
    let starts_as_number = word.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    number(word).filter(|_| starts_as_number).map_or_else(|| Node::Text(word.to_owned()), Node::Number)
}

/// Whether a plain word is anything but a text: a printer must quote it.
pub(super) fn needs_quotes(word: &str) -> bool {
    !matches!(resolve(word), Node::Text(_)) || is_special_float(word) || is_time(word) || is_base_60(word)
}

/// Infinities and "not a number" cannot be written in JSON.
pub(super) fn is_special_float(word: &str) -> bool {
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(word, ".nan" | ".NaN" | ".NAN")
}

/// Answers a number as JSON writes it.
fn number(word: &str) -> Option<String> {
    let plain = word.replace('_', "");
    if let Some(number) = whole(&plain) {
        return Some(number.to_string());
    }
    if !is_float(&plain) {
        return None;
    }
    let number: f64 = plain.parse().ok().filter(|number: &f64| number.is_finite())?;
    Some(serde_json::Number::from_f64(number)?.to_string())
}

/// Whole numbers may have another base, by their beginning; one zero is enough for eight.
fn whole(plain: &str) -> Option<i128> {
    let (sign, unsigned) = match plain.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, plain.strip_prefix('+').unwrap_or(plain)),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (digits, base) = match lower.get(..2) {
        Some("0x") => (&lower[2..], 16),
        Some("0b") => (&lower[2..], 2),
        Some("0o") => (&lower[2..], 8),
        _ if lower.len() > 1 && lower.starts_with('0') => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from_str_radix(digits, base).ok()? * sign;
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number).then_some(number)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(plain: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(plain);
    let whole = digits(unsigned);
    let mut rest = &unsigned[whole..];
    let mut fraction = 0;
    if let Some(after) = rest.strip_prefix('.') {
        fraction = digits(after);
        rest = &after[fraction..];
    }
    if whole + fraction == 0 {
        return false;
    }
    let Some(exponent) = rest.strip_prefix(['e', 'E']) else { return rest.is_empty() };
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    !exponent.is_empty() && digits(exponent) == exponent.len()
}

/// Numbers of base 60, such as `1:30`, are texts here but numbers to others.
fn is_base_60(word: &str) -> bool {
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut parts = whole.split(':');
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let first = parts.next().unwrap_or_default();
    let is_sixtieth = |part: &str| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    let rest: Vec<&str> = parts.collect();
    first.starts_with(|digit: char| digit.is_ascii_digit())
        && is_number(first)
        && !rest.is_empty()
        && rest.iter().all(|part| is_sixtieth(part))
        && is_number(fraction)
}

/// A date, or a date and a time, as go-yaml knows them.
fn is_time(word: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let Some((year, rest)) = word.split_once('-').filter(|(year, _)| year.len() == 4 && digits(year) == 4)
    else {
        return false;
    };
    let Some((month, rest)) = rest.split_once('-') else { return false };
    let day = &rest[..digits(rest)];
    let in_range = |text: &str, range: std::ops::RangeInclusive<u8>| {
        (1..=2).contains(&text.len())
            && digits(text) == text.len()
            && text.parse().is_ok_and(|number| range.contains(&number))
    };
    let days = match (month.parse::<u8>(), year.parse::<u16>()) {
        (Ok(2), Ok(year)) if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        (Ok(2), _) => 28,
        (Ok(4 | 6 | 9 | 11), _) => 30,
        _ => 31,
    };
    if !in_range(month, 1..=12) || !in_range(day, 1..=days) {
        return false;
    }
    match &rest[day.len()..] {
        "" => true,
        clock => clock
            .strip_prefix(['T', 't', ' '])
            .is_some_and(|clock| is_clock(clock, clock_needs_zone(&rest[day.len()..]))),
    }
}

/// Only after a space the zone may be missing.
fn clock_needs_zone(clock: &str) -> bool {
    !clock.starts_with(' ')
}

fn is_clock(clock: &str, needs_zone: bool) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = clock;
    for (separator, below) in [("", 24), (":", 60), (":", 60)] {
        let Some(after) = rest.strip_prefix(separator) else { return false };
        let length = digits(after);
        if !(1..=2).contains(&length) || !after[..length].parse::<u8>().is_ok_and(|number| number < below) {
            return false;
        }
        rest = &after[length..];
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = &fraction[digits(fraction)..];
    }
    if !needs_zone {
        return rest.is_empty();
    }
    let is_offset = |zone: &str| {
        zone.len() == 5 && zone.as_bytes()[2] == b':' && digits(&zone[..2]) == 2 && digits(&zone[3..]) == 2
    };
    rest == "Z" || rest.strip_prefix(['+', '-']).is_some_and(|zone| zone.is_ascii() && is_offset(zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_what_they_mean_in_yaml_1_1() {
        let number = |word: &str, expected: &str| {
            assert_eq!(resolve(word), Node::Number(expected.to_owned()), "{word}")
        };
        let text = |word: &str| assert_eq!(resolve(word), Node::Text(word.to_owned()), "{word}");
        for word in ["y", "Y", "yes", "true", "TRUE", "on"] {
            assert_eq!(resolve(word), Node::Bool(true), "{word}");
        }
        for word in ["n", "No", "off", "False"] {
            assert_eq!(resolve(word), Node::Bool(false), "{word}");
        }
        for word in ["", "~", "null"] {
            assert_eq!(resolve(word), Node::Null, "{word}");
        }
        number("80", "80");
        number("-1", "-1");
        number("+12", "12");
        number("0777", "511");
        number("0x1F", "31");
        number("0b11", "3");
        number("1_000", "1000");
        number("08", "8.0");
        number("1.5", "1.5");
        number(".5", "0.5");
        number("1e3", "1000.0");
        number("18446744073709551615", "18446744073709551615");
        for word in [
            "tRUE",
            "nope",
            "10.0.0.1",
            "1:30",
            "2024-01-01",
            "2024-01-01T00:00:00Z",
            "-",
            "+",
            ".",
            "e3",
            "0x",
            "1Gi",
            "_1",
            ".nan",
        ] {
            text(word);
        }
    }

    #[test]
    fn what_others_would_misread_needs_quotes() {
        for word in [
            "true",
            "1",
            "null",
            "y",
            "",
            "~",
            "2024-01-01T00:00:00Z",
            "2024-01-01",
            "1:30",
            "2024-1-1",
            "2024-01-01T1:2:3Z",
            ".inf",
            "-.Inf",
            "1e3",
            "0x10",
            "08",
        ] {
            assert!(needs_quotes(word), "{word}");
        }
        for word in
            ["a", "10.0.0.1", "1Gi", "web-1", "2024-13-01", "2024-01-01Tx", "v1", "1:99", "apps/v1", "1.2.3"]
        {
            assert!(!needs_quotes(word), "{word}");
        }
    }
}
