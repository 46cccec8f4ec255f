//! Log records: what changed, in terms of LUNs and blocks. Replaying them in order leads to the same maps.

use lunshadow_lun::{LunId, ShadowSetId};
use smallvec::SmallVec;
use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::page::{BLOCK_NUMBER_END, FANOUT};

/// The number of a LUN in the table of LUNs.
pub(crate) type LunSlot = u32;

/// The check values of blocks. Those of a small write need no memory besides.
pub(crate) type Checks = SmallVec<[u32; 4]>;

/// A change. All but [`Record::Write`] and [`Record::Share`] are as small as their fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// Blocks of a LUN, from `first` on, are those of the medium from `block` on; the check value of each.
    Write { lun: LunSlot, first: u64, block: u64, checks: Checks },
    /// Blocks of a LUN are not mapped any more.
    Discard { lun: LunSlot, first: u64, count: u32 },
    /// A LUN exists. Its length is in logical blocks of 512 bytes.
    Create { lun: LunSlot, id: LunId, length: u64 },
    /// A LUN is deleted; its space comes back in the background.
    Delete { lun: LunSlot },
    /// All members of a set are captured.
    Snapshot { set: ShadowSetId, members: Vec<SnapshotMember> },
    /// LUNs have the content of others; what they held is given back in slots of its own.
    Revert { pairs: Vec<RevertedPair> },
    /// A LUN is longer. Its length is in logical blocks of 512 bytes.
    Grow { lun: LunSlot, length: u64 },
    /// A shadow LUN is a LUN like any other.
    Promote { lun: LunSlot },
    /// The content of a LUN is kept in a slot of its own, until that is deleted or the pool is opened anew.
    Pin { lun: LunSlot, pin: LunSlot },
    /// Blocks of a LUN, from `first` on, are those of the medium from `block` on, which something refers to already; the check value of each.
    Share { lun: LunSlot, first: u64, block: u64, checks: Checks },
}

/// One LUN of a captured set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotMember {
    pub(crate) source: LunSlot,
    pub(crate) shadow: LunSlot,
    pub(crate) shadow_id: LunId,
}

/// One LUN of a revert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RevertedPair {
    pub(crate) from: LunSlot,
    pub(crate) to: LunSlot,
    /// The slot in which the old content of `to` is given back.
    pub(crate) old: LunSlot,
}

/// A record that makes no sense although its batch's checksum holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

const WRITE: u16 = 1;
const DISCARD: u16 = 2;
const CREATE: u16 = 3;
const DELETE: u16 = 4;
const SNAPSHOT: u16 = 5;
const REVERT: u16 = 6;
const GROW: u16 = 7;
const PROMOTE: u16 = 8;
const PIN: u16 = 9;
const SHARE: u16 = 10;

/// What each record begins with: its kind, the number of parts behind it, and 20 bytes whose meaning depends on the kind.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Head {
    kind: U16,
    parts: U16,
    lun: U32,
    first: U64,
    second: U64,
}

/// What follows the head of [`Record::Create`] and, for each member, of [`Record::Snapshot`].
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Part {
    id: U128,
    source: U32,
    lun: U32,
}

/// What follows the head of [`Record::Revert`] for each pair.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PairPart {
    from: U32,
    to: U32,
    old: U32,
    reserved: U32,
}

const _: () = assert!(size_of::<Head>() == 24 && size_of::<Part>() == 24 && size_of::<PairPart>() == 16);

impl Record {
    /// Appends the record to a batch.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut head = |kind, parts: usize, lun: LunSlot, first: u64, second: u64| {
            let parts = u16::try_from(parts).expect("records have at most 1024 parts").into();
            let head =
                Head { kind: U16::new(kind), parts, lun: lun.into(), first: first.into(), second: second.into() };
            out.extend_from_slice(head.as_bytes());
        };
        match self {
            Self::Write { lun, first, block, checks } | Self::Share { lun, first, block, checks } => {
                let kind = if matches!(self, Self::Write { .. }) { WRITE } else { SHARE };
                head(kind, checks.len(), *lun, *first, *block);
                for check in checks {
                    out.extend_from_slice(&check.to_le_bytes());
                }
                out.resize(out.len().next_multiple_of(8), 0);
            }
            Self::Discard { lun, first, count } => head(DISCARD, 0, *lun, *first, u64::from(*count)),
            Self::Create { lun, id, length } => {
                head(CREATE, 1, *lun, *length, 0);
                let part = Part { id: id.as_u128().into(), source: 0.into(), lun: (*lun).into() };
                out.extend_from_slice(part.as_bytes());
            }
            Self::Delete { lun } => head(DELETE, 0, *lun, 0, 0),
            Self::Snapshot { set, members } => {
                let (high, low) = set.0.as_u64_pair();
                head(SNAPSHOT, members.len(), 0, high, low);
                for member in members {
                    let id = member.shadow_id.as_u128().into();
                    let part = Part { id, source: member.source.into(), lun: member.shadow.into() };
                    out.extend_from_slice(part.as_bytes());
                }
            }
            Self::Revert { pairs } => {
                head(REVERT, pairs.len(), 0, 0, 0);
                for RevertedPair { from, to, old } in pairs {
                    let (from, to, old) = ((*from).into(), (*to).into(), (*old).into());
                    out.extend_from_slice(PairPart { from, to, old, reserved: 0.into() }.as_bytes());
                }
            }
            Self::Grow { lun, length } => head(GROW, 0, *lun, *length, 0),
            Self::Promote { lun } => head(PROMOTE, 0, *lun, 0, 0),
            Self::Pin { lun, pin } => head(PIN, 0, *lun, u64::from(*pin), 0),
        }
    }

    /// Takes the first record off `bytes`; records begin at multiples of 8 bytes.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        let (head, rest) = Head::read_from_prefix(bytes).map_err(|_| Malformed)?;
        *bytes = rest;
        let (lun, first, second) = (head.lun.get(), head.first.get(), head.second.get());
        let parts = usize::from(head.parts.get());
        match head.kind.get() {
            kind @ (WRITE | SHARE) if (1..=FANOUT).contains(&parts) => {
                let in_range = second > 0 && second < BLOCK_NUMBER_END && first < BLOCK_NUMBER_END;
                let checks = split(bytes, (parts * 4).next_multiple_of(8))?;
                let checks = checks[..parts * 4].chunks_exact(4).map(|check| check.try_into().map(u32::from_le_bytes));
                let checks = checks.collect::<Result<_, _>>().map_err(|_| Malformed)?;
                let record = match kind {
                    WRITE => Self::Write { lun, first, block: second, checks },
                    _ => Self::Share { lun, first, block: second, checks },
                };
                in_range.then_some(record).ok_or(Malformed)
            }
            DISCARD if parts == 0 && first < BLOCK_NUMBER_END => {
                let count = u32::try_from(second).map_err(|_| Malformed)?;
                Ok(Self::Discard { lun, first, count })
            }
            CREATE if parts == 1 => {
                let part = Part::read_from_bytes(split(bytes, size_of::<Part>())?).map_err(|_| Malformed)?;
                Ok(Self::Create { lun, id: LunId::from_u128(part.id.get()), length: first })
            }
            DELETE if parts == 0 => Ok(Self::Delete { lun }),
            SNAPSHOT => {
                let member = |_| {
                    let part = Part::read_from_bytes(split(bytes, size_of::<Part>())?).map_err(|_| Malformed)?;
                    let shadow_id = LunId::from_u128(part.id.get());
                    Ok(SnapshotMember { source: part.source.get(), shadow: part.lun.get(), shadow_id })
                };
                let members = (0..parts).map(member).collect::<Result<_, _>>()?;
                Ok(Self::Snapshot { set: ShadowSetId(uuid::Uuid::from_u64_pair(first, second)), members })
            }
            REVERT => {
                let pair = |_| {
                    let part = PairPart::read_from_bytes(split(bytes, size_of::<PairPart>())?);
                    let part = part.map_err(|_| Malformed)?;
                    Ok(RevertedPair { from: part.from.get(), to: part.to.get(), old: part.old.get() })
                };
                let pairs = (0..parts).map(pair).collect::<Result<_, _>>()?;
                Ok(Self::Revert { pairs })
            }
            GROW if parts == 0 => Ok(Self::Grow { lun, length: first }),
            PROMOTE if parts == 0 => Ok(Self::Promote { lun }),
            PIN if parts == 0 => Ok(Self::Pin { lun, pin: LunSlot::try_from(first).map_err(|_| Malformed)? }),
            _ => Err(Malformed),
        }
    }
}

fn split<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Malformed> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(Malformed)?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use smallvec::smallvec;

    use super::*;

    fn all_kinds() -> Vec<Record> {
        let member = SnapshotMember { source: 1, shadow: 2, shadow_id: LunId::from_u128(99) };
        vec![
            Record::Write { lun: 3, first: 77, block: 1234, checks: smallvec![1, 2, 3] },
            Record::Discard { lun: 3, first: 512, count: 512 },
            Record::Create { lun: 4, id: LunId::from_u128(u128::MAX - 5), length: 1 << 30 },
            Record::Delete { lun: 4 },
            Record::Snapshot { set: ShadowSetId(uuid::Uuid::from_u128(5 << 70)), members: vec![member; 2] },
            Record::Revert { pairs: vec![RevertedPair { from: 1, to: 2, old: 3 }; 2] },
            Record::Grow { lun: 4, length: 1 << 31 },
            Record::Promote { lun: 5 },
            Record::Pin { lun: 5, pin: 6 },
            Record::Share { lun: 3, first: 77, block: 1234, checks: smallvec![1, 2, 3] },
        ]
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        all_kinds().iter().for_each(|record| record.encode(&mut bytes));
        assert_eq!(bytes.len(), 24 + 16 + 24 + 48 + 24 + 72 + 56 + 24 + 24 + 24 + 40);
        let mut rest = bytes.as_slice();
        for record in all_kinds() {
            assert_eq!(Record::decode(&mut rest), Ok(record));
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn a_record_cut_short_is_malformed() {
        for record in all_kinds() {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            for len in 0..bytes.len() {
                assert_eq!(Record::decode(&mut &bytes[..len]), Err(Malformed), "{record:?} cut to {len}");
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, kind in 0_u8..12, parts in any::<u16>()) {
            let mut whole = vec![kind, 0];
            whole.extend(parts.to_le_bytes());
            whole.extend(bytes);
            let mut rest = whole.as_slice();
            while !rest.is_empty() && Record::decode(&mut rest).is_ok() {}
        }
    }
}
