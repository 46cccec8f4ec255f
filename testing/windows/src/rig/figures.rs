//! What the way from VSS to the array costs, measured from where VSS is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunshadow_control::{LunId, ShadowSetId};
use lunshadow_coordinator::{Deletion, Settings};
use lunshadow_vss::{Context, DeviceName, HResult, HardwareProvider, LunInformation, SnapshotId, SnapshotSetId};
use serde::Serialize;
use uuid::Uuid;

use super::{Activation, ArraySide, Host, Identity, Product, SAMPLE_MEBIBYTES, new_name, provider_id};

/// How many LUNs a set has.
const SIZES: [usize; 3] = [1, 16, 64];

/// How many sets are committed of each size.
const COMMITS: usize = 100;

/// How many sets are created from the requester's first call to its last.
const CREATIONS: usize = 10;

/// How many single calls are made.
const CALLS: usize = 1000;

/// The durations of one kind of operation.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// What was done.
    pub what: String,
    /// How often.
    pub count: usize,
    /// The median, in microseconds.
    pub p50_us: u64,
    /// What 99 of 100 do not exceed, in microseconds.
    pub p99_us: u64,
    /// The longest, in microseconds.
    pub longest_us: u64,
}

impl Figure {
    fn of(what: impl Into<String>, mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let count = durations.len();
        // The nearest rank: the smallest value that so many do not exceed.
        let rank = |percent: usize| {
            let duration = durations[(count * percent).div_ceil(100) - 1];
            u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
        };
        Self { what: what.into(), count, p50_us: rank(50), p99_us: rank(99), longest_us: rank(100) }
    }
}

/// A host with as many LUNs as a set can have.
struct Bench {
    provider: Arc<dyn HardwareProvider>,
    host: Host,
    luns: Vec<LunId>,
    disks: Vec<(DeviceName, LunInformation)>,
    array: ArraySide,
    _product: Product,
    _identity: Identity,
}

/// Measures everything, and tells each figure when it is there.
///
/// # Errors
/// What the provider answered.
pub fn measure(mut tell: impl FnMut(&Figure)) -> Result<(), HResult> {
    let bench = Bench::new();
    tell(&bench.calls()?);
    for size in SIZES {
        for figure in bench.commits(size)? {
            tell(&figure);
        }
    }
    for size in SIZES {
        tell(&bench.creations(size));
    }
    Ok(())
}

impl Bench {
    fn new() -> Self {
        let array = ArraySide::new();
        let identity = Identity::enrol(&array, &new_name("bench"), None);
        let name = &identity.host;
        let most = SIZES[SIZES.len() - 1];
        let add = |number| array.add_lun(&format!("{name}-{number}"), SAMPLE_MEBIBYTES, name);
        let luns: Vec<LunId> = (0..most).map(add).collect();
        let product = Product::install(Activation::LocalServer, &identity);
        let provider: Arc<dyn HardwareProvider> = product.activate();
        let host = Host::log_in(name, array.portal()).expect("the array lets the host in");
        let disk_of = |lun: &LunId| {
            let device = host.device_of(*lun);
            let information = host.lun_of(&device);
            (device, information)
        };
        let disks = luns.iter().map(disk_of).collect();
        Self { provider, host, luns, disks, array, _product: product, _identity: identity }
    }

    /// The shortest call that there is: from process to process and back, with nothing done there. The method is a reserved one, so the
    /// answer is that it is not implemented.
    fn calls(&self) -> Result<Figure, HResult> {
        let call = || {
            timed(|| match self.provider.get_provider_capabilities() {
                Ok(_) | Err(HResult::E_NOTIMPL) => Ok(()),
                Err(code) => Err(code),
            })
        };
        let durations = (0..CALLS).map(|_| call()).collect::<Result<_, _>>()?;
        Ok(Figure::of("one COM call", durations))
    }

    /// Commits, as VSS sees them and as the array does.
    fn commits(&self, size: usize) -> Result<[Figure; 3], HResult> {
        let (mut seen, mut own, mut added) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..COMMITS {
            let set = SnapshotSetId(Uuid::new_v4());
            for (device, lun) in &self.disks[..size] {
                let snapshot = SnapshotId(Uuid::new_v4());
                let (devices, mut luns) = (std::slice::from_ref(device), [lun.clone()]);
                self.provider.begin_prepare_snapshot(set, snapshot, Context::CTX_APP_ROLLBACK, devices, &mut luns)?;
            }
            self.provider.end_prepare_snapshots(set)?;
            self.provider.pre_commit_snapshots(set)?;
            let took = timed(|| self.provider.commit_snapshots(set))?;
            let summary = self.array.set(ShadowSetId(set.0)).expect("the array knows the set").summary;
            let at_array = Duration::from_micros(summary.commit_took_us.expect("it was committed"));
            self.provider.abort_snapshots(set)?;
            seen.push(took);
            own.push(at_array);
            added.push(took.saturating_sub(at_array));
        }
        Ok([
            Figure::of(format!("CommitSnapshots, {size} LUNs: end to end"), seen),
            Figure::of(format!("CommitSnapshots, {size} LUNs: the array's own"), own),
            Figure::of(format!("CommitSnapshots, {size} LUNs: added by COM, provider and TLS"), added),
        ])
    }

    /// Whole sets, with everything that VSS and the host do for them; the shadow LUNs arrive by iSCSI.
    fn creations(&self, size: usize) -> Figure {
        let coordinator = self.host.coordinator(provider_id(), Arc::clone(&self.provider), Settings::default());
        let mut durations = Vec::new();
        for _ in 0..CREATIONS {
            let began = Instant::now();
            let (requester, set) = self.host.begin(&coordinator, Context::CTX_APP_ROLLBACK, &self.luns[..size]);
            requester.do_snapshot_set().expect("nothing is in the way");
            durations.push(began.elapsed());
            requester.delete_snapshots(Deletion::Set(set)).expect("nothing is in the way");
        }
        Figure::of(format!("a set of {size} LUNs, from StartSnapshotSet to the end of DoSnapshotSet"), durations)
    }
}

fn timed(call: impl FnOnce() -> Result<(), HResult>) -> Result<Duration, HResult> {
    let began = Instant::now();
    call()?;
    Ok(began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let figure = Figure::of("x", (1..=100).rev().map(Duration::from_micros).collect());
        assert_eq!((figure.count, figure.p50_us, figure.p99_us, figure.longest_us), (100, 50, 99, 100));
        let figure = Figure::of("x", vec![Duration::from_micros(7)]);
        assert_eq!((figure.p50_us, figure.p99_us), (7, 7));
    }
}
