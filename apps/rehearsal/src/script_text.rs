//! A script as text, in one of the encodings that editors on Windows use.

use std::path::Path;

use anyhow::Context as _;

pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read the script {}", path.display()))?;
    decode(&bytes).with_context(|| format!("{} is neither UTF-8 nor UTF-16 with a byte order mark", path.display()))
}

fn decode(bytes: &[u8]) -> Option<String> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = units.iter().copied().map(unit).collect();
        if rest.is_empty() { String::from_utf16(&units).ok() } else { None }
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_windows_editors_are_read() {
        for bytes in
            [b"create".as_slice(), b"\xef\xbb\xbfcreate", b"\xff\xfec\0r\0e\0a\0t\0e\0", b"\xfe\xff\0c\0r\0e\0a\0t\0e"]
        {
            assert_eq!(decode(bytes).as_deref(), Some("create"));
        }
        assert_eq!(decode(b"\xff\xfec"), None);
        assert_eq!(decode(b"\xe4"), None);
    }
}
