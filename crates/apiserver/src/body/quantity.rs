//! Amounts such as `100m` and `1Gi`, in the one form that apimachinery's `Quantity` prints.

const WRONG_FORMAT: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const WRONG_SUFFIX: &str = "unable to parse quantity's suffix";
const WRONG_NUMBER: &str = "unable to parse numeric part of quantity";

const DECIMAL: [(&str, i64); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// Nobody has so much of anything; doubling a body full of digits sixty times would take seconds.
const LONGEST: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// With a suffix of ten: `m`, `k`.
    Decimal,
    /// With a power of ten: `e3`.
    Exponent,
    /// With a suffix of two: `Ki`.
    Binary,
}

/// Answers an amount in its canonical form; the error is worded as apimachinery words it.
pub(super) fn canonical(text: &str) -> Result<String, &'static str> {
    let parts = parts(text)?;
    let (format, ten, two) = suffix(parts.suffix)?;
    if keeps_spelling(&parts, format, ten, two) {
        return Ok(text.to_owned());
    }
    let digits: Vec<u8> =
        parts.whole.bytes().chain(parts.fraction.bytes()).map(|digit| digit - b'0').collect();
    let fraction = i64::try_from(parts.fraction.len()).map_err(|_| WRONG_NUMBER)?;
    let mut number = Number { digits, exponent: ten.saturating_sub(fraction) };
    (0..two).for_each(|_| number.double());
    number.round_up_to_nano();
    number.trim();
    let sign = if parts.is_negative { "-" } else { "" };
    if number.digits.is_empty() {
        return Ok("0".to_owned());
    }
    Ok(format!("{sign}{}", if format == Format::Binary { number.binary() } else { number.decimal(format) }))
}

struct Parts<'a> {
    is_negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn parts(text: &str) -> Result<Parts<'_>, &'static str> {
    if text.is_empty() {
        return Err(WRONG_FORMAT);
    }
    if text.len() > LONGEST {
        return Err(WRONG_NUMBER);
    }
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, rest) = unsigned.split_at(digits(unsigned));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let letters = suffix.trim_start_matches(|letter| "eEinumkKMGTP".contains(letter));
    let exponent = letters.strip_prefix(['-', '+']).unwrap_or(letters);
    if digits(exponent) < exponent.len() {
        return Err(WRONG_FORMAT);
    }
    Ok(Parts { is_negative: text.starts_with('-'), whole, fraction, suffix })
}

/// Answers the format, the power of ten and that of two.
fn suffix(suffix: &str) -> Result<(Format, i64, u32), &'static str> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(known, _)| *known == suffix) {
        return Ok((Format::Decimal, *exponent, 0));
    }
    if let Some((_, exponent)) = BINARY.iter().find(|(known, _)| *known == suffix) {
        return Ok((Format::Binary, 0, *exponent));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(WRONG_SUFFIX)?;
    let exponent: i32 = exponent.parse().map_err(|_| WRONG_SUFFIX)?;
    Ok((Format::Exponent, i64::from(exponent), 0))
}

/// Whether an amount stays as it is spelled, `+1` or `1.500`: apimachinery keeps a text whose number fits 64 bits and whose
/// suffix would not change. Observed, since nothing says so.
fn keeps_spelling(parts: &Parts<'_>, format: Format, ten: i64, two: u32) -> bool {
    let whole = parts.whole.trim_start_matches('0');
    let (length, fraction) = (whole.len() + parts.fraction.len(), parts.fraction.len());
    if whole.is_empty() || length > 18 {
        return false;
    }
    if format == Format::Binary {
        let is_short = (two * 3 / 10) as usize + whole.len() < 15;
        return fraction == 0 && is_short && whole.parse::<u64>().is_ok_and(|number| number % 1024 != 0);
    }
    let scale = ten - i64::try_from(fraction).unwrap_or(i64::MAX);
    let is_reducible =
        whole.bytes().chain(parts.fraction.bytes()).rev().take(3).filter(|digit| *digit == b'0').count() == 3;
    scale >= -9 && scale % 3 == 0 && !is_reducible
}

/// A number of any size: its digits, the highest first, times a power of ten.
struct Number {
    digits: Vec<u8>,
    exponent: i64,
}

/// The largest binary amount: 2^63 - 1.
const LARGEST: &str = "9223372036854775807";

impl Number {
    fn double(&mut self) {
        let mut carry = 0;
        for digit in self.digits.iter_mut().rev() {
            let doubled = *digit * 2 + carry;
            (*digit, carry) = (doubled % 10, doubled / 10);
        }
        if carry > 0 {
            self.digits.insert(0, carry);
        }
    }

    /// Whoever asks for some gets some: what is less than a billionth counts as one.
    fn round_up_to_nano(&mut self) {
        let Ok(surplus) = usize::try_from(-9 - self.exponent) else { return };
        let kept = self.digits.len().saturating_sub(surplus);
        let has_more = self.digits[kept..].iter().any(|digit| *digit > 0);
        self.digits.truncate(kept);
        self.exponent = -9;
        if !has_more {
            return;
        }
        for digit in self.digits.iter_mut().rev() {
            if *digit < 9 {
                *digit += 1;
                return;
            }
            *digit = 0;
        }
        self.digits.insert(0, 1);
    }

    /// Removes zeros at both ends.
    fn trim(&mut self) {
        let zeros = self.digits.iter().take_while(|digit| **digit == 0).count();
        self.digits.drain(..zeros);
        while self.digits.last() == Some(&0) {
            self.digits.pop();
            self.exponent = self.exponent.saturating_add(1);
        }
    }

    fn text(&self) -> String {
        self.digits.iter().map(|digit| char::from(b'0' + digit)).collect()
    }

    fn decimal(&self, format: Format) -> String {
        let surplus = self.exponent.rem_euclid(3);
        let exponent = self.exponent - surplus;
        let zeros = &"00"[..usize::try_from(surplus).unwrap_or_default()];
        let named =
            DECIMAL.iter().find(|(_, known)| *known == exponent).filter(|_| format != Format::Exponent);
        match named {
            Some((suffix, _)) => format!("{}{zeros}{suffix}", self.text()),
            None if exponent == 0 => format!("{}{zeros}", self.text()),
            // apimachinery prints amounts beyond `E` without their suffix; that would be another amount.
            None => format!("{}{zeros}e{exponent}", self.text()),
        }
    }

    /// Whole amounts of 1024 and more have a suffix of two, others one of ten.
    fn binary(&self) -> String {
        let Ok(zeros) = usize::try_from(self.exponent) else { return self.decimal(Format::Decimal) };
        if self.digits.len() + zeros > LARGEST.len() {
            return LARGEST.to_owned();
        }
        let whole = format!("{}{}", self.text(), "0".repeat(zeros));
        let Ok(mut number) = whole.parse::<i64>() else { return LARGEST.to_owned() };
        if number < 1024 {
            return self.decimal(Format::Decimal);
        }
        let mut suffix = "";
        for (next, _) in BINARY {
            if number % 1024 != 0 {
                break;
            }
            number /= 1024;
            suffix = next;
        }
        format!("{number}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_canonical() {
        let check = |text: &str, expected: &str| {
            assert_eq!(canonical(text).unwrap_or_else(|error| error.to_owned()), expected, "{text}");
            if canonical(text).is_ok() {
                assert_eq!(canonical(expected).as_deref(), Ok(expected), "{text} twice");
            }
        };
        for same in ["0", "1", "100m", "1Gi", "500m", "1k", "10e3", "100Mi", "-1", "1n", "1500", "3E", "1e6"]
        {
            check(same, same);
        }
        check("1000m", "1");
        check("0.5", "500m");
        check("1024Mi", "1Gi");
        check("1000M", "1G");
        check(".001Ki", "1024m");
        check(".000001Ki", "1024u");
        check(".000000001Ki", "1024n");
        check(".000000000001Ki", "2n");
        check("0.1Gi", "107374182400m");
        check("0Ki", "0");
        check("1.5Gi", "1536Mi");
        check("512Ki", "512Ki");
        check("0.5Ki", "512");
        check("1Ki", "1Ki");
        check("1e3", "1e3");
        check("100e3", "100e3");
        check("1E5", "100e3");
        check("1e-3", "1e-3");
        check("0001000", "1k");
        check("-0", "0");
        check(".5", "500m");
        check("0.0000000001", "1n");
        check("1e-1000000000", "1e-9");
        check("1e1000000000", "10e999999999");
        check("9Ei", "9223372036854775807");
        check("100Ei", "9223372036854775807");
        check("1000E", "1e21");
        check("-1.5Gi", "-1536Mi");
        check("123456789012345678901234567890", "123456789012345678901234567890");
        check("m", "0");
        check("", WRONG_FORMAT);
        check("1 Gi", WRONG_FORMAT);
        check("one", WRONG_FORMAT);
        check("1,5", WRONG_FORMAT);
        check("1Mb", WRONG_FORMAT);
        check("1MM", WRONG_SUFFIX);
        check("1e", WRONG_SUFFIX);
        check("1e99999999999", WRONG_SUFFIX);
        check("1.2.3", WRONG_FORMAT);
        check("žluť", WRONG_FORMAT);
        check(&"9".repeat(2000), WRONG_NUMBER);
    }

    #[test]
    fn amounts_are_printed_as_kubectl_prints_them() {
        let rows = include_str!("observed/amounts.txt").lines().filter(|row| !row.starts_with('#'));
        for (text, expected) in rows.map(|row| row.split_once('\t').unwrap()) {
            let found = canonical(text).unwrap_or_else(|error| format!("error: {error}"));
            assert_eq!(found, expected, "{text}");
        }
    }
}
