//! The document's form on paper. Texts of disks are percent-encoded where XML cannot hold them or would not keep them: storage
//! stacks put spaces and zero bytes into them. Binary fields are in Base64.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lunshadow_vss::{
    BusType, Context, DeviceName, DiskSignature, Interconnect, LunInformation, ProviderId, SnapshotId, SnapshotSetId,
    StorageIdentifier,
};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{BackupDocument, DocumentError, DocumentLun, DocumentSnapshot};
use crate::platform::{DiskExtent, VolumeName};

const VERSION: u32 = 1;

/// What is not written as it is.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%').add(b' ');

#[derive(Serialize, Deserialize)]
#[serde(rename = "backup-document")]
struct Document {
    #[serde(rename = "@version")]
    version: u32,
    /// SHA-256 of the element that follows, in Base64.
    #[serde(rename = "@digest")]
    digest: String,
    set: Set,
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "set")]
struct Set {
    #[serde(rename = "@id")]
    id: Uuid,
    #[serde(rename = "@context")]
    context: u32,
    #[serde(rename = "@created-unix-ms")]
    created_unix_ms: u64,
    #[serde(default)]
    snapshot: Vec<Snapshot>,
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    #[serde(rename = "@id")]
    id: Uuid,
    #[serde(rename = "@provider")]
    provider: Uuid,
    #[serde(rename = "@volume")]
    volume: String,
    #[serde(default)]
    lun: Vec<Lun>,
}

#[derive(Serialize, Deserialize)]
struct Lun {
    #[serde(rename = "@device")]
    device: String,
    #[serde(default)]
    extent: Vec<Extent>,
    source: Information,
    shadow: Information,
}

#[derive(Serialize, Deserialize)]
struct Extent {
    #[serde(rename = "@offset-bytes")]
    offset_bytes: u64,
    #[serde(rename = "@len-bytes")]
    len_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Information {
    #[serde(rename = "@version")]
    version: u32,
    #[serde(rename = "@device-type")]
    device_type: u8,
    #[serde(rename = "@device-type-modifier")]
    device_type_modifier: u8,
    #[serde(rename = "@command-queueing")]
    command_queueing: bool,
    #[serde(rename = "@bus-type")]
    bus_type: u32,
    #[serde(rename = "@vendor-id", default, skip_serializing_if = "Option::is_none")]
    vendor_id: Option<String>,
    #[serde(rename = "@product-id", default, skip_serializing_if = "Option::is_none")]
    product_id: Option<String>,
    #[serde(rename = "@product-revision", default, skip_serializing_if = "Option::is_none")]
    product_revision: Option<String>,
    #[serde(rename = "@serial-number", default, skip_serializing_if = "Option::is_none")]
    serial_number: Option<String>,
    #[serde(rename = "@disk-signature")]
    disk_signature: Uuid,
    #[serde(rename = "@descriptor-version")]
    descriptor_version: u32,
    #[serde(default)]
    identifier: Vec<Identifier>,
    #[serde(default)]
    interconnect: Vec<Way>,
}

#[derive(Serialize, Deserialize)]
struct Identifier {
    #[serde(rename = "@code-set")]
    code_set: u32,
    #[serde(rename = "@type")]
    kind: u32,
    #[serde(rename = "@bytes")]
    bytes: String,
}

#[derive(Serialize, Deserialize)]
struct Way {
    #[serde(rename = "@address-type")]
    address_type: u32,
    #[serde(rename = "@port")]
    port: String,
    #[serde(rename = "@address")]
    address: String,
}

pub(super) fn write(document: &BackupDocument) -> String {
    let set = Set {
        id: document.set.0,
        context: document.context.bits(),
        created_unix_ms: document.created_unix_ms,
        snapshot: document.snapshots.iter().map(snapshot).collect(),
    };
    text(&Document { version: VERSION, digest: digest(&set), set })
}

pub(super) fn read(text: &str) -> Result<BackupDocument, DocumentError> {
    let Document { version, digest: written, set } = quick_xml::de::from_str(text).map_err(DocumentError::Invalid)?;
    if version != VERSION {
        return Err(DocumentError::UnknownVersion(version));
    }
    // What was read is written again: whatever is not in the result does not count.
    if digest(&set) != written {
        return Err(DocumentError::Corrupt("its content does not fit its digest"));
    }
    Ok(BackupDocument {
        set: SnapshotSetId(set.id),
        context: Context::from_bits_retain(set.context),
        created_unix_ms: set.created_unix_ms,
        snapshots: set.snapshot.into_iter().map(read_snapshot).collect::<Result<_, _>>()?,
    })
}

fn text(value: &impl Serialize) -> String {
    quick_xml::se::to_string(value).expect("structures of numbers and texts can be written as XML")
}

fn digest(set: &Set) -> String {
    BASE64_STANDARD.encode(Sha256::digest(text(set)))
}

fn snapshot(snapshot: &DocumentSnapshot) -> Snapshot {
    let lun = |lun: &DocumentLun| Lun {
        device: encode(&lun.source_device.0),
        extent: lun.extents.iter().map(extent).collect(),
        source: information(&lun.source),
        shadow: information(&lun.shadow),
    };
    Snapshot {
        id: snapshot.snapshot.0,
        provider: snapshot.provider.0,
        volume: encode(&snapshot.volume.0),
        lun: snapshot.luns.iter().map(lun).collect(),
    }
}

fn read_snapshot(snapshot: Snapshot) -> Result<DocumentSnapshot, DocumentError> {
    let read_lun = |lun: Lun| -> Result<DocumentLun, DocumentError> {
        let extent = |it: Extent| DiskExtent { offset_bytes: it.offset_bytes, len_bytes: it.len_bytes };
        Ok(DocumentLun {
            source_device: DeviceName(decode(&lun.device)?),
            source: read_information(lun.source)?,
            extents: lun.extent.into_iter().map(extent).collect(),
            shadow: read_information(lun.shadow)?,
        })
    };
    Ok(DocumentSnapshot {
        snapshot: SnapshotId(snapshot.id),
        volume: VolumeName(decode(&snapshot.volume)?),
        provider: ProviderId(snapshot.provider),
        luns: snapshot.lun.into_iter().map(read_lun).collect::<Result<_, _>>()?,
    })
}

const fn extent(extent: &DiskExtent) -> Extent {
    Extent { offset_bytes: extent.offset_bytes, len_bytes: extent.len_bytes }
}

fn information(lun: &LunInformation) -> Information {
    let encoded = |text: &Option<String>| text.as_deref().map(encode);
    let identifier = |it: &StorageIdentifier| Identifier {
        code_set: it.code_set,
        kind: it.kind,
        bytes: BASE64_STANDARD.encode(&it.bytes),
    };
    let way = |it: &Interconnect| Way {
        address_type: it.address_type,
        port: BASE64_STANDARD.encode(&it.port),
        address: BASE64_STANDARD.encode(&it.address),
    };
    Information {
        version: lun.version,
        device_type: lun.device_type,
        device_type_modifier: lun.device_type_modifier,
        command_queueing: lun.command_queueing,
        bus_type: lun.bus_type.0,
        vendor_id: encoded(&lun.vendor_id),
        product_id: encoded(&lun.product_id),
        product_revision: encoded(&lun.product_revision),
        serial_number: encoded(&lun.serial_number),
        disk_signature: lun.disk_signature.0,
        descriptor_version: lun.descriptor_version,
        identifier: lun.identifiers.iter().map(identifier).collect(),
        interconnect: lun.interconnects.iter().map(way).collect(),
    }
}

fn read_information(lun: Information) -> Result<LunInformation, DocumentError> {
    let decoded = |text: Option<String>| text.as_deref().map(decode).transpose();
    let identifier = |it: Identifier| -> Result<StorageIdentifier, DocumentError> {
        Ok(StorageIdentifier { code_set: it.code_set, kind: it.kind, bytes: bytes(&it.bytes)? })
    };
    let way = |it: Way| -> Result<Interconnect, DocumentError> {
        Ok(Interconnect { address_type: it.address_type, port: bytes(&it.port)?, address: bytes(&it.address)? })
    };
    Ok(LunInformation {
        version: lun.version,
        device_type: lun.device_type,
        device_type_modifier: lun.device_type_modifier,
        command_queueing: lun.command_queueing,
        bus_type: BusType(lun.bus_type),
        vendor_id: decoded(lun.vendor_id)?,
        product_id: decoded(lun.product_id)?,
        product_revision: decoded(lun.product_revision)?,
        serial_number: decoded(lun.serial_number)?,
        disk_signature: DiskSignature(lun.disk_signature),
        descriptor_version: lun.descriptor_version,
        identifiers: lun.identifier.into_iter().map(identifier).collect::<Result<_, _>>()?,
        interconnects: lun.interconnect.into_iter().map(way).collect::<Result<_, _>>()?,
    })
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

fn decode(text: &str) -> Result<String, DocumentError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| DocumentError::Corrupt("a text is not UTF-8"))
}

fn bytes(text: &str) -> Result<Vec<u8>, DocumentError> {
    BASE64_STANDARD.decode(text).map_err(|_| DocumentError::Corrupt("an identifier is not Base64"))
}
