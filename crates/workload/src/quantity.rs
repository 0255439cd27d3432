//! Amounts as Kubernetes writes them: `128Mi`, `0.5`, `250m`.

/// Answers an amount in thousandths; fractions of those are rounded up. `None` where the text is no amount.
pub(crate) fn thousandths(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let factor: f64 = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        exponent => 10_f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let amount = (number * factor * 1000.0).ceil();
    // Out of the range of what can be limited: as good as none.
    (amount.is_finite() && amount < 9e18).then_some(amount as u64)
}

/// Answers an amount in whole units, rounded up.
pub(crate) fn units(text: &str) -> Option<u64> {
    thousandths(text).map(|amount| amount.div_ceil(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (text, expected) in [
            ("250m", Some(250)),
            ("0.5", Some(500)),
            ("2", Some(2000)),
            ("1e3", Some(1_000_000)),
            ("128Mi", Some(134_217_728_000)),
            ("1u", Some(1)),
            ("", None),
            ("x", None),
            ("1x", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
        }
        assert_eq!(units("128Mi"), Some(134_217_728));
    }
}
