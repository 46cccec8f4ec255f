//! Persistent reservations and RESERVE between several initiators.

use std::sync::Arc;

use bytes::Bytes;
use lunshadow_scsi::{
    AdditionalSense, BlockRange, ByteCheck, Command, FieldPointer, FullStatus, IscsiTransportId, LunAddress,
    MoveParameters, Power, ReservationCapabilities, ReservationKeys, ReservationKind, ReservationReport, ReserveForm,
    ReserveInAction, ReserveOutAction, ReserveParameters, Sense, SenseKey, SensePointer, Status,
};
use lunshadow_target::{Completion, InitiatorPort, Nexus, PortalGroup};

use crate::device_server::{Bench, DISK, attention_of, illegal, initiator, invalid_field, port, read, write};
use crate::memory::Map;

/// Three initiators of one disk. Their power-on unit attentions have been taken.
pub(crate) struct Cluster {
    bench: Bench,
    nodes: Vec<Arc<Nexus>>,
}

pub(crate) const KEYS: [u64; 3] = [0xa, 0xb, 0xc];
pub(crate) const WERO: ReservationKind = ReservationKind::WRITE_EXCLUSIVE_REGISTRANTS_ONLY;

fn node_port(node: u8) -> InitiatorPort {
    InitiatorPort { name: initiator("one"), isid: [0x80, 0, 0, 0, 0, 0x10 + node] }
}

impl Cluster {
    async fn new() -> Self {
        Self::over(Arc::default()).await
    }

    /// The initiators of a device server that has just begun over a map.
    pub(crate) async fn over(map: Arc<Map>) -> Self {
        let bench = Bench::over(map);
        let nodes =
            (0..3).map(|node| bench.server.connect(node_port(node), PortalGroup::FIRST).expect("known")).collect();
        let cluster = Self { bench, nodes };
        for node in 0..3 {
            assert_eq!(cluster.ask(node, Command::TestUnitReady).await, power_on());
        }
        cluster
    }

    async fn run(&self, node: usize, command: Command, data: impl Into<Bytes>) -> Completion {
        let cdb = command.to_cdb();
        let task = self.bench.server.accept(&self.nodes[node], LunAddress::peripheral(DISK), cdb.as_bytes());
        task.run(data.into()).await
    }

    pub(crate) async fn ask(&self, node: usize, command: Command) -> Completion {
        self.run(node, command, Bytes::new()).await
    }

    pub(crate) async fn out(
        &self,
        node: usize,
        action: ReserveOutAction,
        kind: ReservationKind,
        (key, action_key): (u64, u64),
    ) -> Completion {
        self.out_with(node, action, kind, ReserveParameters { key, action_key, ..ReserveParameters::default() }).await
    }

    pub(crate) async fn out_with(
        &self,
        node: usize,
        action: ReserveOutAction,
        kind: ReservationKind,
        parameters: ReserveParameters,
    ) -> Completion {
        let list = parameters.to_bytes();
        let parameter_len = u32::try_from(list.len()).expect("short");
        self.run(node, Command::PersistentReserveOut { action, scope: 0, kind, parameter_len }, list).await
    }

    /// Registers the first nodes with their keys.
    async fn register(&self, count: usize) {
        for (node, key) in KEYS.into_iter().enumerate().take(count) {
            let done = self.out(node, ReserveOutAction::Register, ReservationKind(0), (0, key)).await;
            assert_eq!(done, Completion::good());
        }
    }

    pub(crate) async fn report(&self, action: ReserveInAction) -> Bytes {
        let done = self.ask(2, Command::PersistentReserveIn { action, allocation_len: 1024 }).await;
        assert_eq!(done.status, Status::GOOD, "{:?}", done.sense);
        done.data_in
    }

    pub(crate) async fn keys(&self) -> (u32, Vec<u64>) {
        let keys = ReservationKeys::parse(&self.report(ReserveInAction::ReadKeys).await).expect("keys");
        (keys.generation, keys.keys)
    }

    pub(crate) async fn reservation(&self) -> Option<(u64, ReservationKind)> {
        let data = self.report(ReserveInAction::ReadReservation).await;
        ReservationReport::parse(&data).expect("a report").reservation
    }

    /// Which of reading and writing a node may.
    pub(crate) async fn access(&self, node: usize) -> (bool, bool) {
        let allowed = |completion: Completion| {
            assert_ne!(completion.status, Status::CHECK_CONDITION, "{:?}", completion.sense);
            completion.status == Status::GOOD
        };
        (allowed(self.ask(node, read(0, 1)).await), allowed(self.run(node, write(0, 1), vec![1; 512]).await))
    }
}

fn power_on() -> Completion {
    attention_of(AdditionalSense::POWER_ON_OR_RESET)
}

#[tokio::test]
async fn each_type_lets_in_whom_it_should() {
    let (all, reads, none) = ((true, true), (true, false), (false, false));
    for kind in ReservationKind::ALL {
        let cluster = Cluster::new().await;
        // 0 holds, 1 is registered, 2 is not.
        cluster.register(2).await;
        assert_eq!(cluster.out(0, ReserveOutAction::Reserve, kind, (KEYS[0], 0)).await, Completion::good());
        let outside = if kind.admits_reading() { reads } else { none };
        let registered = if kind.admits_registrants() { all } else { outside };
        let found = [cluster.access(0).await, cluster.access(1).await, cluster.access(2).await];
        assert_eq!(found, [all, registered, outside], "{kind:?}");
        let holder = if kind.is_all_registrants() { 0 } else { KEYS[0] };
        assert_eq!(cluster.reservation().await, Some((holder, kind)));
        // The holder asks again for the same, and cannot have another one on top.
        assert_eq!(cluster.out(0, ReserveOutAction::Reserve, kind, (KEYS[0], 0)).await, Completion::good());
        let another = if kind == WERO { ReservationKind::EXCLUSIVE_ACCESS } else { WERO };
        let refused = cluster.out(0, ReserveOutAction::Reserve, another, (KEYS[0], 0)).await;
        assert_eq!(refused, Completion::conflict());
    }
}

#[tokio::test]
async fn commands_conflict_as_the_tables_of_spc_and_sbc_say() {
    let cluster = Cluster::new().await;
    cluster.register(1).await;
    let kind = ReservationKind::EXCLUSIVE_ACCESS;
    assert_eq!(cluster.out(0, ReserveOutAction::Reserve, kind, (KEYS[0], 0)).await, Completion::good());
    let range = BlockRange::new(0, 1);
    let power = |power| Command::StartStopUnit { power, immediate: false };
    let allowed = [
        Command::TestUnitReady,
        Command::ReadCapacity10,
        Command::ReadCapacity16 { allocation_len: 32 },
        Command::ReportTargetPortGroups { extended: false, allocation_len: 255 },
        power(Power::Start),
        Command::PersistentReserveIn { action: ReserveInAction::ReadKeys, allocation_len: 255 },
        Command::Inquiry { page: None, allocation_len: 36 },
    ];
    for command in allowed {
        assert_eq!(cluster.ask(1, command).await.status, Status::GOOD, "{command:?}");
    }
    let sense = Command::ModeSense {
        form: lunshadow_scsi::ModeForm::Six,
        without_block_descriptor: false,
        control: lunshadow_scsi::PageControl::Current,
        page: 0x3f,
        subpage: 0,
        allocation_len: 255,
    };
    let refused = [
        read(0, 1),
        write(0, 1),
        Command::Verify { range, check: ByteCheck::Medium },
        Command::PreFetch { range, immediate: false },
        Command::GetLbaStatus { lba: 0, allocation_len: 24 },
        Command::SynchronizeCache { range, immediate: false },
        Command::Unmap { anchor: false, parameter_len: 0 },
        Command::WriteSame { range, unmap: false, anchor: false, no_data_out: false },
        Command::CompareAndWrite { lba: 0, block_count: 1, fua: false },
        sense,
        power(Power::Stop),
    ];
    for command in refused {
        assert_eq!(cluster.ask(1, command).await, Completion::conflict(), "{command:?}");
        assert_ne!(cluster.ask(0, command).await.status, Status::RESERVATION_CONFLICT, "{command:?} of the holder");
    }
}

#[tokio::test]
async fn registrations_are_counted_and_need_the_right_key() {
    let cluster = Cluster::new().await;
    let register = async |node, keys| cluster.out(node, ReserveOutAction::Register, ReservationKind(0), keys).await;
    assert_eq!(register(0, (5, 1)).await, Completion::conflict(), "it has no key yet");
    assert_eq!(register(0, (0, 0)).await, Completion::good(), "nothing to register");
    assert_eq!(cluster.keys().await, (0, vec![]));
    assert_eq!(register(0, (0, 1)).await, Completion::good());
    assert_eq!(register(0, (0, 2)).await, Completion::conflict());
    assert_eq!(register(0, (1, 2)).await, Completion::good());
    assert_eq!(cluster.keys().await, (2, vec![2]));
    let ignore = ReserveOutAction::RegisterAndIgnoreExistingKey;
    assert_eq!(cluster.out(1, ignore, ReservationKind(0), (99, 7)).await, Completion::good());
    assert_eq!(cluster.keys().await, (3, vec![2, 7]));
    for action in
        [ReserveOutAction::Reserve, ReserveOutAction::Release, ReserveOutAction::Clear, ReserveOutAction::Preempt]
    {
        assert_eq!(cluster.out(0, action, WERO, (9, 7)).await, Completion::conflict(), "{action:?} with a wrong key");
        assert_eq!(cluster.out(2, action, WERO, (0, 7)).await, Completion::conflict(), "{action:?} unregistered");
    }
    assert_eq!(cluster.out(1, ignore, ReservationKind(0), (0, 0)).await, Completion::good());
    assert_eq!(cluster.keys().await, (4, vec![2]));
}

#[tokio::test]
async fn the_end_of_a_reservation_is_told_to_those_whom_it_let_in() {
    for kind in ReservationKind::ALL {
        for unregisters in [false, true] {
            let cluster = Cluster::new().await;
            cluster.register(2).await;
            assert_eq!(cluster.out(0, ReserveOutAction::Reserve, kind, (KEYS[0], 0)).await, Completion::good());
            let wrong = if kind == WERO { ReservationKind::WRITE_EXCLUSIVE } else { WERO };
            let invalid = cluster.out(0, ReserveOutAction::Release, wrong, (KEYS[0], 0)).await;
            assert_eq!(invalid, illegal(AdditionalSense::INVALID_RELEASE_OF_PERSISTENT_RESERVATION));
            let done = if unregisters {
                cluster.out(0, ReserveOutAction::Register, ReservationKind(0), (KEYS[0], 0)).await
            } else {
                cluster.out(0, ReserveOutAction::Release, kind, (KEYS[0], 0)).await
            };
            assert_eq!(done, Completion::good());
            // A registrant is left who holds it with all others.
            let stays = unregisters && kind.is_all_registrants();
            assert_eq!(cluster.reservation().await.is_some(), stays, "{kind:?}");
            let told = kind.admits_registrants() && !stays;
            let expected = if told { attention_of(AdditionalSense::RESERVATIONS_RELEASED) } else { Completion::good() };
            assert_eq!(cluster.ask(1, Command::TestUnitReady).await, expected, "{kind:?} {unregisters}");
            assert_eq!(cluster.ask(0, Command::TestUnitReady).await, Completion::good());
        }
    }
}

#[tokio::test]
async fn preempting_takes_over_and_tells() {
    for action in [ReserveOutAction::Preempt, ReserveOutAction::PreemptAndAbort] {
        let cluster = Cluster::new().await;
        cluster.register(3).await;
        assert_eq!(cluster.out(0, ReserveOutAction::Reserve, WERO, (KEYS[0], 0)).await, Completion::good());
        // A registrant that holds nothing is only removed.
        assert_eq!(cluster.out(1, action, WERO, (KEYS[1], KEYS[2])).await, Completion::good());
        assert_eq!(
            cluster.ask(2, Command::TestUnitReady).await,
            attention_of(AdditionalSense::REGISTRATIONS_PREEMPTED)
        );
        assert_eq!(cluster.reservation().await, Some((KEYS[0], WERO)));
        assert_eq!(cluster.out(1, action, WERO, (KEYS[1], KEYS[2])).await, Completion::conflict(), "it is gone");
        assert_eq!(cluster.access(2).await, (true, false));
        // The holder loses the reservation as well.
        assert_eq!(cluster.out(1, action, WERO, (KEYS[1], KEYS[0])).await, Completion::good());
        assert_eq!(cluster.reservation().await, Some((KEYS[1], WERO)));
        assert_eq!(cluster.keys().await, (5, vec![KEYS[1]]));
        assert_eq!(
            cluster.ask(0, Command::TestUnitReady).await,
            attention_of(AdditionalSense::REGISTRATIONS_PREEMPTED)
        );
        assert_eq!(cluster.access(0).await, (true, false));
        assert_eq!(cluster.access(1).await, (true, true));
        // Key 0 is for reservations of all registrants.
        let sense = Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST);
        let invalid = sense.with_pointer(SensePointer::ParameterList(FieldPointer::byte(8)));
        assert_eq!(cluster.out(1, action, WERO, (KEYS[1], 0)).await, Completion::check(invalid));
    }
}

#[tokio::test]
async fn a_change_of_type_by_preempting_is_told_to_who_stays_registered() {
    let cluster = Cluster::new().await;
    cluster.register(3).await;
    assert_eq!(cluster.out(0, ReserveOutAction::Reserve, WERO, (KEYS[0], 0)).await, Completion::good());
    let kind = ReservationKind::EXCLUSIVE_ACCESS;
    assert_eq!(cluster.out(1, ReserveOutAction::Preempt, kind, (KEYS[1], KEYS[0])).await, Completion::good());
    assert_eq!(cluster.ask(2, Command::TestUnitReady).await, attention_of(AdditionalSense::RESERVATIONS_RELEASED));
    // The holder may preempt itself, which changes the type.
    assert_eq!(cluster.out(1, ReserveOutAction::Preempt, WERO, (KEYS[1], KEYS[1])).await, Completion::good());
    assert_eq!(cluster.ask(2, Command::TestUnitReady).await, attention_of(AdditionalSense::RESERVATIONS_RELEASED));
    assert_eq!(cluster.reservation().await, Some((KEYS[1], WERO)));
    assert_eq!(cluster.keys().await.1, [KEYS[1], KEYS[2]]);
}

#[tokio::test]
async fn all_registrants_are_preempted_with_key_0() {
    let cluster = Cluster::new().await;
    cluster.register(3).await;
    let kind = ReservationKind::EXCLUSIVE_ACCESS_ALL_REGISTRANTS;
    assert_eq!(cluster.out(0, ReserveOutAction::Reserve, kind, (KEYS[0], 0)).await, Completion::good());
    assert_eq!(cluster.out(1, ReserveOutAction::Preempt, WERO, (KEYS[1], 0)).await, Completion::good());
    for node in [0, 2] {
        let preempted = cluster.ask(node, Command::TestUnitReady).await;
        assert_eq!(preempted, attention_of(AdditionalSense::REGISTRATIONS_PREEMPTED));
    }
    assert_eq!(cluster.keys().await.1, [KEYS[1]]);
    assert_eq!(cluster.reservation().await, Some((KEYS[1], WERO)));
}

#[tokio::test]
async fn clear_leaves_nothing() {
    let cluster = Cluster::new().await;
    cluster.register(2).await;
    assert_eq!(cluster.out(0, ReserveOutAction::Reserve, WERO, (KEYS[0], 0)).await, Completion::good());
    assert_eq!(cluster.out(1, ReserveOutAction::Clear, WERO, (KEYS[1], 0)).await, Completion::good());
    assert_eq!(cluster.keys().await, (3, vec![]));
    assert_eq!(cluster.reservation().await, None);
    assert_eq!(cluster.ask(0, Command::TestUnitReady).await, attention_of(AdditionalSense::RESERVATIONS_PREEMPTED));
    assert_eq!(cluster.access(2).await, (true, true));
}

#[tokio::test]
async fn a_reservation_moves_to_another_initiator() {
    let cluster = Cluster::new().await;
    cluster.register(1).await;
    let to = node_port(1);
    let list = |action_key, relative_port, isid| {
        let initiator = IscsiTransportId { name: to.name.as_str().to_owned(), isid };
        MoveParameters { key: KEYS[0], action_key, unregister: true, persist: false, relative_port, initiator }
            .to_bytes()
    };
    let command = |list: &[u8]| Command::PersistentReserveOut {
        action: ReserveOutAction::RegisterAndMove,
        scope: 0,
        kind: ReservationKind(0),
        parameter_len: u32::try_from(list.len()).expect("short"),
    };
    let good = list(KEYS[1], 1, Some(to.isid));
    assert_eq!(
        cluster.run(0, command(&good), good.clone()).await,
        invalid_field(FieldPointer::byte(1)),
        "no reservation"
    );
    assert_eq!(cluster.out(0, ReserveOutAction::Reserve, WERO, (KEYS[0], 0)).await, Completion::good());
    let bad = [
        list(0, 1, Some(to.isid)),
        list(KEYS[1], 3, Some(to.isid)),
        list(KEYS[1], 0, Some(to.isid)),
        list(KEYS[1], 1, None),
    ];
    for list in bad {
        let refused = cluster.run(0, command(&list), list.clone()).await;
        let code = refused.sense.map(|sense| sense.code);
        assert_eq!(code, Some(AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST));
    }
    assert_eq!(cluster.run(0, command(&good), good.clone()).await, Completion::good());
    assert_eq!(cluster.reservation().await, Some((KEYS[1], WERO)));
    assert_eq!(cluster.keys().await.1, [KEYS[1]]);
    assert_eq!(cluster.access(1).await, (true, true));
    assert_eq!(cluster.access(0).await, (true, false));
}

#[tokio::test]
async fn reports_tell_who_is_registered_and_what_is_supported() {
    let cluster = Cluster::new().await;
    cluster.register(2).await;
    assert_eq!(cluster.out(1, ReserveOutAction::Reserve, WERO, (KEYS[1], 0)).await, Completion::good());
    let status = FullStatus::parse(&cluster.report(ReserveInAction::ReadFullStatus).await).expect("a status");
    let found: Vec<_> = status
        .registrations
        .iter()
        .map(|registration| (registration.key, registration.holds, registration.initiator.isid))
        .collect();
    let expected = [(KEYS[0], None, Some(node_port(0).isid)), (KEYS[1], Some(WERO), Some(node_port(1).isid))];
    assert_eq!(found, expected);
    let capabilities = cluster.report(ReserveInAction::ReportCapabilities).await;
    let capabilities = ReservationCapabilities::parse(&capabilities).expect("capabilities");
    assert!(!capabilities.persist_through_power_loss && capabilities.all_target_ports);
    assert_eq!(capabilities.kinds, Some(0b1_1110_1010));
    for len in 0..16 {
        let command = Command::PersistentReserveIn { action: ReserveInAction::ReadKeys, allocation_len: len };
        assert_eq!(cluster.ask(2, command).await.data_in.len(), usize::from(len));
    }
}

#[tokio::test]
async fn parameters_are_checked() {
    let cluster = Cluster::new().await;
    let out = |action, scope, kind, parameter_len| Command::PersistentReserveOut { action, scope, kind, parameter_len };
    let length = illegal(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR);
    for len in [0, 23, 25] {
        assert_eq!(cluster.ask(0, out(ReserveOutAction::Reserve, 0, WERO, len)).await, length);
    }
    assert_eq!(cluster.run(0, out(ReserveOutAction::Reserve, 0, WERO, 24), vec![0; 23]).await, length, "cut off");
    assert_eq!(cluster.ask(0, out(ReserveOutAction::Reserve, 1, WERO, 24)).await, invalid_field(FieldPointer::byte(2)));
    for kind in (0..16).map(ReservationKind).filter(|kind| !ReservationKind::ALL.contains(kind)) {
        let refused = cluster.ask(0, out(ReserveOutAction::Reserve, 0, kind, 24)).await;
        assert_eq!(refused, invalid_field(FieldPointer::byte(2)), "{kind:?}");
    }
    let wanted = ReserveParameters { action_key: 1, ..ReserveParameters::default() };
    let unsupported = [
        (ReserveParameters { specify_initiators: true, ..wanted }, FieldPointer::bit(20, 3)),
        (ReserveParameters { persist: true, ..wanted }, FieldPointer::bit(20, 0)),
    ];
    for (parameters, field) in unsupported {
        let command = out(ReserveOutAction::Register, 0, ReservationKind(0), 24);
        let refused = cluster.run(0, command, parameters.to_bytes()).await;
        assert_eq!(refused.sense.and_then(|sense| sense.pointer), Some(SensePointer::ParameterList(field)));
    }
    assert_eq!(cluster.keys().await, (0, vec![]));
}

#[tokio::test]
async fn registrations_outlive_the_session_and_a_reset() {
    let mut cluster = Cluster::new().await;
    cluster.register(1).await;
    assert_eq!(cluster.out(0, ReserveOutAction::Reserve, WERO, (KEYS[0], 0)).await, Completion::good());
    // The disk is unseen for a while.
    cluster.nodes.clear();
    cluster.bench.server.reset(None);
    for node in 0..3 {
        let nexus = cluster.bench.server.connect(node_port(node), PortalGroup::FIRST).expect("known");
        cluster.nodes.push(nexus);
        assert_eq!(cluster.ask(usize::from(node), Command::TestUnitReady).await, power_on());
    }
    assert_eq!(cluster.access(0).await, (true, true), "the same port is registered still");
    assert_eq!(cluster.access(1).await, (true, false));
}

#[tokio::test]
async fn reserve_keeps_out_everybody_else_until_release_loss_or_reset() {
    let cluster = Cluster::new().await;
    for form in [ReserveForm::Six, ReserveForm::Ten] {
        let (reserve, release) = (Command::Reserve(form), Command::Release(form));
        for _ in 0..2 {
            assert_eq!(cluster.ask(0, reserve).await, Completion::good());
        }
        for refused in [reserve, Command::TestUnitReady, read(0, 1), write(0, 1)] {
            assert_eq!(cluster.ask(1, refused).await, Completion::conflict(), "{refused:?}");
        }
        assert_eq!(cluster.ask(1, release).await, Completion::good(), "it has not reserved: nothing happens");
        assert_eq!(cluster.access(0).await, (true, true));
        assert_eq!(cluster.access(1).await, (false, false));
        assert_eq!(cluster.ask(1, Command::Inquiry { page: None, allocation_len: 36 }).await.status, Status::GOOD);
        let keys = Command::PersistentReserveIn { action: ReserveInAction::ReadKeys, allocation_len: 8 };
        for node in [0, 1] {
            assert_eq!(cluster.ask(node, keys).await, Completion::conflict(), "the two kinds do not mix");
            let done = cluster.out(node, ReserveOutAction::Register, ReservationKind(0), (0, 1)).await;
            assert_eq!(done, Completion::conflict());
        }
        assert_eq!(cluster.ask(0, release).await, Completion::good());
        assert_eq!(cluster.access(1).await, (true, true));

        assert_eq!(cluster.ask(0, reserve).await, Completion::good());
        cluster.nodes[0].lose();
        assert_eq!(cluster.ask(1, reserve).await, Completion::good(), "what was lost reserves nothing");
        cluster.bench.server.reset(None);
        for node in 0..3 {
            assert_eq!(cluster.ask(node, read(0, 1)).await, attention_of(AdditionalSense::BUS_DEVICE_RESET));
        }
        assert_eq!(cluster.access(2).await, (true, true));
    }
    cluster.register(1).await;
    assert_eq!(cluster.ask(0, Command::Reserve(ReserveForm::Six)).await, Completion::conflict());
    assert_eq!(port("one").name, node_port(0).name);
}

#[tokio::test]
async fn what_waits_for_data_when_its_initiator_is_preempted_writes_nothing() {
    let cluster = Cluster::new().await;
    cluster.register(2).await;
    assert_eq!(cluster.out(0, ReserveOutAction::Reserve, WERO, (KEYS[0], 0)).await, Completion::good());
    let cdb = write(0, 1).to_cdb();
    let accept =
        |node: usize| cluster.bench.server.accept(&cluster.nodes[node], LunAddress::peripheral(DISK), cdb.as_bytes());
    let (preempted, own) = (accept(0), accept(1));
    assert_eq!(preempted.data_out_len(), 512);
    assert_eq!(cluster.out(1, ReserveOutAction::Preempt, WERO, (KEYS[1], KEYS[0])).await, Completion::good());
    assert_eq!(preempted.run(vec![1; 512].into()).await, Completion::conflict());
    assert_eq!(cluster.ask(1, read(0, 1)).await.data_in, vec![0; 512]);
    assert_eq!(own.run(vec![2; 512].into()).await, Completion::good());
}
