//! How a LUN looks to initiators, derived from its id and from nothing else.

use lunshadow_control::{Association, CodeSet, Designator, DesignatorKind, LunId, LunIdentity};

/// T10 VENDOR IDENTIFICATION of all our LUNs.
pub const VENDOR: &str = "LUNSHDW";
/// PRODUCT IDENTIFICATION of all our LUNs. Hosts keep it, so it never changes, whatever the program is called later.
pub const PRODUCT: &str = "SHADOW LUN";
/// PRODUCT REVISION LEVEL. Constant, since hosts compare it between the creation of a shadow copy and its import.
pub const REVISION: &str = "0001";

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
}
