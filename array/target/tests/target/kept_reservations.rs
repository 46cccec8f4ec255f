//! Persistent reservations over restarts of the target.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lunshadow_scsi::{
    AdditionalSense, Command, ReservationCapabilities, ReservationKind, ReserveForm, ReserveInAction, ReserveOutAction,
    ReserveParameters,
};
use lunshadow_target::Completion;

use crate::device_server::illegal;
use crate::memory::Map;
use crate::persistent_reservations::{Cluster, KEYS, WERO};

/// Registers with APTPL.
async fn register_for_good(cluster: &Cluster, node: usize, key: u64) -> Completion {
    let parameters = ReserveParameters { action_key: key, persist: true, ..ReserveParameters::default() };
    let action = ReserveOutAction::RegisterAndIgnoreExistingKey;
    cluster.out_with(node, action, ReservationKind(0), parameters).await
}

#[tokio::test]
async fn registrations_outlive_the_target_if_they_are_to() {
    for kind in ReservationKind::ALL {
        let map = Arc::new(Map::keeping());
        let cluster = Cluster::over(map.clone()).await;
        for (node, key) in KEYS.into_iter().enumerate().take(2) {
            assert_eq!(register_for_good(&cluster, node, key).await, Completion::good());
        }
        assert_eq!(cluster.out(0, ReserveOutAction::Reserve, kind, (KEYS[0], 0)).await, Completion::good());
        let capabilities = cluster.report(ReserveInAction::ReportCapabilities).await;
        let capabilities = ReservationCapabilities::parse(&capabilities).expect("capabilities");
        assert!(capabilities.persist_through_power_loss && capabilities.persist_active);
        let (reservation, access) = (cluster.reservation().await, cluster.access(2).await);
        drop(cluster);

        let cluster = Cluster::over(map.clone()).await;
        assert_eq!(cluster.keys().await, (0, KEYS[..2].to_vec()));
        assert_eq!(cluster.reservation().await, reservation);
        assert_eq!(cluster.access(2).await, access);
        assert_eq!(cluster.access(0).await, (true, true));
        // The last registration asks for nothing to be kept.
        let done = cluster.out(2, ReserveOutAction::Register, ReservationKind(0), (0, KEYS[2])).await;
        assert_eq!(done, Completion::good());
        assert!(map.kept().records.lock().is_empty());
        drop(cluster);
        let cluster = Cluster::over(map).await;
        assert_eq!((cluster.keys().await, cluster.reservation().await), ((0, vec![]), None));
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_done() {
    let map = Arc::new(Map::keeping());
    let cluster = Cluster::over(map.clone()).await;
    assert_eq!(register_for_good(&cluster, 0, KEYS[0]).await, Completion::good());
    map.kept().fails.store(true, Ordering::Relaxed);
    let refused = illegal(AdditionalSense::INSUFFICIENT_REGISTRATION_RESOURCES);
    assert_eq!(register_for_good(&cluster, 1, KEYS[1]).await, refused);
    assert_eq!(cluster.out(0, ReserveOutAction::Reserve, WERO, (KEYS[0], 0)).await, refused);
    assert_eq!(cluster.out(0, ReserveOutAction::Clear, WERO, (KEYS[0], 0)).await, refused);
    assert_eq!((cluster.keys().await, cluster.reservation().await), ((1, vec![KEYS[0]]), None));
    // What changes nothing needs nothing to be kept.
    assert_eq!(cluster.out(0, ReserveOutAction::Release, WERO, (KEYS[0], 0)).await, Completion::good());
    map.kept().fails.store(false, Ordering::Relaxed);
    assert_eq!(cluster.out(0, ReserveOutAction::Reserve, WERO, (KEYS[0], 0)).await, Completion::good());
}

#[tokio::test]
async fn changes_at_one_time_are_all_made_and_kept() {
    let map = Arc::new(Map::keeping());
    let cluster = Cluster::over(map.clone()).await;
    let (one, two, three) = tokio::join!(
        register_for_good(&cluster, 0, KEYS[0]),
        register_for_good(&cluster, 1, KEYS[1]),
        register_for_good(&cluster, 2, KEYS[2]),
    );
    assert_eq!([one, two, three], [Completion::good(), Completion::good(), Completion::good()]);
    // Nobody reserves the whole unit while a registration is on its way.
    let register = register_for_good(&cluster, 0, 77);
    let reserve = async { cluster.ask(1, Command::Reserve(ReserveForm::Six)).await };
    let (registered, reserved) = tokio::join!(register, reserve);
    assert_eq!((registered, reserved), (Completion::good(), Completion::conflict()));
    drop(cluster);
    let mut keys = Cluster::over(map).await.keys().await.1;
    keys.sort_unstable();
    assert_eq!(keys, [KEYS[1], KEYS[2], 77]);
}

#[tokio::test]
async fn a_damaged_record_is_no_record() {
    let map = Arc::new(Map::keeping());
    let cluster = Cluster::over(map.clone()).await;
    assert_eq!(register_for_good(&cluster, 0, KEYS[0]).await, Completion::good());
    let record = map.kept().records.lock().values().next().cloned().expect("it is kept");
    drop(cluster);
    for len in [0, 7, record.len() - 1] {
        map.kept().records.lock().values_mut().for_each(|kept| *kept = record.slice(..len));
        assert_eq!(Cluster::over(map.clone()).await.keys().await, (0, vec![]), "{len} bytes");
    }
}
