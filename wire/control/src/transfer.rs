//! Imports and exports: the content of a LUN, block by block.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::LunId;

/// How much content one request or answer has at most, in bytes.
pub const CONTENT_BYTES_MAX: usize = 1 << 20;

/// The media type of content.
pub const CONTENT_MEDIA_TYPE: &str = "application/octet-stream";

/// What is to be exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// The name of a LUN, or the id of a shadow LUN.
    pub source: String,
}

/// An import or export that has begun. It is removed when nobody touches it for two minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TransferAnswer {
    /// Its id. After an import it is the LUN's.
    pub transfer: LunId,
    /// How long the content is.
    pub len_bytes: u64,
}

/// Blocks of 512 bytes that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContentExtent {
    /// The first of them.
    pub first_block: u64,
    /// How many they are.
    pub block_count: u64,
    /// Whether they are stored. Those that are not read as zeros.
    pub mapped: bool,
}

/// Where there is content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExtentsAnswer {
    /// One behind the other from the block that was asked for; whoever wants more asks again from where these end.
    pub extents: Vec<ContentExtent>,
}

/// Whole blocks of 512 bytes, as they are.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = Binary)]
pub struct BlockContent(pub Vec<u8>);
