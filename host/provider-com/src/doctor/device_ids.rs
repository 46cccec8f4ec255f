//! Page 0x83 as Windows hands it out: `STORAGE_DEVICE_ID_DESCRIPTOR` with a chain of `STORAGE_IDENTIFIER`.

/// One designator.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId {
    /// SPC-4's DESIGNATOR TYPE.
    pub kind: u32,
    /// SPC-4's ASSOCIATION.
    pub association: u32,
    /// The name itself.
    pub bytes: Vec<u8>,
}

impl DeviceId {
    /// Whether it has to be unique in the world: an NAA, EUI-64 or SCSI name of the LUN.
    #[must_use]
    pub fn is_worldwide_name(&self) -> bool {
        const LUN: u32 = 0;
        self.association == LUN && [2, 3, 8].contains(&self.kind) && !self.bytes.is_empty()
    }
}

/// Version, Size, NumberOfIdentifiers.
const HEADER_BYTES: usize = 12;

/// CodeSet, Type, IdentifierSize, NextOffset, Association; the identifier begins there.
const IDENTIFIER_HEADER_BYTES: usize = 16;

/// Reads what the system answered. A chain that leaves the answer ends where it does.
#[must_use]
pub fn parse_device_ids(answer: &[u8]) -> Vec<DeviceId> {
    let u32_at = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let u16_at = |at: usize| answer.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes);
    let mut found = Vec::new();
    let mut at = HEADER_BYTES;
    for _ in 0..u32_at(8).unwrap_or(0) {
        let fields = (u32_at(at + 4), u16_at(at + 8), u16_at(at + 10), u32_at(at + 12));
        let (Some(kind), Some(len), Some(next), Some(association)) = fields else { break };
        let name = at + IDENTIFIER_HEADER_BYTES;
        let Some(bytes) = answer.get(name..name + usize::from(len)) else { break };
        found.push(DeviceId { kind, association, bytes: bytes.to_vec() });
        if next == 0 {
            break;
        }
        at += usize::from(next);
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer as Windows makes it, with each identifier's length rounded up to four.
    fn answer(ids: &[DeviceId]) -> Vec<u8> {
        let mut chain = Vec::new();
        for (number, id) in ids.iter().enumerate() {
            let len_bytes = (IDENTIFIER_HEADER_BYTES + id.bytes.len()).next_multiple_of(4);
            let next = if number + 1 == ids.len() { 0 } else { len_bytes };
            let begin = chain.len();
            chain.extend(1_u32.to_le_bytes());
            chain.extend(id.kind.to_le_bytes());
            chain.extend(u16::try_from(id.bytes.len()).expect("short").to_le_bytes());
            chain.extend(u16::try_from(next).expect("short").to_le_bytes());
            chain.extend(id.association.to_le_bytes());
            chain.extend(&id.bytes);
            chain.resize(begin + len_bytes, 0);
        }
        let mut answer = Vec::new();
        for field in [12, HEADER_BYTES + chain.len(), ids.len()] {
            answer.extend(u32::try_from(field).expect("small").to_le_bytes());
        }
        answer.extend(chain);
        answer
    }

    #[test]
    fn a_chain_of_identifiers_is_read() {
        let naa = DeviceId { kind: 3, association: 0, bytes: vec![0x60; 16] };
        let vendor = DeviceId { kind: 1, association: 0, bytes: b"LUNSHDW x".to_vec() };
        let port = DeviceId { kind: 3, association: 1, bytes: vec![0x50; 8] };
        let ids = [vendor, naa, port];
        assert_eq!(parse_device_ids(&answer(&ids)), ids);
        let worldwide: Vec<bool> = ids.iter().map(DeviceId::is_worldwide_name).collect();
        assert_eq!(worldwide, [false, true, false]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_leaving_them(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for id in parse_device_ids(&bytes) {
                prop_assert!(id.bytes.len() <= bytes.len());
            }
        }

        #[test]
        fn a_cut_answer_has_the_beginning_of_the_chain(cut in 0_usize..100) {
            let ids = [DeviceId { kind: 3, association: 0, bytes: vec![1; 16] }, DeviceId { kind: 2, association: 0, bytes: vec![2; 8] }];
            let whole = answer(&ids);
            let found = parse_device_ids(&whole[..cut.min(whole.len())]);
            prop_assert_eq!(&found[..], &ids[..found.len()]);
        }
    }
}
