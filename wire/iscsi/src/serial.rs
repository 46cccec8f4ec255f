//! Serial numbers: 32-bit counters that wrap, compared as RFC 1982 says (RFC 7143 4.2.2 uses them for CmdSN, StatSN, DataSN).

use std::cmp::Ordering;
use std::fmt;

use zerocopy::byteorder::big_endian::U32;

/// A 32-bit serial number (RFC 1982). It has no total order, so it is not `Ord`: compare with [`precedes`](Self::precedes)
/// and [`distance_to`](Self::distance_to).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SerialNumber(pub u32);

// RFC 7143 §4.2.2.1 MUST: command numbers are compared by serial number arithmetic.
impl SerialNumber {
    /// The number that follows this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The number that comes `steps` after this one. Steps of 2^31 or more have no meaning in serial arithmetic.
    #[must_use]
    pub const fn plus(self, steps: u32) -> Self {
        Self(self.0.wrapping_add(steps))
    }

    /// The number that comes `steps` before this one.
    #[must_use]
    pub const fn minus(self, steps: u32) -> Self {
        Self(self.0.wrapping_sub(steps))
    }

    /// Whether this number comes before `other`. Of two numbers that are 2^31 apart, neither precedes the other.
    #[must_use]
    pub fn precedes(self, other: Self) -> bool {
        self.partial_cmp(&other) == Some(Ordering::Less)
    }

    /// Steps from this number up to `other`, if `other` does not come before it.
    #[must_use]
    pub fn distance_to(self, other: Self) -> Option<u32> {
        let steps = other.0.wrapping_sub(self.0);
        (steps < 1 << 31).then_some(steps)
    }

    /// Takes this number and moves on to the next one.
    pub const fn take(&mut self) -> Self {
        let taken = *self;
        *self = taken.next();
        taken
    }
}

impl PartialOrd for SerialNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match other.0.wrapping_sub(self.0) {
            0 => Some(Ordering::Equal),
            steps if steps < 1 << 31 => Some(Ordering::Less),
            steps if steps > 1 << 31 => Some(Ordering::Greater),
            _ => None,
        }
    }
}

impl From<U32> for SerialNumber {
    fn from(field: U32) -> Self {
        Self(field.get())
    }
}

impl From<SerialNumber> for U32 {
    fn from(number: SerialNumber) -> Self {
        Self::new(number.0)
    }
}

impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerialNumber({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::SerialNumber as Sn;

    // RFC 7143 §4.2.2.1 MUST: command numbers are compared by serial number arithmetic.
    #[test]
    fn order_wraps() {
        assert!(Sn(u32::MAX).precedes(Sn(0)));
        assert!(!Sn(0).precedes(Sn(u32::MAX)));
        assert!(Sn(5).precedes(Sn(6)));
        assert!(!Sn(5).precedes(Sn(5)));
        assert!(!Sn(0).precedes(Sn(1 << 31)) && !Sn(1 << 31).precedes(Sn(0)), "2^31 apart has no order");
    }

    #[test]
    fn distance_counts_over_the_wrap() {
        assert_eq!(Sn(u32::MAX).distance_to(Sn(1)), Some(2));
        assert_eq!(Sn(1).distance_to(Sn(u32::MAX)), None);
        assert_eq!(Sn(7).distance_to(Sn(7)), Some(0));
    }

    #[test]
    fn take_gives_the_old_value() {
        let mut next = Sn(u32::MAX);
        assert_eq!((next.take(), next.take(), next), (Sn(u32::MAX), Sn(0), Sn(1)));
        assert_eq!(Sn(0).minus(1), Sn(u32::MAX));
    }
}
