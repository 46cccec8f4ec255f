//! Who may log in, beyond the hosts that the catalog knows.

use std::sync::Arc;

use lunshadow_lun::{InitiatorName, Inventory, LunMap};

/// A [`LunMap`] that lets everybody in: an initiator that `hosts` does not know sees what `guest` sees. For targets that only
/// listen on a loopback address, where whoever asks is on this machine already.
pub struct OpenAccess<M> {
    /// The real map.
    pub hosts: Arc<M>,
    /// The initiator whose view strangers get.
    pub guest: InitiatorName,
}

impl<M: LunMap> LunMap for OpenAccess<M> {
    fn inventory(&self, initiator: &InitiatorName) -> Option<Arc<Inventory>> {
        self.hosts.inventory(initiator).or_else(|| self.hosts.inventory(&self.guest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct OnlyGuest(InitiatorName);

    impl LunMap for OnlyGuest {
        fn inventory(&self, initiator: &InitiatorName) -> Option<Arc<Inventory>> {
            (*initiator == self.0).then(|| Arc::new(Inventory { generation: 7, ..Inventory::default() }))
        }
    }

    #[test]
    fn strangers_see_what_the_guest_sees() {
        let guest: InitiatorName = "iqn.2026-11.org.lunshadow:guest".parse().unwrap();
        let stranger: InitiatorName = "iqn.2026-11.org.example:other".parse().unwrap();
        let hosts = Arc::new(OnlyGuest(guest.clone()));
        assert!(hosts.inventory(&stranger).is_none());
        let open = OpenAccess { hosts, guest };
        assert_eq!(open.inventory(&stranger).map(|inventory| inventory.generation), Some(7));
    }
}
