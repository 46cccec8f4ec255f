//! Links of NTFS: what a reparse point says ([MS-FSCC] 2.1.2).

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// The most that a reparse point has.
pub(super) const LEN_MAX_BYTES: u64 = 16 * 1024;

/// `IO_REPARSE_TAG_MOUNT_POINT`: a junction, or the place where a volume is mounted.
const MOUNT_POINT: u32 = 0xa000_0003;

/// `IO_REPARSE_TAG_SYMLINK`.
const SYMBOLIC_LINK: u32 = 0xa000_000c;

/// `IO_REPARSE_TAG_LX_SYMLINK`: a symbolic link that a Linux program made.
const LINUX_LINK: u32 = 0xa000_001d;

/// What all reparse points begin with.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    tag: U32,
    data_len: U16,
    reserved: U16,
}

/// Where in what follows the two forms of the target are: that for the system, and that for people. Lengths are in bytes.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Names {
    substitute_offset: U16,
    substitute_len: U16,
    print_offset: U16,
    print_len: U16,
}

/// Where a link points to, with `/` between the parts; None if the reparse point is no link. A target on another volume is as people
/// know it, for example `C:/Windows`.
pub(super) fn link_target(data: &[u8]) -> Option<Vec<u8>> {
    let (header, rest) = Header::ref_from_prefix(data).ok()?;
    let rest = rest.get(..usize::from(header.data_len.get()))?;
    match header.tag.get() {
        MOUNT_POINT => windows_target(rest, 0),
        // Flags come before the names.
        SYMBOLIC_LINK => windows_target(rest, 4),
        // A version, then the target as it is.
        LINUX_LINK => rest.get(4..).map(<[u8]>::to_vec),
        _ => None,
    }
}

fn windows_target(data: &[u8], flags_len: usize) -> Option<Vec<u8>> {
    let (names, rest) = Names::ref_from_prefix(data).ok()?;
    let text = rest.get(flags_len..)?;
    let name = |offset: U16, len: U16| {
        let (offset, len) = (usize::from(offset.get()), usize::from(len.get()));
        let (units, _) = text.get(offset..offset + len)?.as_chunks::<2>();
        Some(String::from_utf16_lossy(&units.iter().map(|unit| u16::from_le_bytes(*unit)).collect::<Vec<_>>()))
    };
    let print = name(names.print_offset, names.print_len)?;
    let substitute = name(names.substitute_offset, names.substitute_len)?;
    let target = if print.is_empty() { substitute.trim_start_matches(r"\??\") } else { &print };
    Some(target.replace('\\', "/").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reparse point with both names, as Windows lays them out.
    fn windows_link(tag: u32, flags: &[u8], substitute: &str, print: &str) -> Vec<u8> {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let (substitute, print) = (utf16(substitute), utf16(print));
        let len = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_le_bytes();
        let fields = [[0, 0], len(&substitute), len(&substitute), len(&print)].concat();
        let data = [&fields, flags, &substitute, &print].concat();
        [&tag.to_le_bytes()[..], &len(&data), &[0, 0], &data].concat()
    }

    #[test]
    fn targets_of_links() {
        let relative = windows_link(SYMBOLIC_LINK, &[1, 0, 0, 0], r"..\docs\a b", r"..\docs\a b");
        assert_eq!(link_target(&relative).unwrap(), b"../docs/a b");
        let junction = windows_link(MOUNT_POINT, &[], r"\??\C:\Users", r"C:\Users");
        assert_eq!(link_target(&junction).unwrap(), b"C:/Users");
        let unnamed = windows_link(MOUNT_POINT, &[], r"\??\Volume{0}\", "");
        assert_eq!(link_target(&unnamed).unwrap(), b"Volume{0}/");
        let linux = [&LINUX_LINK.to_le_bytes()[..], &[9, 0, 0, 0, 2, 0, 0, 0], b"a/\\b\xff"].concat();
        assert_eq!(link_target(&linux).unwrap(), b"a/\\b\xff");
    }

    #[test]
    fn what_is_no_link_or_damaged_has_no_target() {
        let deduplicated = [&0x8000_0013_u32.to_le_bytes()[..], &[4, 0, 0, 0, 1, 2, 3, 4]].concat();
        assert_eq!(link_target(&deduplicated), None);
        let whole = windows_link(SYMBOLIC_LINK, &[1, 0, 0, 0], "a", "b");
        for len in 0..whole.len() {
            assert_eq!(link_target(&whole[..len]), None, "{len} bytes");
        }
    }
}
