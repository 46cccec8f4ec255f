//! Lists of what is bad on a medium.

/// READ DEFECT DATA of ten or twelve bytes, which have different headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefectForm {
    /// Ten bytes.
    Ten,
    /// Twelve bytes.
    Twelve,
}

/// SBC-3 5.17.1, which lists are asked for, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefectRequest {
    /// REQ_PLIST: what was bad from the beginning.
    pub primary: bool,
    /// REQ_GLIST: what became bad later.
    pub grown: bool,
    /// DEFECT LIST FORMAT, 3 bits (SBC-3 table 48).
    pub format: u8,
}

impl DefectRequest {
    pub(crate) const fn from_byte(byte: u8) -> Self {
        Self { primary: byte & 0x10 != 0, grown: byte & 0x08 != 0, format: byte & 0x07 }
    }

    pub(crate) fn byte(self) -> u8 {
        u8::from(self.primary) << 4 | u8::from(self.grown) << 3 | self.format & 0x07
    }

    /// The parameter data of lists without anything in them (SBC-3 5.17.2 and 5.18.2).
    #[must_use]
    pub fn empty_list(self, form: DefectForm) -> Vec<u8> {
        let len = match form {
            DefectForm::Ten => 4,
            DefectForm::Twelve => 8,
        };
        let mut bytes = vec![0; len];
        bytes[1] = self.byte();
        bytes
    }
}
