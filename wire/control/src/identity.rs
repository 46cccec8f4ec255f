//! How a LUN looks to initiators, derived from its id and from nothing else; and the way back.

use crate::{Association, CodeSet, Designator, DesignatorKind, LunId, LunIdentity};

/// T10 VENDOR IDENTIFICATION of all our LUNs.
pub const VENDOR: &str = "LUNSHDW";
/// PRODUCT IDENTIFICATION of all our LUNs. Hosts keep it, so it never changes, whatever the program is called later.
pub const PRODUCT: &str = "SHADOW LUN";
/// PRODUCT REVISION LEVEL. Constant, since hosts compare it between the creation of a shadow copy and its import.
pub const REVISION: &str = "0001";

/// The name of our arrays' target node.
pub const TARGET_NAME: &str = "iqn.2026-11.org.lunshadow:array";

/// The identity of a LUN: its serial number is the id in lower-case hexadecimal, page 0x83 has exactly two LUN-associated
/// designators, NAA locally assigned (SPC-4 7.8.6.6.4, 8 bytes, the low 60 bits of the id) and T10 vendor id.
#[must_use]
pub fn identity_of(lun: LunId) -> LunIdentity {
    let serial = lun.to_string();
    let mut naa = lun.as_u128().to_be_bytes()[8..].to_vec();
    naa[0] = 0x30 | (naa[0] & 0x0f);
    let t10 = format!("{VENDOR:<8}{serial}").into_bytes();
    let designator = |code_set, kind, bytes| Designator { code_set, association: Association::LUN, kind, bytes };
    LunIdentity {
        vendor: VENDOR.to_owned(),
        product: PRODUCT.to_owned(),
        revision: REVISION.to_owned(),
        designators: vec![
            designator(CodeSet::BINARY, DesignatorKind::NAA, naa),
            designator(CodeSet::ASCII, DesignatorKind::T10_VENDOR_ID, t10),
        ],
        serial,
    }
}

/// The id that a T10 vendor designator of ours carries, in any case and with any padding at its end; `None` for all other designators.
/// It is what tells a LUN of ours that is gone from a disk of somebody else.
#[must_use]
pub fn lun_named_by(designator: &Designator) -> Option<LunId> {
    if (designator.kind, designator.association) != (DesignatorKind::T10_VENDOR_ID, Association::LUN) {
        return None;
    }
    let (vendor, rest) = std::str::from_utf8(&designator.bytes).ok()?.split_at_checked(8)?;
    let serial = rest.trim_end_matches([' ', '\0']);
    (vendor.trim_end() == VENDOR).then(|| serial.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_luns_identity_is_stable_and_well_formed() {
        let id = LunId::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        let identity = identity_of(id);
        assert_eq!(identity, identity_of(id));
        assert_eq!(identity.serial, "00112233445566778899aabbccddeeff");
        assert_eq!(identity.designators[0].bytes, [0x38, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
        assert_eq!(identity.designators[1].bytes, b"LUNSHDW 00112233445566778899aabbccddeeff");
    }

    #[test]
    fn only_a_vendor_designator_of_ours_names_a_lun() {
        let id = LunId::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        let [naa, t10] = &identity_of(id).designators[..] else { panic!("two designators") };
        assert_eq!(lun_named_by(t10), Some(id));
        assert_eq!(lun_named_by(naa), None);
        let with = |bytes: &[u8]| lun_named_by(&Designator { bytes: bytes.to_vec(), ..t10.clone() });
        assert_eq!(with(b"LUNSHDW 00112233445566778899AABBCCDDEEFF  \0"), Some(id));
        for foreign in [&b"ACME    00112233445566778899aabbccddeeff"[..], b"LUNSHDW 0011", b"LUNSHDW", b"\xff\xfe", b""]
        {
            assert_eq!(with(foreign), None, "{foreign:?}");
        }
        assert_eq!(lun_named_by(&Designator { association: Association::TARGET_PORT, ..t10.clone() }), None);
    }
}
