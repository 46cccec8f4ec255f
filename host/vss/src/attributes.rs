//! Attribute bits. All are open sets: bits that have no name here are kept.

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

/// The attributes of a shadow copy (`_VSS_VOLUME_SNAPSHOT_ATTRIBUTES`), which also make up the context (`_VSS_SNAPSHOT_CONTEXT`)
/// that every provider is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Context(u32);

bitflags! {
    impl Context: u32 {
        /// Survives a reboot and the requester's exit.
        const PERSISTENT = 0x0000_0001;
        /// Read-only at once; no changes by writers.
        const NO_AUTORECOVERY = 0x0000_0002;
        /// For "previous versions"; served by the system provider only.
        const CLIENT_ACCESSIBLE = 0x0000_0004;
        /// Not deleted when the requester's process ends.
        const NO_AUTO_RELEASE = 0x0000_0008;
        /// Without writers.
        const NO_WRITERS = 0x0000_0010;
        /// Not surfaced locally; must be movable to another host.
        const TRANSPORTABLE = 0x0000_0020;
        /// Not exposed at present.
        const NOT_SURFACED = 0x0000_0040;
        /// Without transaction integration.
        const NOT_TRANSACTED = 0x0000_0080;
        /// The provider is a hardware provider.
        const HARDWARE_ASSISTED = 0x0001_0000;
        /// A copy that shares with its source is required.
        const DIFFERENTIAL = 0x0002_0000;
        /// A full copy is required.
        const PLEX = 0x0004_0000;
        /// Arrived by an import.
        const IMPORTED = 0x0008_0000;
        /// Has a drive letter or mount point.
        const EXPOSED_LOCALLY = 0x0010_0000;
        /// Is shared.
        const EXPOSED_REMOTELY = 0x0020_0000;
        /// A writer will change the copy between PreFinalCommit and PostFinalCommit.
        const AUTORECOVER = 0x0040_0000;
        /// Not for backup; writers recover it.
        const ROLLBACK_RECOVERY = 0x0080_0000;
        /// Reserved.
        const DELAYED_POSTSNAPSHOT = 0x0100_0000;
        /// Transaction recovery is enforced during the creation.
        const TXF_RECOVERY = 0x0200_0000;
        /// A copy of a file share.
        const FILE_SHARE = 0x0400_0000;

        /// `VSS_CTX_BACKUP`: non-persistent, released with the requester, with writers.
        const CTX_BACKUP = 0;
        /// `VSS_CTX_FILE_SHARE_BACKUP`.
        const CTX_FILE_SHARE_BACKUP = Self::NO_WRITERS.bits();
        /// `VSS_CTX_NAS_ROLLBACK`.
        const CTX_NAS_ROLLBACK = Self::PERSISTENT.bits() | Self::NO_AUTO_RELEASE.bits() | Self::NO_WRITERS.bits();
        /// `VSS_CTX_APP_ROLLBACK`.
        const CTX_APP_ROLLBACK = Self::PERSISTENT.bits() | Self::NO_AUTO_RELEASE.bits();
        /// `VSS_CTX_CLIENT_ACCESSIBLE`.
        const CTX_CLIENT_ACCESSIBLE = Self::CTX_NAS_ROLLBACK.bits() | Self::CLIENT_ACCESSIBLE.bits();
        /// `VSS_CTX_CLIENT_ACCESSIBLE_WRITERS`.
        const CTX_CLIENT_ACCESSIBLE_WRITERS = Self::CTX_APP_ROLLBACK.bits() | Self::CLIENT_ACCESSIBLE.bits();
        /// `VSS_CTX_ALL`: for queries only, illegal for a creation.
        const CTX_ALL = 0xFFFF_FFFF;

        const _ = !0;
    }
}

/// What `OnLunStateChange` tells or asks (`VSS_HARDWARE_OPTIONS`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct LunStateChange(u32);

bitflags! {
    impl LunStateChange: u32 {
        /// The shadow copy will be read-write from now on.
        const NOTIFY_READ_WRITE = 0x0000_0100;
        /// Auto-recovery begins.
        const NOTIFY_LUN_PRE_RECOVERY = 0x0000_0200;
        /// Auto-recovery has ended.
        const NOTIFY_LUN_POST_RECOVERY = 0x0000_0400;
        /// Mask the LUNs from this host; they go on to exist.
        const DO_MASK_LUNS = 0x0000_0800;

        const _ = !0;
    }
}

/// What becomes of the LUNs of a set that is broken (`VSS_HARDWARE_OPTIONS`, its `VSS_BREAKEX_FLAG_*`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct BreakOptions(u32);

bitflags! {
    impl BreakOptions: u32 {
        /// The LUNs are masked from this host.
        const MASK_LUNS = 0x0000_0001;
        /// The volumes become read-write.
        const MAKE_READ_WRITE = 0x0000_0002;
        /// The shadow disks get the identities of their originals, of which none may be visible.
        const REVERT_IDENTITY_ALL = 0x0000_0004;
        /// The shadow disks keep their identities.
        const REVERT_IDENTITY_NONE = 0x0000_0008;

        const _ = !0;
    }
}

/// How a set is recovered (`VSS_RECOVERY_OPTIONS`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct RecoveryOptions(u32);

bitflags! {
    impl RecoveryOptions: u32 {
        /// The destinations get the signatures of the disks that were copied, instead of keeping their own.
        const REVERT_IDENTITY_ALL = 0x0000_0100;
        /// Volumes that were not named are replaced without a question.
        const NO_VOLUME_CHECK = 0x0000_0200;

        const _ = !0;
    }
}
