//! The kinds of value that keys have (RFC 7143 6.1).

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A value that is not of the kind that its key has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct InvalidValue {
    /// The value as it came.
    pub value: String,
    /// What it should have been.
    pub expected: &'static str,
}

/// Reads `Yes` or `No`.
///
/// # Errors
/// Anything else is not a boolean value; other spellings do not count.
pub fn parse_boolean(value: &str) -> Result<bool, InvalidValue> {
    match value {
        "Yes" => Ok(true),
        "No" => Ok(false),
        _ => Err(invalid(value, "Yes or No")),
    }
}

/// Writes `Yes` or `No`.
#[must_use]
pub const fn show_boolean(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

/// Reads a number: decimal, or hexadecimal after `0x` or `0X`.
///
/// # Errors
/// What has other characters, or does not fit 32 bits (no key of ours has more), is not a number.
pub fn parse_number(value: &str) -> Result<u32, InvalidValue> {
    let (digits, radix) = match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (value, 10),
    };
    // `from_str_radix` alone would take a leading plus sign.
    let number = digits.bytes().all(|b| b.is_ascii_alphanumeric()).then(|| u32::from_str_radix(digits, radix).ok());
    number.flatten().ok_or_else(|| invalid(value, "a number"))
}

/// Reads a range, `low~high`.
///
/// # Errors
/// Both ends must be numbers and the first not larger than the second.
pub fn parse_range(value: &str) -> Result<RangeInclusive<u32>, InvalidValue> {
    let ends = value.split_once('~').and_then(|(low, high)| Some((parse_number(low).ok()?, parse_number(high).ok()?)));
    ends.filter(|(low, high)| low <= high).map(|(low, high)| low..=high).ok_or_else(|| invalid(value, "a range"))
}

/// Reads a list of values, separated by commas, in the order of preference.
///
/// # Errors
/// No element may be empty or longer than 255 bytes.
pub fn parse_list(value: &str) -> Result<Vec<&str>, InvalidValue> {
    let elements: Vec<_> = value.split(',').collect();
    if elements.iter().all(|element| (1..=super::SIMPLE_VALUE_BYTES_MAX).contains(&element.len())) {
        Ok(elements)
    } else {
        Err(invalid(value, "a list of values"))
    }
}

/// Reads a binary value: hexadecimal digits after `0x`, or base64 after `0b` (RFC 7143 6.1).
///
/// # Errors
/// Digits of another kind, and more than `bytes_max` bytes are refused.
pub fn parse_binary(value: &str, bytes_max: usize) -> Result<Vec<u8>, InvalidValue> {
    let bytes = match value.get(..2) {
        Some("0x" | "0X") => from_hexadecimal(&value.as_bytes()[2..]),
        Some("0b" | "0B") => STANDARD.decode(&value[2..]).ok(),
        _ => None,
    };
    bytes.filter(|bytes| bytes.len() <= bytes_max).ok_or_else(|| invalid(value, "a binary value"))
}

/// Writes a binary value in hexadecimal digits.
#[must_use]
pub fn show_binary(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |mut text, byte| {
        // Writing to a text does not fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

fn from_hexadecimal(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    // Digits count from the end: an odd one, at the beginning, is a byte of its own (RFC 7143 6.1, hex-constant).
    let (odd, pairs) = digits.as_rchunks::<2>();
    let first = odd.iter().map(|&low| digit(low));
    first.chain(pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))).collect()
}

fn invalid(value: &str, expected: &'static str) -> InvalidValue {
    InvalidValue { value: value.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let check = |text: &str, expected: Option<u32>| assert_eq!(parse_number(text).ok(), expected, "{text:?}");
        check("0", Some(0));
        check("16777215", Some(16_777_215));
        check("0x1F", Some(31));
        check("0Xff", Some(255));
        check("4294967295", Some(u32::MAX));
        for text in ["", "0x", "+5", "-5", "4294967296", "12 ", "0x+1", "1f", "5,6"] {
            check(text, None);
        }
    }

    #[test]
    fn booleans_ranges_and_lists() {
        assert_eq!(parse_boolean("Yes"), Ok(true));
        assert_eq!(parse_boolean("No"), Ok(false));
        assert!(parse_boolean("yes").is_err() && parse_boolean("").is_err());
        assert_eq!(parse_range("512~0x400"), Ok(512..=1024));
        assert!(parse_range("7").is_err() && parse_range("9~8").is_err() && parse_range("1~").is_err());
        assert_eq!(parse_list("CRC32C,None"), Ok(vec!["CRC32C", "None"]));
        assert!(parse_list("").is_err() && parse_list("a,,b").is_err());
        assert!(parse_list(&"x".repeat(256)).is_err());
        assert!(parse_list(&"x".repeat(255)).is_ok());
    }
    #[test]
    fn binary_values() {
        let check = |text: &str, expected: Option<&[u8]>| {
            assert_eq!(parse_binary(text, 4).ok().as_deref(), expected, "{text:?}")
        };
        check("0x", Some(&[]));
        check("0x00fF7a", Some(&[0, 0xff, 0x7a]));
        check("0X01020304", Some(&[1, 2, 3, 4]));
        check("0x1", Some(&[1]));
        check("0x102", Some(&[1, 2]));
        check("0bAP96", Some(&[0, 0xff, 0x7a]));
        check("0BAP8=", Some(&[0, 0xff]));
        for text in ["", "0", "17", "0xg", "0xg0", "0x+1", "0x0102030405", "0bAP8", "0b=", "0bAQIDBAU=", "é", "0é"] {
            check(text, None);
        }
        assert_eq!(show_binary(&[0, 0xff, 0x7a]), "0x00ff7a");
    }
}
