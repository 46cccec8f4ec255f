//! What the program prints: plain text for people, on standard output.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

pub use lunshadow_rehearsal::console::{complain, say};

use crate::array::TARGET_NAME;

/// How to reach the target with programs that people have.
#[must_use]
pub fn attach_hints(portal: SocketAddr, lun_number: u8) -> String {
    let (address, port) = (portal.ip(), portal.port());
    format!(
        "   attach with\n    \
         iscsi-ls -s iscsi://{portal}\n    \
         qemu-img info iscsi://{portal}/{TARGET_NAME}/{lun_number}\n    \
         qemu-system-x86_64 -drive file=iscsi://{portal}/{TARGET_NAME}/{lun_number},format=raw\n    \
         iscsiadm -m discovery -t sendtargets -p {address}:{port} && iscsiadm -m node -T {TARGET_NAME} -p {address}:{port} --login"
    )
}

/// A number of bytes, in the unit in which people say it.
#[must_use]
pub fn bytes(len_bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut rest = len_bytes;
    while rest >= 10 * 1024 && unit + 1 < UNITS.len() {
        rest /= 1024;
        unit += 1;
    }
    format!("{rest} {}", UNITS[unit])
}

/// A number of microseconds, in milliseconds with as many digits as matter.
#[must_use]
pub fn milliseconds(duration_us: u64) -> String {
    format!("{}.{:03} ms", duration_us / 1000, duration_us % 1000)
}

/// A point in time, in UTC.
#[must_use]
pub fn unix_time(unix_ms: u64) -> String {
    // Beyond the year 9999 there is no such text.
    let last = Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(unix_ms).min(last)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_well() {
        assert_eq!(bytes(512), "512 bytes");
        assert_eq!(bytes(64 << 20), "64 MiB");
        assert_eq!(bytes(3 << 40), "3072 GiB");
        assert_eq!(milliseconds(12), "0.012 ms");
        assert_eq!(milliseconds(4_321_000), "4321.000 ms");
        assert_eq!(unix_time(1_767_225_600_999), "2026-01-01T00:00:00Z");
        assert_eq!(unix_time(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
