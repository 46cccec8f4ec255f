//! What a block device holds that is not ours, so that no pool is made over something that somebody needs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

/// Something at a fixed place that tells what a device holds.
struct Signature {
    offset_bytes: u64,
    bytes: &'static [u8],
    name: &'static str,
}

/// Looked for where `blkid` is not installed.
const SIGNATURES: &[Signature] = &[
    Signature { offset_bytes: 512, bytes: b"EFI PART", name: "a GPT partition table" },
    Signature { offset_bytes: 4096, bytes: b"EFI PART", name: "a GPT partition table" },
    Signature { offset_bytes: 1080, bytes: b"\x53\xef", name: "an ext2, ext3 or ext4 file system" },
    Signature { offset_bytes: 0, bytes: b"XFSB", name: "an XFS file system" },
    Signature { offset_bytes: 65600, bytes: b"_BHRfS_M", name: "a btrfs file system" },
    Signature { offset_bytes: 536, bytes: b"LVM2 001", name: "an LVM physical volume" },
    Signature { offset_bytes: 0, bytes: b"LUKS\xba\xbe", name: "a LUKS volume" },
    Signature { offset_bytes: 3, bytes: b"NTFS    ", name: "an NTFS file system" },
    Signature { offset_bytes: 3, bytes: b"EXFAT   ", name: "an exFAT file system" },
    Signature { offset_bytes: 4096, bytes: b"\xfc\x4e\x2b\xa9", name: "a member of a Linux RAID" },
    Signature { offset_bytes: 0, bytes: b"\xfc\x4e\x2b\xa9", name: "a member of a Linux RAID" },
    Signature { offset_bytes: 4086, bytes: b"SWAPSPACE2", name: "swap space" },
    Signature { offset_bytes: 32769, bytes: b"CD001", name: "an ISO 9660 file system" },
    // Boot sectors of FAT and partition tables of MBR end alike.
    Signature { offset_bytes: 510, bytes: b"\x55\xaa", name: "an MBR partition table or a boot sector" },
];

/// Looks for file systems, partition tables and the like on a device. Answers what was found, in words.
///
/// # Errors
/// If the device cannot be read.
pub fn found_on(device: &Path) -> anyhow::Result<Option<String>> {
    let command = Command::new("blkid").args(["--probe", "--output", "export"]).arg(device).output();
    match command {
        Ok(output) => match output.status.code() {
            Some(0) => Ok(Some(in_words(&String::from_utf8_lossy(&output.stdout)))),
            // So it says that there is nothing.
            Some(2) => signature_on(device),
            // Several signatures that contradict each other.
            Some(8) => Ok(Some("several things at once".to_owned())),
            _ => bail!(
                "blkid cannot tell what is on {}: {}",
                device.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            ),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => signature_on(device),
        Err(error) => Err(error).context("blkid does not start"),
    }
}

/// What `blkid` has exported: lines of keys and values.
fn in_words(exported: &str) -> String {
    let value = |key: &str| exported.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let label = value("LABEL").map(|label| format!(" called {label:?}")).unwrap_or_default();
    match (value("TYPE"), value("PTTYPE")) {
        (Some(kind), _) => format!("{kind}{label}"),
        (None, Some(table)) => format!("a partition table ({table})"),
        (None, None) => "something that blkid knows".to_owned(),
    }
}

fn signature_on(device: &Path) -> anyhow::Result<Option<String>> {
    let file = File::open(device).with_context(|| format!("cannot read {}", device.display()))?;
    for signature in SIGNATURES {
        let mut found = vec![0; signature.bytes.len()];
        match file.read_exact_at(&mut found, signature.offset_bytes) {
            Ok(()) if found == signature.bytes => return Ok(Some(signature.name.to_owned())),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", device.display())),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_found_where_they_belong() {
        for signature in SIGNATURES {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(1 << 20).unwrap();
            assert_eq!(signature_on(file.path()).unwrap(), None);
            file.as_file().write_all_at(signature.bytes, signature.offset_bytes).unwrap();
            assert_eq!(signature_on(file.path()).unwrap().as_deref(), Some(signature.name));
        }
        let short = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(signature_on(short.path()).unwrap(), None);
    }

    #[test]
    fn what_blkid_says_is_put_in_words() {
        assert_eq!(in_words("DEVNAME=/dev/x\nLABEL=data\nTYPE=ext4\n"), "ext4 called \"data\"");
        assert_eq!(in_words("DEVNAME=/dev/x\nPTTYPE=gpt\n"), "a partition table (gpt)");
        assert_eq!(in_words("DEVNAME=/dev/x\n"), "something that blkid knows");
    }
}
