//! Ids: GUIDs for COM, UUIDs for everybody else.

use uuid::Uuid;
use windows_core::GUID;

/// An id as COM passes it.
#[must_use]
pub fn guid(id: Uuid) -> GUID {
    GUID::from_u128(id.as_u128())
}

/// An id that COM passed.
#[must_use]
pub fn uuid(id: &GUID) -> Uuid {
    Uuid::from_u128(id.to_u128())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_the_same_on_both_sides() {
        let id = Uuid::from_u128(0xe579_ab5f_1cc4_44b4_bed9_de09_91ff_0623);
        assert_eq!(format!("{:?}", guid(id)).to_lowercase(), id.to_string());
        assert_eq!(uuid(&guid(id)), id);
    }
}
