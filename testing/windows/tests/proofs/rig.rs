//! What the proofs have in common: a server, LUNs, sets, and a way to call any method.

use std::time::{Duration, Instant};

use lunshadow_vss::{HResult, LunInformation, Method};
use lunshadow_windows::planted::lun_of_the_array;
use lunshadow_windows::raw::{LunArray, PlantedServer, RawProvider};
use uuid::Uuid;

pub(crate) const OK: HResult = HResult::S_OK;
pub(crate) const VETO: HResult = HResult::VSS_E_PROVIDER_VETO;
pub(crate) const INVALID: HResult = HResult::E_INVALIDARG;
pub(crate) const NOT_FOUND: HResult = HResult::VSS_E_OBJECT_NOT_FOUND;

/// A disk's name, as VSS may pass it.
pub(crate) const DEVICE: Option<&str> = Some(r"\\?\PhysicalDrive1");

/// A process of the provider.
pub(crate) fn server() -> PlantedServer {
    PlantedServer::start(env!("CARGO_BIN_EXE_planted-provider")).expect("the server starts")
}

/// LUNs of the array, as the host sees them.
pub(crate) fn sources(numbers: &[u128]) -> LunArray {
    LunArray::new(&numbers.iter().map(|number| lun_of_the_array(*number)).collect::<Vec<_>>())
}

/// LUNs as they were read.
pub(crate) fn array_of(luns: &[LunInformation]) -> LunArray {
    LunArray::new(luns)
}

/// One volume on these LUNs becomes part of the set.
pub(crate) fn begin(provider: &RawProvider, set: Uuid, numbers: &[u128]) -> HResult {
    provider.begin_prepare((set, Uuid::new_v4()), 0, &vec![DEVICE; numbers.len()], &mut sources(numbers))
}

/// How far a creation goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Upto {
    Prepared,
    PreCommitted,
    Committed,
    PostCommitted,
    Created,
}

/// Goes as far as `upto` with a new set of one volume on these LUNs.
pub(crate) fn set_of(provider: &RawProvider, numbers: &[u128], upto: Upto) -> Uuid {
    let set = Uuid::new_v4();
    assert_eq!(begin(provider, set, numbers), OK);
    assert_eq!(provider.end_prepare(set), OK);
    let steps: [(Upto, &dyn Fn() -> HResult); 5] = [
        (Upto::PreCommitted, &|| provider.pre_commit(set)),
        (Upto::Committed, &|| provider.commit(set)),
        (Upto::PostCommitted, &|| provider.post_commit(set, 1)),
        (Upto::Created, &|| provider.pre_final(set)),
        (Upto::Created, &|| provider.post_final(set)),
    ];
    for (state, step) in steps.iter().filter(|(state, _)| *state <= upto) {
        assert_eq!(step(), OK, "{state:?}");
    }
    set
}

/// The shadow LUNs of the current set, for these sources.
pub(crate) fn targets_of(provider: &RawProvider, numbers: &[u128]) -> Vec<LunInformation> {
    let mut targets = LunArray::zeroed(numbers.len());
    assert_eq!(provider.get_target_luns(Some(&mut sources(numbers)), &mut targets), OK);
    targets.read()
}

/// A whole set, and its shadow LUNs.
pub(crate) fn shadows_of(provider: &RawProvider, numbers: &[u128]) -> Vec<LunInformation> {
    set_of(provider, numbers, Upto::Created);
    targets_of(provider, numbers)
}

/// Deletes shadow LUNs.
pub(crate) fn delete(provider: &RawProvider, shadows: &[LunInformation]) {
    for shadow in shadows {
        assert_eq!(provider.on_lun_empty(None, Some(&mut array_of(std::slice::from_ref(shadow)))), OK);
    }
}

/// Calls a method with arguments that are in order, apart from a set that nobody knows.
pub(crate) fn call(provider: &RawProvider, method: Method) -> HResult {
    let (set, mut one, mut other) = (Uuid::new_v4(), sources(&[1]), sources(&[2]));
    match method {
        Method::AreLunsSupported => provider.are_luns_supported(0, &[DEVICE], &mut one).0,
        Method::FillInLunInfo => provider.fill_in_lun_info(DEVICE, &mut one).0,
        Method::BeginPrepareSnapshot => begin(provider, set, &[1]),
        Method::GetTargetLuns => provider.get_target_luns(Some(&mut one), &mut LunArray::zeroed(1)),
        Method::LocateLuns => provider.locate(1, Some(&mut one)),
        Method::OnLunEmpty => provider.on_lun_empty(DEVICE, Some(&mut one)),
        Method::EndPrepareSnapshots => provider.end_prepare(set),
        Method::PreCommitSnapshots => provider.pre_commit(set),
        Method::CommitSnapshots => provider.commit(set),
        Method::PostCommitSnapshots => provider.post_commit(set, 1),
        Method::PreFinalCommitSnapshots => provider.pre_final(set),
        Method::PostFinalCommitSnapshots => provider.post_final(set),
        Method::AbortSnapshots => provider.abort(set),
        Method::GetProviderCapabilities => provider.capabilities().0,
        Method::OnLunStateChange => provider.on_lun_state_change(Some(&mut one), Some(&mut other), 1, 0x100),
        Method::ResyncLuns => provider.resync(Some(&mut one), Some(&mut other), 1).0,
        Method::OnReuseLuns => provider.reuse(Some(&mut one), Some(&mut other), 1),
        Method::OnLoad => provider.on_load(),
        Method::OnUnload => provider.on_unload(false),
    }
}

/// Whether the client was told that the server is gone: unavailable, failed, or disconnected.
pub(crate) fn is_lost(code: HResult) -> bool {
    matches!(code.bits(), 0x8007_06ba | 0x8007_06be | 0x8001_0108)
}

/// Waits until one call is in the middle of its delay.
pub(crate) fn wait_until_delayed(server: &PlantedServer) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while server.state().delayed == 0 {
        assert!(Instant::now() < deadline, "no call arrived");
    }
}
