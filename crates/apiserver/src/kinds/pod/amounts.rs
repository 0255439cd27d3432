//! Amounts of resources compared. They are in canonical form already.

/// Billionths, as many as there are; more than anybody has count as the most.
pub(super) fn nano(amount: &str) -> i128 {
    let (sign, amount) = match amount.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, amount),
    };
    let end = amount.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(amount.len());
    let (number, suffix) = amount.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = whole.bytes().chain(fraction.bytes());
    let number = digits.fold(0_i128, |number, digit| {
        number.saturating_mul(10).saturating_add(i128::from(digit.saturating_sub(b'0')))
    });
    let (ten, two) = unit(suffix);
    let exponent = ten.saturating_add(9).saturating_sub_unsigned(fraction.len() as u64);
    let scaled = number.saturating_mul(1_i128 << two);
    let power = u32::try_from(exponent.unsigned_abs()).unwrap_or(u32::MAX);
    let factor = 10_i128.checked_pow(power).unwrap_or(i128::MAX);
    sign * if exponent < 0 { scaled / factor } else { scaled.saturating_mul(factor) }
}

/// The powers of ten and of two that a suffix stands for.
fn unit(suffix: &str) -> (i64, u32) {
    match suffix {
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 10),
        "Mi" => (0, 20),
        "Gi" => (0, 30),
        "Ti" => (0, 40),
        "Pi" => (0, 50),
        "Ei" => (0, 60),
        exponent => (exponent.trim_start_matches(['e', 'E']).parse().unwrap_or(0), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_compared_whatever_their_suffix() {
        for (less, more) in
            [("100m", "1"), ("1023", "1Ki"), ("1G", "1Gi"), ("-1", "0"), ("1.5Gi", "2Gi"), ("1e3", "1001")]
        {
            assert!(nano(less) < nano(more), "{less} {more}");
        }
        for (one, other) in
            [("1000m", "1"), ("1Ki", "1024"), ("1e3", "1k"), ("0.5", "500m"), ("1.5Ki", "1536")]
        {
            assert_eq!(nano(one), nano(other), "{one} {other}");
        }
        assert_eq!(nano("999999999999999999999999999999999999999999999E"), i128::MAX);
        assert_eq!((nano("1e9223372036854775807"), nano("1e-9223372036854775808")), (i128::MAX, 0));
    }
}
