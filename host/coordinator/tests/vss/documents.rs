//! Backup documents on paper (section 1.6 of the contract): what is read is what was written, and nothing else is read.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lunshadow_coordinator::{BackupDocument, DiskExtent, DocumentError, DocumentLun, DocumentSnapshot, VolumeName};
use lunshadow_vss::{
    BusType, Context, DeviceName, DiskSignature, HResult, Interconnect, LunInformation, ProviderId, SnapshotId,
    SnapshotSetId, StorageIdentifier,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::support::{device, lun, provider_id, volume};

/// A set of one volume on one LUN.
fn document() -> BackupDocument {
    let lun = DocumentLun {
        source_device: device("L1"),
        source: lun("L1"),
        extents: vec![DiskExtent { offset_bytes: 512, len_bytes: 1024 }],
        shadow: lun("P-L1"),
    };
    let snapshot = SnapshotId(Uuid::from_u128(2));
    BackupDocument {
        set: SnapshotSetId(Uuid::from_u128(1)),
        context: Context::TRANSPORTABLE,
        created_unix_ms: 3,
        snapshots: vec![DocumentSnapshot { snapshot, volume: volume(1), provider: provider_id(1), luns: vec![lun] }],
    }
}

/// The text with another content, which the digest is made to fit, as somebody does who means it.
fn resealed(text: &str, edit: impl FnOnce(&str) -> String) -> String {
    let (start, end) = (text.find("<set ").unwrap(), text.find("</set>").unwrap() + "</set>".len());
    let (old, new) = (&text[start..end], edit(&text[start..end]));
    let digest = |content: &str| BASE64_STANDARD.encode(Sha256::digest(content));
    text.replace(&digest(old), &digest(&new)).replace(old, &new)
}

fn refusal(text: &str) -> DocumentError {
    BackupDocument::from_xml(text).expect_err(text)
}

fn corruption(text: &str) -> &'static str {
    let error = refusal(text);
    assert_eq!(error.code().bits(), 0x8004_2310, "{text}");
    assert_eq!(error.code(), HResult::VSS_E_CORRUPT_XML_DOCUMENT);
    match error {
        DocumentError::Corrupt(reason) => reason,
        other => panic!("{other:?} of {text}"),
    }
}

#[test]
fn content_that_was_changed_does_not_fit_its_digest() {
    let text = document().to_xml();
    assert_eq!(BackupDocument::from_xml(&text).unwrap(), document());
    let does_not_fit = "its content does not fit its digest";
    assert_eq!(corruption(&text.replace("offset-bytes=\"512\"", "offset-bytes=\"513\"")), does_not_fit);
    assert_eq!(corruption(&text.replace("digest=\"", "digest=\"A")), does_not_fit);
    // What does not count is not covered.
    let spread = text.replace("><", ">\n  <");
    assert_eq!(BackupDocument::from_xml(&spread).unwrap(), document());
    // Who seals it anew has written another document.
    let moved = BackupDocument::from_xml(&resealed(&text, |set| set.replace("\"512\"", "\"513\""))).unwrap();
    assert_eq!(moved.snapshots[0].luns[0].extents[0].offset_bytes, 513);
}

#[test]
fn texts_that_are_no_documents_are_invalid() {
    let text = document().to_xml();
    let without_a_set = format!("{}/>", &text[..text.find("><set").unwrap()]);
    let foreign = "<BACKUP_COMPONENTS xmlns=\"x-schema:#VssComponentMetadata\" version=\"1.1\"/>";
    for invalid in ["", "no XML", "<", "<a><b/></a>", foreign, &without_a_set, &text[..text.len() / 2]] {
        let error = refusal(invalid);
        assert!(matches!(error, DocumentError::Invalid(_)), "{error:?} of {invalid}");
        assert_eq!(error.code().bits(), 0x8004_2311, "{invalid}");
        assert_eq!(error.code(), HResult::VSS_E_INVALID_XML_DOCUMENT);
    }
}

#[test]
fn another_version_is_not_understood() {
    let text = document().to_xml();
    for version in [0, 2, u32::MAX] {
        let error = refusal(&text.replacen("version=\"1\"", &format!("version=\"{version}\""), 1));
        assert!(matches!(error, DocumentError::UnknownVersion(of) if of == version), "{error:?}");
        assert_eq!(error.code().bits(), 0x8004_2311);
    }
}

#[test]
fn fields_that_cannot_be_decoded_are_corrupt_whatever_the_digest_says() {
    let text = document().to_xml();
    let identifier = BASE64_STANDARD.encode("ACME    P-L1");
    assert!(text.contains(&identifier));
    for bad in ["*", "QQ", &identifier[1..]] {
        let bad = resealed(&text, |set| set.replace(&identifier, bad));
        assert_eq!(corruption(&bad), "an identifier is not Base64");
    }
    let bad = resealed(&text, |set| set.replace("device=\"L1\"", "device=\"%FF\""));
    assert_eq!(corruption(&bad), "a text is not UTF-8");
}

#[test]
fn documents_that_an_import_cannot_rely_on_are_corrupt() {
    type Bend = fn(&mut BackupDocument);
    let cases: [(Bend, &str); 5] = [
        (|it| it.snapshots.clear(), "it has no shadow copies"),
        (|it| it.snapshots.push(it.snapshots[0].clone()), "two shadow copies have one id"),
        (|it| it.snapshots[0].luns.clear(), "a shadow copy has no LUNs"),
        (|it| it.snapshots[0].luns[0].shadow = lun("L1"), "a shadow LUN has the identity of its source"),
        (
            |it| {
                let mut second = it.snapshots[0].clone();
                second.snapshot = SnapshotId(Uuid::from_u128(9));
                second.luns[0].shadow = lun("P-another");
                it.snapshots.push(second);
            },
            "a LUN has two shadow LUNs",
        ),
    ];
    for (bend, reason) in cases {
        let mut document = document();
        bend(&mut document);
        assert_eq!(corruption(&document.to_xml()), reason);
    }
    // Another provider's shadow LUN of the same LUN is no contradiction.
    let mut of_two = document();
    let mut second = of_two.snapshots[0].clone();
    (second.snapshot, second.provider) = (SnapshotId(Uuid::from_u128(9)), provider_id(2));
    second.luns[0].shadow = lun("Q-L1");
    of_two.snapshots.push(second);
    assert_eq!(BackupDocument::from_xml(&of_two.to_xml()).unwrap(), of_two);
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..24)
}

fn any_lun() -> impl Strategy<Value = LunInformation> {
    let text = || prop::option::of(any::<String>());
    let identifier = (any::<u32>(), 0..9u32, any_bytes());
    let way = (any::<u32>(), any_bytes(), any_bytes());
    (
        any::<(u32, u8, u8, bool, u32, u128, u32)>(),
        (text(), text(), text(), text()),
        prop::collection::vec(identifier, 0..4),
        prop::collection::vec(way, 0..3),
    )
        .prop_map(|(numbers, texts, identifiers, ways)| {
            let (version, device_type, device_type_modifier, command_queueing, bus_type, signature, descriptor) =
                numbers;
            let (vendor_id, product_id, product_revision, serial_number) = texts;
            LunInformation {
                version,
                device_type,
                device_type_modifier,
                command_queueing,
                bus_type: BusType(bus_type),
                vendor_id,
                product_id,
                product_revision,
                serial_number,
                disk_signature: DiskSignature(Uuid::from_u128(signature)),
                descriptor_version: descriptor,
                identifiers: identifiers
                    .into_iter()
                    .map(|(code_set, kind, bytes)| StorageIdentifier { code_set, kind, bytes })
                    .collect(),
                interconnects: ways
                    .into_iter()
                    .map(|(address_type, port, address)| Interconnect { address_type, port, address })
                    .collect(),
            }
        })
}

/// Any document that an import can rely on: it is made to keep to the few rules that there are.
fn any_document() -> impl Strategy<Value = BackupDocument> {
    let extent = any::<(u64, u64)>().prop_map(|(offset_bytes, len_bytes)| DiskExtent { offset_bytes, len_bytes });
    let extents = prop::collection::vec(extent, 0..3);
    let lun = (any::<String>(), any_lun(), extents, any_lun());
    let snapshot = (any::<(u128, String)>(), prop::collection::vec(lun, 1..3));
    let snapshots = prop::collection::vec(snapshot, 1..4);
    (any::<(u128, u32, u64)>(), snapshots).prop_map(|((set, context, created_unix_ms), snapshots)| {
        let snapshot = |(number, ((provider, name), luns)): (u128, ((u128, String), Vec<_>))| {
            let lun = |(place, (name, source, extents, shadow)): (usize, (String, _, _, LunInformation))| {
                let source_device = DeviceName(format!("{name}{number}-{place}"));
                let mut lun = DocumentLun { source_device, source, extents, shadow };
                if lun.shadow.matches_by_page83(&lun.source) {
                    lun.shadow.identifiers.clear();
                }
                lun
            };
            DocumentSnapshot {
                snapshot: SnapshotId(Uuid::from_u128(number)),
                volume: VolumeName(name),
                provider: ProviderId(Uuid::from_u128(provider)),
                luns: luns.into_iter().enumerate().map(lun).collect(),
            }
        };
        BackupDocument {
            set: SnapshotSetId(Uuid::from_u128(set)),
            context: Context::from_bits_retain(context),
            created_unix_ms,
            snapshots: (0..).zip(snapshots).map(snapshot).collect(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_document_is_read_as_it_was_written(document in any_document()) {
        let text = document.to_xml();
        prop_assert_eq!(BackupDocument::from_xml(&text).unwrap(), document);
    }

    #[test]
    fn any_text_is_refused_and_never_a_panic(text in any::<String>(), markup in "[<>/=\"& a-z1!\\[\\]?-]{0,60}") {
        prop_assert!(BackupDocument::from_xml(&text).is_err());
        prop_assert!(BackupDocument::from_xml(&markup).is_err());
    }

    #[test]
    fn a_damaged_text_is_refused_or_says_the_same(at in any::<prop::sample::Index>(), len in 0..9usize, with in "[<>/=\"&% a-zA-Z0-9]{0,4}") {
        let text = document().to_xml();
        let at = at.index(text.len());
        let damaged = format!("{}{with}{}", &text[..at], &text[(at + len).min(text.len())..]);
        if let Ok(read) = BackupDocument::from_xml(&damaged) {
            prop_assert_eq!(read, document(), "{}", damaged);
        }
    }
}
