//! A host with LUNs, and the product installed for it.

use std::sync::Arc;
use std::time::Duration;

use lunshadow_control::{LunId, SetPhase, ShadowSetId};
use lunshadow_coordinator::{Coordinator, Deletion, Platform as _, Settings, SnapshotProperties};
use lunshadow_vss::{Context, DeviceName, HResult, HardwareProvider, LunInformation, Method, SnapshotSetId};

use super::{Activation, ArraySide, Hooked, Host, Identity, Product, SAMPLE_MEBIBYTES, When, new_name, provider_id};

/// Whoever creates sets that outlive their requester.
pub const PERSISTENT: Context = Context::CTX_APP_ROLLBACK;

/// All of it. The fields go in this order: the provider's objects before the product, which goes before the settings.
pub struct Stage {
    /// VSS on the host.
    pub coordinator: Coordinator,
    /// The product's object, by way of the registry.
    pub provider: Arc<dyn HardwareProvider>,
    /// The host.
    pub host: Host,
    /// The product.
    pub product: Product,
    /// Whom the product speaks for.
    pub identity: Identity,
    /// The host's LUNs.
    pub luns: Vec<LunId>,
    /// The array.
    pub array: ArraySide,
}

impl Stage {
    /// A host with some LUNs that have a volume with files each.
    ///
    /// # Panics
    /// If anything is not as it should be.
    #[must_use]
    pub fn new(what: &str, activation: Activation, lun_count: u64) -> Self {
        let stage = Self::with_blank_luns(what, activation, lun_count);
        for (seed, lun) in (1..).zip(&stage.luns) {
            stage.host.fill(*lun, seed);
        }
        stage
    }

    /// A host with some LUNs that nobody has written to.
    ///
    /// # Panics
    /// If anything is not as it should be.
    #[must_use]
    pub fn with_blank_luns(what: &str, activation: Activation, lun_count: u64) -> Self {
        let array = ArraySide::new();
        let identity = Identity::enrol(&array, &new_name(what), None);
        let name = &identity.host;
        let add = |number| array.add_lun(&format!("{name}-{number}"), SAMPLE_MEBIBYTES, name);
        let luns = (0..lun_count).map(add).collect();
        let product = Product::install(activation, &identity);
        let provider: Arc<dyn HardwareProvider> = product.activate();
        let host = Host::log_in(name, array.portal()).expect("the array lets the host in");
        let coordinator = host.coordinator(provider_id(), Arc::clone(&provider), settings());
        Self { coordinator, provider, host, product, identity, luns, array }
    }

    /// VSS anew on the same host, with a test between it and the provider.
    #[must_use]
    pub fn hooked(&self, hook: impl Fn(When, Method) -> Result<(), HResult> + Send + Sync + 'static) -> Coordinator {
        let hooked = Hooked { provider: Arc::clone(&self.provider), hook: Arc::new(hook) };
        self.host.coordinator(provider_id(), Arc::new(hooked), settings())
    }

    /// The provider's process and the array may be other ones: connects to both again.
    ///
    /// # Panics
    /// If anything is not as it should be.
    pub fn reconnect(&mut self) {
        self.provider = self.product.activate();
        self.host = Host::log_in(&self.identity.host, self.array.portal()).expect("the array lets the host in");
        // A commit that was broken off has left its marks on the sources, which the next start of VSS takes back.
        let sources: Vec<_> = self.luns.iter().map(|lun| self.host.device_of(*lun)).collect();
        self.host.windows.remove_shadow_flags(&sources).expect("the sources are there");
        self.coordinator = self.host.coordinator(provider_id(), Arc::clone(&self.provider), settings());
    }

    /// Creates a set of all LUNs that stays until somebody deletes it.
    ///
    /// # Panics
    /// If anything is not as it should be.
    #[must_use]
    pub fn create(&self) -> Vec<SnapshotProperties> {
        let (requester, _) = self.host.begin(&self.coordinator, PERSISTENT, &self.luns);
        requester.do_snapshot_set().expect("nothing is in the way")
    }

    /// Writes the same record to all LUNs, as an application does.
    ///
    /// # Panics
    /// If anything is not as it should be.
    pub fn write_records(&self, record: u8) {
        for lun in &self.luns {
            self.host.write_record(&self.host.device_of(*lun), record);
        }
    }

    /// How many shadow LUNs each LUN has at the array.
    #[must_use]
    pub fn shadow_counts(&self) -> Vec<u32> {
        self.luns.iter().map(|lun| self.array.shadow_count(*lun)).collect()
    }

    /// The sources are as if nothing had happened: no write is held, no disk has the marks of a shadow copy.
    ///
    /// # Panics
    /// If anything is not as it should be.
    pub fn assert_sources_are_free(&self) {
        self.write_records(0x77);
        assert_eq!(self.host.windows.gate_counts().waiting, 0);
        assert_eq!(self.host.windows.flagged(), []);
    }

    /// A set without any fault works, has what was written last, and goes without a trace.
    ///
    /// # Panics
    /// If anything is not as it should be.
    pub fn assert_next_set_works(&self, record: u8) {
        let before = self.shadow_counts();
        self.write_records(record);
        let copies = self.create();
        // A set that was not complete may have ended with the beginning of this one; then it has ended for all LUNs.
        let with_it = self.shadow_counts();
        let ended = |index: usize| before[index] + 1 - with_it[index];
        assert!(
            (0..with_it.len()).all(|index| with_it[index] > 0 && ended(index) == ended(0)),
            "{before:?} {with_it:?}"
        );
        for copy in &copies {
            assert_eq!(self.host.record(shadow_of(copy).1), record);
        }
        let requester = self.coordinator.requester();
        requester.delete_snapshots(Deletion::Set(copies[0].set)).expect("nothing is in the way");
        let without_it: Vec<u32> = with_it.iter().map(|count| count - 1).collect();
        assert_eq!(self.shadow_counts(), without_it);
        assert!(self.is_over(copies[0].set));
        self.assert_sources_are_free();
    }

    /// Whether a set has come to an end at the array, a good one or another.
    #[must_use]
    pub fn is_over(&self, set: SnapshotSetId) -> bool {
        let phase = self.array.set(ShadowSetId(set.0)).map(|it| it.summary.phase);
        matches!(phase, None | Some(SetPhase::Aborted | SetPhase::Kept))
    }

    /// Whether the array will end a set by itself.
    #[must_use]
    pub fn has_lease(&self, set: SnapshotSetId) -> bool {
        self.array.set(ShadowSetId(set.0)).is_some_and(|it| it.summary.lease_left_ms.is_some())
    }

    /// Nothing is left of a set at the array, and the host sees its own LUNs only.
    ///
    /// # Panics
    /// If anything is not as it should be.
    pub fn assert_nothing_is_left(&self, set: SnapshotSetId, after: &str) {
        assert!(self.shadow_counts().iter().all(|count| *count == 0), "{after}: {:?}", self.shadow_counts());
        assert!(self.is_over(set), "{after}: the set has a lease");
        assert_eq!(self.host.devices().len(), self.luns.len(), "{after}");
        self.assert_sources_are_free();
    }
}

/// The knobs: a test wants to know soon when a disk does not arrive.
#[must_use]
pub fn settings() -> Settings {
    Settings { arrival_timeout: Duration::from_secs(20), ..Settings::default() }
}

/// The one shadow LUN of a copy, with its disk.
///
/// # Panics
/// If the copy is not on this host.
#[must_use]
pub fn shadow_of(copy: &SnapshotProperties) -> (&LunInformation, &DeviceName) {
    let lun = copy.luns.first().expect("the copy is on this host");
    (&lun.shadow, &lun.device)
}
