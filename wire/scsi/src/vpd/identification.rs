//! Who a LUN is, and through which port one talks to it.

use lunshadow_control::{Association, CodeSet, Designator, DesignatorKind};

use super::{body, page, with_header};
use crate::Peripheral;
use crate::response::ResponseError;

/// SPC-4 7.8.6, Device Identification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceIdentification {
    /// The designators in the order of the page, those of the target port and device among them.
    pub designators: Vec<Designator>,
}

/// SPC-4 table 436, PROTOCOL IDENTIFIER of iSCSI.
const ISCSI: u8 = 5;
const PROTOCOL_VALID: u8 = 0x80;

impl DeviceIdentification {
    /// The page. The designators of ports and devices are said to be those of iSCSI. A designator of more than 252 bytes does not fit
    /// into a descriptor and is left out.
    #[must_use]
    pub fn to_bytes(&self, peripheral: Peripheral) -> Vec<u8> {
        let mut descriptors = Vec::new();
        for designator in self.designators.iter().filter(|designator| designator.bytes.len() <= 252) {
            let mut bytes = designator.bytes.clone();
            if designator.kind == DesignatorKind::SCSI_NAME {
                // SPC-4 7.8.6.11: ends with a zero and is filled with zeros to a multiple of four.
                bytes.resize((bytes.len() + 1).next_multiple_of(4).min(252), 0);
            }
            let of_transport = designator.association != Association::LUN;
            let (protocol, valid) = if of_transport { (ISCSI << 4, PROTOCOL_VALID) } else { (0, 0) };
            descriptors.extend([
                protocol | designator.code_set.0 & 0x0f,
                valid | (designator.association.0 & 3) << 4 | designator.kind.0 & 0x0f,
                0,
                u8::try_from(bytes.len()).expect("at most 252 bytes"),
            ]);
            descriptors.extend(bytes);
        }
        with_header(peripheral, page::DEVICE_IDENTIFICATION, &descriptors)
    }

    /// Reads the page. A descriptor that is cut off, by the allocation length or by the page's own length, is left out.
    ///
    /// # Errors
    /// Too few bytes for a header, or another page.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let mut rest = body(page::DEVICE_IDENTIFICATION, bytes)?;
        let mut designators = Vec::new();
        while let [code_set, flags, _, len, following @ ..] = rest {
            let Some((name, next)) = following.split_at_checked(usize::from(*len)) else { break };
            let kind = DesignatorKind(flags & 0x0f);
            let mut bytes = name.to_vec();
            if kind == DesignatorKind::SCSI_NAME {
                let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                bytes.truncate(end);
            }
            let association = Association(flags >> 4 & 3);
            designators.push(Designator { code_set: CodeSet(code_set & 0x0f), association, kind, bytes });
            rest = next;
        }
        Ok(Self { designators })
    }

    /// The designators that name the LUN itself, which is what a host identifies a disk by.
    pub fn of_lun(&self) -> impl Iterator<Item = &Designator> {
        self.designators.iter().filter(|designator| designator.association == Association::LUN)
    }
}
