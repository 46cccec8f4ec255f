//! Sizes and durations as people write them on a command line.

use std::time::Duration;

/// Why a text is no size or duration. Each text is the one line that the user gets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// No number with a unit.
    #[error("give a whole number with a unit, for example 512MiB, 20GiB or 2TiB")]
    NotASize,
    /// Nothing, or more than fits.
    #[error("give a size between 512 bytes and 8191 PiB")]
    SizeOutOfRange,
    /// No number with a unit.
    #[error("give a whole number with a unit, for example 30s, 15min, 2h or 7d")]
    NotADuration,
    /// Nothing, or more than fits.
    #[error("give a duration between 1s and 3650d")]
    DurationOutOfRange,
}

/// How long to wait for something; `None`: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience(pub Option<Duration>);

/// The longest duration that is taken.
const DURATION_MAX: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// A size in bytes: `20GiB`, `512 MiB`, `1073741824`. A single letter is binary too, as with LVM and QEMU; decimal units (GB) are not
/// taken, since half of those who write them mean the binary ones.
///
/// # Errors
/// `NotASize`, `SizeOutOfRange`.
pub fn size_bytes(text: &str) -> Result<u64, QuantityError> {
    let (number, unit) = split(text).ok_or(QuantityError::NotASize)?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        "p" | "pib" => 50,
        _ => return Err(QuantityError::NotASize),
    };
    let len_bytes = number.checked_mul(1 << shift).filter(|bytes| (512..1 << 63).contains(bytes));
    len_bytes.ok_or(QuantityError::SizeOutOfRange)
}

/// A size in bytes, or 0.
///
/// # Errors
/// As [`size_bytes`].
pub fn size_or_none_bytes(text: &str) -> Result<u64, QuantityError> {
    if text.trim() == "0" { Ok(0) } else { size_bytes(text) }
}

/// A duration of whole seconds: `30s`, `15min`, `2h`, `7d`.
///
/// # Errors
/// `NotADuration`, `DurationOutOfRange`.
pub fn duration(text: &str) -> Result<Duration, QuantityError> {
    let (number, unit) = split(text).ok_or(QuantityError::NotADuration)?;
    let unit_s: u64 = match unit.to_ascii_lowercase().as_str() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(QuantityError::NotADuration),
    };
    let duration = number.checked_mul(unit_s).map(Duration::from_secs);
    let in_range = duration.filter(|duration| !duration.is_zero() && *duration <= DURATION_MAX);
    in_range.ok_or(QuantityError::DurationOutOfRange)
}

/// A duration, or `never`.
///
/// # Errors
/// As [`duration`].
pub fn patience(text: &str) -> Result<Patience, QuantityError> {
    if text.trim().eq_ignore_ascii_case("never") { Ok(Patience(None)) } else { duration(text).map(Some).map(Patience) }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    // What has digits only and is no number is larger than any quantity.
    let number = if number.is_empty() { return None } else { number.parse().unwrap_or(u64::MAX) };
    Some((number, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary() {
        for (text, len_bytes) in
            [("512", 512), ("64KiB", 65536), ("20 GiB", 20 << 30), ("2t", 2 << 40), ("1M", 1 << 20)]
        {
            assert_eq!(size_bytes(text), Ok(len_bytes), "{text}");
        }
        for text in ["", "GiB", "10GB", "1.5GiB", "-1GiB", "10 apples", "0x10"] {
            assert_eq!(size_bytes(text), Err(QuantityError::NotASize), "{text}");
        }
        for text in ["0", "511", "8192PiB", "99999999999999999999", "18446744073709551615TiB"] {
            assert_eq!(size_bytes(text), Err(QuantityError::SizeOutOfRange), "{text}");
        }
        assert_eq!(size_or_none_bytes("0"), Ok(0));
        assert_eq!(size_or_none_bytes("2GiB"), Ok(2 << 30));
        assert_eq!(size_or_none_bytes("0 apples"), Err(QuantityError::NotASize));
    }

    #[test]
    fn durations_have_units() {
        for (text, seconds) in [("30s", 30), ("15min", 900), ("15m", 900), ("2 h", 7200), ("7d", 604_800)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "10", "1w", "h", "1.5h"] {
            assert_eq!(duration(text), Err(QuantityError::NotADuration), "{text}");
        }
        assert_eq!(patience("never"), Ok(Patience(None)));
        assert_eq!(patience("5s"), Ok(Patience(Some(Duration::from_secs(5)))));
        assert_eq!(patience("ever"), Err(QuantityError::NotADuration));
        for text in ["0s", "3651d", "99999999999999999999d"] {
            assert_eq!(duration(text), Err(QuantityError::DurationOutOfRange), "{text}");
        }
    }
}
