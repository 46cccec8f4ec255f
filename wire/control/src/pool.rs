//! The pool under an array, for its administrators.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{LunId, ShadowSetId};

/// How much room a pool has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PoolLevel {
    /// Enough.
    Plenty,
    /// Less than the threshold.
    Low,
    /// None: writes that need space are refused.
    Full,
}

/// What a pool keeps of data in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadCacheStatus {
    /// How much it may take, in bytes; 0 if nothing is kept.
    pub limit_bytes: u64,
    /// How much data it holds, in bytes.
    pub kept_bytes: u64,
    /// How many reads it has answered since the pool was opened.
    pub hits: u64,
    /// How many it has not.
    pub misses: u64,
}

/// Where a pool's space is, in bytes.
///
/// `used_bytes` is the sum of `own_bytes`, `map_bytes`, `data_bytes` and `freed_bytes`; `capacity_bytes` is that and `free_bytes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolStatus {
    /// By what means the pool reads and writes its medium.
    pub io_engine: String,
    /// What it keeps of data in memory.
    pub read_cache: ReadCacheStatus,
    /// What the pool may use in all.
    pub capacity_bytes: u64,
    /// What is in use, including what is being given back.
    pub used_bytes: u64,
    /// What is not in use.
    pub free_bytes: u64,
    /// What the pool needs for itself, whatever LUNs it has.
    pub own_bytes: u64,
    /// Maps of LUNs, shadow LUNs and deleted LUNs, each shared part once.
    pub map_bytes: u64,
    /// Data of LUNs, shadow LUNs and deleted LUNs, each shared block once.
    pub data_bytes: u64,
    /// What nobody uses any more and comes back with the next checkpoint.
    pub freed_bytes: u64,
    /// What is still to come back from deletions, `freed_bytes` among it; the most that it can be.
    pub reclaiming_bytes: u64,
    /// How much data can be written before writes are refused.
    pub available_bytes: u64,
    /// From how little of that on the pool is low on space.
    pub low_bytes: u64,
    /// How much room that is.
    pub level: PoolLevel,
    /// The lengths of all LUNs and shadow LUNs.
    pub provisioned_bytes: u64,
    /// What is mapped of them, shared blocks once for each: what they would need without sharing.
    pub mapped_bytes: u64,
    /// How many LUNs and shadow LUNs there are.
    pub lun_count: u32,
}

/// What a LUN of a pool is there for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum PoolLunKind {
    /// A LUN of its own.
    Lun {
        /// Its name.
        name: String,
    },
    /// A shadow LUN of a set.
    Shadow {
        /// The captured LUN's name, if it still exists and has one.
        source_name: Option<String>,
        /// The set.
        set: ShadowSetId,
    },
    /// The array's own for a while: what a copy or an import fills, or what a copy or an export reads.
    Internal,
    /// The array does not know it.
    Unknown,
}

/// A LUN or shadow LUN of a pool, with what it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolLun {
    /// Its id.
    pub lun: LunId,
    /// What it is there for.
    #[serde(flatten)]
    pub kind: PoolLunKind,
    /// Its length.
    pub len_bytes: u64,
    /// What is mapped of it, whether others share it or not.
    pub mapped_bytes: u64,
    /// What only it uses, data and maps: what its deletion brings back.
    pub unique_bytes: u64,
}

/// LUNs of a pool, as many as could be looked at in a short time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolLunsAnswer {
    /// In the order of their ids.
    pub luns: Vec<PoolLun>,
    /// There are more: ask for those after the last of these.
    pub more: bool,
}

/// Which LUNs of a pool to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolLunsRequest {
    /// Those whose ids come after this one; from the first on if it is absent.
    pub after: Option<LunId>,
}

/// A pool that is to have more capacity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CapacityRequest {
    /// How much it may use in all.
    pub capacity_bytes: u64,
}

/// How a scrub stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScrubPhase {
    /// It runs, or goes on when the array is started again.
    Running,
    /// An administrator stopped it; the next one goes on from there.
    Stopped,
    /// It has looked at everything.
    Finished,
    /// It could not go on.
    Failed,
}

/// Blocks of a LUN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LunBlocks {
    /// The LUN.
    pub lun: LunId,
    /// What the LUN is there for.
    #[serde(flatten)]
    pub kind: PoolLunKind,
    /// The first of the blocks, of 512 bytes.
    pub first_block: u64,
    /// How many they are.
    pub block_count: u64,
}

/// The last scrub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScrubState {
    /// How it stands.
    pub phase: ScrubPhase,
    /// How much it reads in a second at most.
    pub bytes_per_second: Option<u64>,
    /// When it began, in milliseconds since 1970.
    pub began_at_unix_ms: u64,
    /// When it ended, if it has.
    pub ended_at_unix_ms: Option<u64>,
    /// How many map pages it has compared with their second copies.
    pub map_pages: u64,
    /// How much data it has verified.
    pub verified_bytes: u64,
    /// How much data the pool has now.
    pub data_bytes: u64,
    /// How many copies of map pages it has written again.
    pub healed_copies: u64,
    /// What cannot be read.
    pub damage: Vec<LunBlocks>,
    /// More than that cannot be read.
    pub damage_left_out: bool,
    /// Why it could not go on.
    pub failure: Option<String>,
}

/// Whether there ever was a scrub, and how the last one stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScrubAnswer {
    /// The last one.
    pub scrub: Option<ScrubState>,
}

/// A scrub to be begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScrubRequest {
    /// How much it may read in a second; as much as it can if that is absent.
    #[serde(default)]
    pub bytes_per_second: Option<u64>,
    /// From the beginning, though the last one was stopped.
    #[serde(default)]
    pub restart: bool,
}

/// How a full copy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CopyPhase {
    /// It runs, or goes on when the array is started again.
    Running,
    /// The copy is a LUN like any other.
    Finished,
    /// An administrator gave it up; nothing is left of it.
    Cancelled,
    /// It could not go on; nothing is left of it.
    Failed,
}

/// A full copy of a LUN or shadow LUN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CopyState {
    /// The name of the LUN that it makes.
    pub name: String,
    /// Its id.
    pub lun: LunId,
    /// What is copied.
    pub source: LunId,
    /// The name of that, if it has one.
    pub source_name: Option<String>,
    /// How it stands.
    pub phase: CopyPhase,
    /// How much it reads in a second at most.
    pub bytes_per_second: Option<u64>,
    /// How long it is.
    pub len_bytes: u64,
    /// How much of that is done.
    pub done_bytes: u64,
    /// How much of that was written since the array was started: what is not mapped, and zeros, are not.
    pub written_bytes: u64,
    /// Why it could not go on.
    pub failure: Option<String>,
}

/// A full copy to be begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyRequest {
    /// The name of a LUN, or the id of a shadow LUN.
    pub source: String,
    /// How much it may read in a second; as much as it can if that is absent.
    #[serde(default)]
    pub bytes_per_second: Option<u64>,
}

/// Full copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CopiesAnswer {
    /// Those that run, and the last ones that are over.
    pub copies: Vec<CopyState>,
}

/// A shadow LUN that is to be a LUN of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromoteRequest {
    /// What to call it.
    pub name: String,
}

/// A LUN that is to get the content of a shadow LUN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevertRequest {
    /// The shadow LUN, one of that LUN.
    pub shadow: LunId,
    /// Though hosts see the LUN.
    #[serde(default)]
    pub force: bool,
}
