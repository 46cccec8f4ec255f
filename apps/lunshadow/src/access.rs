//! Who may log in, beyond the hosts that the catalog knows.

use std::sync::Arc;

use lunshadow_lun::{InitiatorName, Inventory, LunMap, PortalGroupStates, UnitStore};

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

    fn portal_groups(&self) -> Arc<PortalGroupStates> {
        self.hosts.portal_groups()
    }

    fn unit_store(&self) -> Option<&dyn UnitStore> {
        self.hosts.unit_store()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, ready};
    use std::pin::Pin;

    use bytes::Bytes;
    use lunshadow_lun::{LunHandle, LunId, UnitRecord, UnitStoreError};

    use super::*;

    struct OnlyGuest(InitiatorName, Arc<PortalGroupStates>);

    impl UnitStore for OnlyGuest {
        fn kept(&self, _: LunId, _: UnitRecord) -> Option<Bytes> {
            None
        }

        fn all_kept(&self, _: UnitRecord) -> Vec<LunHandle> {
            Vec::new()
        }

        fn keep(
            &self,
            _: LunId,
            _: UnitRecord,
            _: Option<Bytes>,
        ) -> Pin<Box<dyn Future<Output = Result<(), UnitStoreError>> + Send + '_>> {
            Box::pin(ready(Ok(())))
        }
    }

    impl LunMap for OnlyGuest {
        fn inventory(&self, initiator: &InitiatorName) -> Option<Arc<Inventory>> {
            (*initiator == self.0).then(|| Arc::new(Inventory { generation: 7, ..Inventory::default() }))
        }

        fn portal_groups(&self) -> Arc<PortalGroupStates> {
            Arc::clone(&self.1)
        }

        fn unit_store(&self) -> Option<&dyn UnitStore> {
            Some(self)
        }
    }

    #[test]
    fn strangers_see_what_the_guest_sees() {
        let guest: InitiatorName = "iqn.2026-11.org.lunshadow:guest".parse().unwrap();
        let stranger: InitiatorName = "iqn.2026-11.org.example:other".parse().unwrap();
        let groups = Arc::<PortalGroupStates>::default();
        let hosts = Arc::new(OnlyGuest(guest.clone(), Arc::clone(&groups)));
        assert!(hosts.inventory(&stranger).is_none());
        let open = OpenAccess { hosts, guest };
        assert_eq!(open.inventory(&stranger).map(|inventory| inventory.generation), Some(7));
        // What is kept of LUNs, and decided about portal groups, is theirs too.
        assert!(open.unit_store().is_some());
        assert!(Arc::ptr_eq(&open.portal_groups(), &groups));
    }
}
