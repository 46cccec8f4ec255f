//! From the array's words about a LUN to those of VSS, and back.

use lunshadow_control::{
    Association, CodeSet, Designator, DesignatorKind, LunId, LunIdentity, LunQuery, PRODUCT, VENDOR, identity_of,
    lun_named_by,
};
use lunshadow_vss::{BusType, DiskSignature, LUN_INFORMATION_VERSION, LunInformation, StorageIdentifier};

/// `m_deviceIdDescriptor.m_version` of everything that the provider answers. It means nothing, but has to stay the same between
/// `GetTargetLuns` and `FillInLunInfo`.
const DESCRIPTOR_VERSION: u32 = 1;

/// The canonical description of a LUN: what `GetTargetLuns` answers, and what `FillInLunInfo` makes of any host's view of the LUN. The
/// disk signature is nil, the bus type SCSI, and there are no interconnects (section 5.2 of the contract).
#[must_use]
pub fn lun_information(identity: &LunIdentity) -> LunInformation {
    LunInformation {
        version: LUN_INFORMATION_VERSION,
        device_type: 0,
        device_type_modifier: 0,
        command_queueing: true,
        bus_type: BusType::SCSI,
        vendor_id: Some(identity.vendor.clone()),
        product_id: Some(identity.product.clone()),
        product_revision: Some(identity.revision.clone()),
        serial_number: Some(identity.serial.clone()),
        disk_signature: DiskSignature::default(),
        descriptor_version: DESCRIPTOR_VERSION,
        identifiers: identity
            .designators
            .iter()
            .filter(|designator| designator.association == Association::LUN)
            .map(|designator| StorageIdentifier {
                code_set: designator.code_set.0.into(),
                kind: designator.kind.0.into(),
                bytes: designator.bytes.clone(),
            })
            .collect(),
        interconnects: Vec::new(),
    }
}

/// Overwrites a host's view of a LUN with the canonical description. Interconnects stay as they are (P-23).
pub(crate) fn canonicalise(lun: &mut LunInformation, identity: &LunIdentity) {
    let interconnects = std::mem::take(&mut lun.interconnects);
    *lun = LunInformation { interconnects, ..lun_information(identity) };
}

/// What a host sees of a LUN, as a question to the array. Storage stacks pad, trim and change the case of texts (section 5.5), so texts
/// are asked for in the spelling that arrays use.
pub(crate) fn query(lun: &LunInformation) -> LunQuery {
    let serial = normalised(lun.serial_number.as_deref()).to_ascii_lowercase();
    LunQuery {
        serial: (!serial.is_empty()).then_some(serial),
        designators: lun.identifiers.iter().filter_map(designator).collect(),
    }
}

/// The LUN that `lun` claims to be, by its texts alone: for a LUN of ours that the array does not have any more. `None` for a disk that
/// never was one, and for texts that contradict each other.
pub(crate) fn claimed_lun(lun: &LunInformation) -> Option<LunId> {
    let by_designator = lun.identifiers.iter().filter_map(designator).find_map(|designator| lun_named_by(&designator));
    let by_serial = || {
        let ours = normalised(lun.vendor_id.as_deref()).eq_ignore_ascii_case(VENDOR)
            && normalised(lun.product_id.as_deref()).eq_ignore_ascii_case(PRODUCT);
        ours.then(|| normalised(lun.serial_number.as_deref()).parse().ok()).flatten()
    };
    let claimed = by_designator.or_else(by_serial)?;
    describes(lun, &identity_of(claimed)).then_some(claimed)
}

/// Whether nothing in `lun` speaks against its being the LUN of this identity: deleting needs this, finding does not.
pub(crate) fn describes(lun: &LunInformation, identity: &LunIdentity) -> bool {
    let canonical = query(&lun_information(identity));
    let seen = query(lun);
    let serial_agrees = seen.serial.is_none() || seen.serial == canonical.serial;
    let kinds_agree = canonical.designators.iter().all(|designator| {
        let mut of_kind = seen.designators.iter().filter(|other| other.kind == designator.kind).peekable();
        of_kind.peek().is_none() || of_kind.any(|other| other.bytes.eq_ignore_ascii_case(&designator.bytes))
    });
    serial_agrees && kinds_agree
}

fn designator(identifier: &StorageIdentifier) -> Option<Designator> {
    let code_set = CodeSet(u8::try_from(identifier.code_set).ok()?);
    let kind = DesignatorKind(u8::try_from(identifier.kind).ok()?);
    let mut bytes = identifier.bytes.clone();
    if code_set != CodeSet::BINARY {
        let length = bytes.iter().rposition(|byte| !matches!(byte, b' ' | 0)).map_or(0, |last| last + 1);
        bytes.truncate(length);
    }
    Some(Designator { code_set, association: Association::LUN, kind, bytes })
}

fn normalised(text: Option<&str>) -> &str {
    text.unwrap_or_default().trim_matches(|c: char| c.is_whitespace() || c == '\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LUN: LunId = LunId::from_u128(0xfeed_0000_0000_0000_0000_0000_0000_0001);
    const OTHER: LunId = LunId::from_u128(0xfeed_0000_0000_0000_0000_0000_0000_0002);

    #[test]
    fn texts_are_asked_for_in_one_spelling() {
        let identity = identity_of(LUN);
        let mut lun = lun_information(&identity);
        let plain = query(&lun);
        lun.serial_number = Some(format!("  {}\0 ", identity.serial.to_uppercase()));
        lun.identifiers[1].bytes.extend_from_slice(b"  \0\0");
        assert_eq!(query(&lun), plain);
        lun.serial_number = Some("  ".into());
        assert_eq!(query(&lun).serial, None);
    }

    #[test]
    fn binary_identifiers_keep_their_last_bytes() {
        let mut lun = lun_information(&identity_of(LUN));
        lun.identifiers[0].bytes = vec![0x30, 0x20, 0x00];
        assert_eq!(query(&lun).designators[0].bytes, [0x30, 0x20, 0x00]);
    }

    #[test]
    fn a_lun_is_claimed_by_its_designator_or_by_its_serial_number() {
        let mut lun = lun_information(&identity_of(LUN));
        assert_eq!(claimed_lun(&lun), Some(LUN));
        lun.identifiers.clear();
        assert_eq!(claimed_lun(&lun), Some(LUN));
        lun.product_id = None;
        assert_eq!(claimed_lun(&lun), None);
    }

    #[test]
    fn contradicting_texts_claim_nothing() {
        let (canonical, other) = (lun_information(&identity_of(LUN)), lun_information(&identity_of(OTHER)));
        let with_other_serial = LunInformation { serial_number: other.serial_number.clone(), ..canonical.clone() };
        assert_eq!(claimed_lun(&with_other_serial), None);
        let mut with_other_naa = canonical.clone();
        with_other_naa.identifiers[0] = other.identifiers[0].clone();
        assert_eq!(claimed_lun(&with_other_naa), None);
        assert!(!describes(&with_other_naa, &identity_of(LUN)));
        assert!(describes(&canonical, &identity_of(LUN)));
    }
}
