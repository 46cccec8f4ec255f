//! Two target ports: how each unit is reached through them, and whose reservations are whose.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use lunshadow_control::{Association, DesignatorKind};
use lunshadow_lun::{LunMap as _, PortalGroupState, UnitRecord};
use lunshadow_scsi::vpd::{DeviceIdentification, page};
use lunshadow_scsi::{
    AccessState, AdditionalSense, Command, CommandForm, FieldPointer, FullStatus, IscsiTransportId, LunAddress,
    MoveParameters, OneCommand, OperationCodes, ReservationKind, ReserveForm, ReserveInAction, ReserveOutAction,
    ReserveParameters, Sense, SenseFormat, SenseKey, SensePointer, SetTargetPortGroup, StandardInquiry, Status,
    TargetPortGroup, opcode,
};
use lunshadow_target::{Completion, Nexus, PortalGroup};

use crate::device_server::{Bench, DISK, SECOND, attention_of, illegal, invalid_field, port, read, write};
use crate::memory::Map;

const OPTIMIZED: AccessState = AccessState::ACTIVE_OPTIMIZED;
const STANDBY: AccessState = AccessState::STANDBY;
const UNAVAILABLE: AccessState = AccessState::UNAVAILABLE;

/// One initiator port that comes through both target ports. Its power-on unit attentions have been taken.
struct Paths {
    bench: Bench,
    second: Arc<Nexus>,
}

impl Paths {
    async fn new() -> Self {
        Self::over(Arc::default()).await
    }

    async fn over(map: Arc<Map>) -> Self {
        let bench = Bench::over(map);
        let second = bench.server.connect(port("one"), SECOND).expect("it is known");
        let paths = Self { bench, second };
        for group in [1, 2] {
            let attention = paths.ask(group, Command::TestUnitReady).await;
            assert_eq!(attention, attention_of(AdditionalSense::POWER_ON_OR_RESET));
        }
        paths
    }

    fn nexus(&self, group: u16) -> &Arc<Nexus> {
        if group == 1 { &self.bench.nexus } else { &self.second }
    }

    async fn run(&self, group: u16, command: Command, data: impl Into<Bytes>) -> Completion {
        self.run_cdb(group, command.to_cdb().as_bytes(), data).await
    }

    async fn run_cdb(&self, group: u16, cdb: &[u8], data: impl Into<Bytes>) -> Completion {
        let server = &self.bench.server;
        server.accept(self.nexus(group), LunAddress::peripheral(DISK), cdb).run(data.into()).await
    }

    async fn ask(&self, group: u16, command: Command) -> Completion {
        self.run(group, command, Bytes::new()).await
    }

    /// Sets states through the first port.
    async fn set(&self, states: &[(u16, AccessState)]) -> Completion {
        self.set_list(&list(states)).await
    }

    async fn set_list(&self, list: &[u8]) -> Completion {
        let parameter_len = u32::try_from(list.len()).expect("short");
        self.run(1, Command::SetTargetPortGroups { parameter_len }, list.to_vec()).await
    }

    async fn states(&self) -> Vec<(u16, AccessState)> {
        self.groups().await.into_iter().map(|group| (group.group, group.state)).collect()
    }

    async fn groups(&self) -> Vec<TargetPortGroup> {
        let report = self.ask(1, Command::ReportTargetPortGroups { extended: false, allocation_len: 255 }).await;
        assert_eq!(report.status, Status::GOOD, "{:?}", report.sense);
        TargetPortGroup::parse_list(&report.data_in, false).expect("groups")
    }

    async fn out(&self, group: u16, action: ReserveOutAction, parameters: ReserveParameters) -> Completion {
        let kind = ReservationKind::WRITE_EXCLUSIVE_REGISTRANTS_ONLY;
        let command = Command::PersistentReserveOut { action, scope: 0, kind, parameter_len: 24 };
        self.run(group, command, parameters.to_bytes()).await
    }

    /// Keys, ports and who holds the reservation.
    async fn registrations(&self) -> Vec<(u64, u16, bool)> {
        let command = Command::PersistentReserveIn { action: ReserveInAction::ReadFullStatus, allocation_len: 1024 };
        let status = FullStatus::parse(&self.ask(1, command).await.data_in).expect("a status");
        let described = status.registrations.into_iter().map(|registration| {
            assert!(!registration.all_target_ports, "each port has its own");
            (registration.key, registration.relative_port, registration.holds.is_some())
        });
        described.collect()
    }
}

fn list(states: &[(u16, AccessState)]) -> Vec<u8> {
    let groups: Vec<_> = states.iter().map(|&(group, state)| SetTargetPortGroup { group, state }).collect();
    SetTargetPortGroup::list_to_bytes(&groups)
}

fn not_ready(code: AdditionalSense) -> Completion {
    Completion::check(Sense::new(SenseKey::NOT_READY, code))
}

fn keys(key: u64, action_key: u64) -> ReserveParameters {
    ReserveParameters { key, action_key, ..ReserveParameters::default() }
}

#[tokio::test]
async fn every_port_says_which_it_is() {
    let paths = Paths::new().await;
    for group in [1, 2] {
        let standard = paths.ask(group, Command::Inquiry { page: None, allocation_len: 255 }).await;
        let standard = StandardInquiry::parse(&standard.data_in).expect("standard data");
        assert_eq!((standard.target_port_groups, standard.multi_port), (3, true), "explicit and implicit ALUA");
        let identification = Command::Inquiry { page: Some(page::DEVICE_IDENTIFICATION), allocation_len: 255 };
        let identification = DeviceIdentification::parse(&paths.ask(group, identification).await.data_in);
        let designators = identification.expect("the page").designators;
        let of_port: Vec<_> = designators.into_iter().filter(|d| d.association == Association::TARGET_PORT).collect();
        let number = u32::from(group).to_be_bytes().to_vec();
        let name = format!("iqn.2026-11.org.example:t,t,0x000{group}").into_bytes();
        let expected = [
            (DesignatorKind::RELATIVE_TARGET_PORT, number.clone()),
            (DesignatorKind::TARGET_PORT_GROUP, number),
            (DesignatorKind::SCSI_NAME, name),
        ];
        assert!(of_port.into_iter().map(|d| (d.kind, d.bytes)).eq(expected));
    }
    // Whatever can be set is said to be supported. The controller is reached through all ports alike.
    for group in paths.groups().await {
        assert_eq!((group.supported_states, group.ports), (0x0f, vec![group.group]));
    }
    paths.bench.ask(0, Command::TestUnitReady).await;
    let report = Command::ReportTargetPortGroups { extended: true, allocation_len: 255 };
    let groups = TargetPortGroup::parse_list(&paths.bench.data(0, report).await, true).expect("groups");
    assert!(
        groups
            .iter()
            .map(|group| (group.group, group.state, group.supported_states))
            .eq([(1, OPTIMIZED, 1), (2, OPTIMIZED, 1)])
    );
    let short = Command::ReportTargetPortGroups { extended: false, allocation_len: 6 };
    assert_eq!(paths.bench.data(DISK, short).await.len(), 6);
}

#[tokio::test]
async fn one_port_is_always_active() {
    let bench = Bench::with_ports(Arc::default(), [PortalGroup::FIRST]);
    bench.ask(DISK, Command::TestUnitReady).await;
    let standard = bench.data(DISK, Command::Inquiry { page: None, allocation_len: 255 }).await;
    let standard = StandardInquiry::parse(&standard).expect("standard data");
    assert_eq!((standard.target_port_groups, standard.multi_port), (1, false));
    let report = Command::ReportTargetPortGroups { extended: false, allocation_len: 255 };
    let groups = TargetPortGroup::parse_list(&bench.data(DISK, report).await, false).expect("groups");
    let [group] = &groups[..] else { panic!("{groups:?}") };
    assert_eq!((group.group, group.state, group.supported_states), (1, OPTIMIZED, 1));
    // There is nothing to set, and nobody is told that there is.
    let set = Command::SetTargetPortGroups { parameter_len: 0 };
    assert_eq!(bench.ask(DISK, set).await, illegal(AdditionalSense::INVALID_COMMAND_OPERATION_CODE));
    let which = OperationCodes::Either { opcode: opcode::MAINTENANCE_OUT, action: 0x0a };
    let asked = Command::ReportSupportedOperationCodes { which, timeouts: false, allocation_len: 255 };
    assert_eq!(OneCommand::parse(&bench.data(DISK, asked).await).expect("one command").usage, None);
}

#[tokio::test]
async fn the_others_hear_of_states_that_change() {
    let paths = Paths::new().await;
    assert_eq!(paths.states().await, [(1, OPTIMIZED), (2, OPTIMIZED)]);
    let non_optimized = AccessState::ACTIVE_NON_OPTIMIZED;
    assert_eq!(paths.set(&[(2, non_optimized)]).await, Completion::good());
    assert_eq!(paths.states().await, [(1, OPTIMIZED), (2, non_optimized)]);
    let changed = attention_of(AdditionalSense::ASYMMETRIC_ACCESS_STATE_CHANGED);
    assert_eq!(paths.ask(2, Command::TestUnitReady).await, changed);
    assert_eq!(paths.ask(2, read(0, 1)).await.status, Status::GOOD, "it is as active as the other");
    assert_eq!(paths.ask(1, Command::TestUnitReady).await, Completion::good(), "it has set them itself");
    // What is as it was before is no news, and what is set later is.
    assert_eq!(paths.set(&[(1, OPTIMIZED), (2, non_optimized)]).await, Completion::good());
    assert_eq!(paths.ask(2, Command::TestUnitReady).await, Completion::good());
    assert_eq!(paths.set(&[(2, OPTIMIZED)]).await, Completion::good());
    assert_eq!(paths.ask(2, Command::TestUnitReady).await, changed);
    // A reset is about commands and modes.
    assert_eq!(paths.set(&[(2, STANDBY)]).await, Completion::good());
    paths.bench.server.reset(None);
    assert_eq!(paths.ask(1, Command::TestUnitReady).await, attention_of(AdditionalSense::BUS_DEVICE_RESET));
    assert_eq!(paths.states().await, [(1, OPTIMIZED), (2, STANDBY)]);
}

/// What SPC-4 5.15.2.4 has a port on standby and an unavailable one answer, and what else is answered on standby.
const UNAVAILABLE_ANSWERS: [&str; 5] =
    ["INQUIRY", "REPORT LUNS", "REQUEST SENSE", "REPORT TARGET PORT GROUPS", "SET TARGET PORT GROUPS"];
const STANDBY_ANSWERS: [&str; 6] =
    ["LOG SENSE", "MODE SENSE", "MODE SELECT", "PERSISTENT RESERVE", "REPORT SUPPORTED", "READ CAPACITY"];

#[tokio::test]
async fn commands_are_answered_as_the_state_of_their_port_lets_them() {
    for (state, code) in
        [(STANDBY, AdditionalSense::TARGET_PORT_IN_STANDBY), (UNAVAILABLE, AdditionalSense::TARGET_PORT_UNAVAILABLE)]
    {
        let paths = Paths::new().await;
        assert_eq!(paths.set(&[(2, state)]).await, Completion::good());
        let changed = attention_of(AdditionalSense::ASYMMETRIC_ACCESS_STATE_CHANGED);
        assert_eq!(paths.ask(2, Command::TestUnitReady).await, changed);
        let mut refused = 0;
        for form in CommandForm::all() {
            let is_one_of = |names: &[&str]| names.iter().any(|name| form.name.starts_with(name));
            let answers = is_one_of(&UNAVAILABLE_ANSWERS) || state == STANDBY && is_one_of(&STANDBY_ANSWERS);
            let mut cdb = vec![0; form.usage.len()];
            cdb[0] = form.opcode();
            cdb[1] = form.service_action.unwrap_or(0);
            let completion = paths.run_cdb(2, &cdb, Bytes::new()).await;
            assert_eq!(completion == not_ready(code), !answers, "{} in {state:?}: {completion:?}", form.name);
            refused += u32::from(!answers);
            assert_ne!(paths.run_cdb(1, &cdb, Bytes::new()).await, not_ready(code), "{} elsewhere", form.name);
        }
        assert!(refused > 40, "{refused}");
        let sense = paths.ask(2, Command::RequestSense { format: SenseFormat::Fixed, allocation_len: 252 }).await;
        let sense = Sense::parse(&sense.data_in).expect("sense data");
        assert_eq!((sense.key, sense.code), (SenseKey::NOT_READY, code));
        // The way back leads through the port itself. RESERVE was among the commands.
        assert_eq!(paths.ask(1, Command::Release(ReserveForm::Six)).await, Completion::good());
        let list = list(&[(2, OPTIMIZED)]);
        assert_eq!(paths.run(2, Command::SetTargetPortGroups { parameter_len: 8 }, list).await, Completion::good());
        assert_eq!(paths.ask(2, Command::TestUnitReady).await, Completion::good());
        assert_eq!(paths.ask(1, Command::TestUnitReady).await, changed);
    }
}

#[tokio::test]
async fn what_an_administrator_decides_holds_for_all_units_and_everybody_hears_of_it() {
    let map = Arc::<Map>::default();
    let groups = map.portal_groups();
    let paths = Paths::over(map).await;
    let changed = attention_of(AdditionalSense::ASYMMETRIC_ACCESS_STATE_CHANGED);
    let failed =
        Completion::check(Sense::new(SenseKey::HARDWARE_ERROR, AdditionalSense::SET_TARGET_PORT_GROUPS_FAILED));
    for (decided, state, code) in [
        (PortalGroupState::Standby, STANDBY, AdditionalSense::TARGET_PORT_IN_STANDBY),
        (PortalGroupState::Unavailable, UNAVAILABLE, AdditionalSense::TARGET_PORT_UNAVAILABLE),
    ] {
        groups.set(SECOND.0, decided);
        assert_eq!(paths.ask(1, Command::TestUnitReady).await, changed);
        assert_eq!(paths.ask(2, Command::TestUnitReady).await, changed);
        assert_eq!(paths.ask(2, read(0, 1)).await, not_ready(code));
        assert_eq!(paths.ask(1, read(0, 1)).await.status, Status::GOOD);
        assert_eq!(paths.states().await, [(1, OPTIMIZED), (2, state)]);
        // An initiator cannot have it better, and sets nothing of a list in which it wants that.
        assert_eq!(paths.set(&[(1, AccessState::ACTIVE_NON_OPTIMIZED), (2, OPTIMIZED)]).await, failed);
        assert_eq!(paths.states().await, [(1, OPTIMIZED), (2, state)]);
    }
    // It can have it worse, and that stays when the administrator lets go.
    groups.set(SECOND.0, PortalGroupState::NonOptimized);
    assert_eq!(paths.ask(1, Command::TestUnitReady).await, changed);
    assert_eq!(paths.states().await, [(1, OPTIMIZED), (2, AccessState::ACTIVE_NON_OPTIMIZED)]);
    assert_eq!(paths.set(&[(2, STANDBY)]).await, Completion::good());
    groups.set(SECOND.0, PortalGroupState::Optimized);
    assert_eq!(paths.ask(1, Command::TestUnitReady).await, changed);
    assert_eq!(paths.ask(1, Command::TestUnitReady).await, Completion::good(), "once is enough");
    assert_eq!(paths.states().await, [(1, OPTIMIZED), (2, STANDBY)]);
}

#[tokio::test]
async fn the_only_port_is_as_good_as_ever() {
    let map = Arc::<Map>::default();
    let groups = map.portal_groups();
    groups.set(PortalGroup::FIRST.0, PortalGroupState::Unavailable);
    let bench = Bench::with_ports(map, [PortalGroup::FIRST]);
    bench.ask(DISK, Command::TestUnitReady).await;
    groups.set(PortalGroup::FIRST.0, PortalGroupState::Standby);
    assert_eq!(bench.ask(DISK, read(0, 1)).await.status, Status::GOOD);
}

#[tokio::test]
async fn data_that_comes_when_the_port_is_gone_is_not_written() {
    let paths = Paths::new().await;
    let cdb = write(0, 1).to_cdb();
    let task = paths.bench.server.accept(&paths.second, LunAddress::peripheral(DISK), cdb.as_bytes());
    assert_eq!(paths.set(&[(2, UNAVAILABLE)]).await, Completion::good());
    assert_eq!(task.run(vec![1; 512].into()).await, not_ready(AdditionalSense::TARGET_PORT_UNAVAILABLE));
    assert_eq!(paths.ask(1, read(0, 1)).await.data_in, vec![0; 512]);
}

#[tokio::test]
async fn parameters_are_checked_and_all_are_set_or_none() {
    let paths = Paths::new().await;
    let set = |parameter_len| Command::SetTargetPortGroups { parameter_len };
    assert_eq!(paths.ask(1, set(0)).await, Completion::good(), "nothing to set");
    for len in [1, 4, 7, 9, 11, 16, u32::MAX] {
        assert_eq!(paths.ask(1, set(len)).await, invalid_field(FieldPointer::byte(6)), "{len} bytes");
    }
    let cut_off = illegal(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR);
    for len in [0, 7, 8] {
        let list = list(&[(2, STANDBY), (1, STANDBY)]);
        assert_eq!(paths.run(1, set(12), list[..len].to_vec()).await, cut_off, "{len} bytes");
    }
    let mut cases = vec![
        (list(&[(3, STANDBY)]), FieldPointer::byte(6)),
        (list(&[(0, STANDBY)]), FieldPointer::byte(6)),
        // The first one is right, and does not count either.
        (list(&[(2, STANDBY), (2, STANDBY)]), FieldPointer::byte(10)),
        (list(&[(2, STANDBY), (1, AccessState(0xe))]), FieldPointer::bit(8, 3)),
    ];
    // Load balancing, offline and transitioning among them.
    cases.extend((4..16).map(|state| (list(&[(2, AccessState(state))]), FieldPointer::bit(4, 3))));
    for byte in [0, 3, 5] {
        let mut list = list(&[(2, STANDBY)]);
        list[byte] = 1;
        cases.push((list, FieldPointer::byte(byte)));
    }
    for (list, field) in cases {
        let sense = Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST);
        let invalid = Completion::check(sense.with_pointer(SensePointer::ParameterList(field)));
        assert_eq!(paths.set_list(&list).await, invalid, "{list:02x?}");
    }
    assert_eq!(paths.states().await, [(1, OPTIMIZED), (2, OPTIMIZED)]);
    assert_eq!(paths.ask(2, Command::TestUnitReady).await, Completion::good());
    // Whoever keeps others from the unit keeps them from this, too.
    assert_eq!(paths.out(2, ReserveOutAction::Register, keys(0, 1)).await, Completion::good());
    assert_eq!(paths.out(2, ReserveOutAction::Reserve, keys(1, 0)).await, Completion::good());
    assert_eq!(paths.set(&[(2, STANDBY)]).await, Completion::conflict());
}

#[tokio::test]
async fn states_outlive_the_target() {
    let map = Arc::new(Map::keeping());
    let paths = Paths::over(map.clone()).await;
    assert_eq!(paths.set(&[(1, STANDBY), (2, AccessState::ACTIVE_NON_OPTIMIZED)]).await, Completion::good());
    drop(paths);
    let paths = Paths::over(map.clone()).await;
    assert_eq!(paths.ask(1, Command::TestUnitReady).await, not_ready(AdditionalSense::TARGET_PORT_IN_STANDBY));
    drop(paths);
    // With one port what was set does not count, and is there again with both.
    let alone = Bench::with_ports(map.clone(), [PortalGroup::FIRST]);
    alone.ask(DISK, Command::TestUnitReady).await;
    assert_eq!(alone.ask(DISK, Command::TestUnitReady).await, Completion::good());
    drop(alone);
    let paths = Paths::over(map.clone()).await;
    assert_eq!(paths.states().await, [(1, STANDBY), (2, AccessState::ACTIVE_NON_OPTIMIZED)]);
    // What cannot be kept is not set, and nobody hears of it.
    map.kept().fails.store(true, Ordering::Relaxed);
    let back = list(&[(1, OPTIMIZED), (2, OPTIMIZED)]);
    let set = Command::SetTargetPortGroups { parameter_len: 12 };
    let failed = Sense::new(SenseKey::HARDWARE_ERROR, AdditionalSense::SET_TARGET_PORT_GROUPS_FAILED);
    assert_eq!(paths.run(2, set, back.clone()).await, Completion::check(failed));
    assert_eq!(paths.states().await, [(1, STANDBY), (2, AccessState::ACTIVE_NON_OPTIMIZED)]);
    map.kept().fails.store(false, Ordering::Relaxed);
    assert_eq!(paths.run(2, set, back).await, Completion::good());
    assert!(map.kept().records.lock().is_empty(), "all is as if nobody had set anything");
}

#[tokio::test]
async fn a_damaged_record_leaves_all_ports_active() {
    let map = Arc::new(Map::keeping());
    let paths = Paths::over(map.clone()).await;
    assert_eq!(paths.set(&[(1, STANDBY)]).await, Completion::good());
    drop(paths);
    for damaged in [&[][..], &[0; 7], &list(&[(0, STANDBY)]), &list(&[(1, AccessState(9))])] {
        map.kept().records.lock().values_mut().for_each(|record| *record = damaged.to_vec().into());
        assert_eq!(Paths::over(map.clone()).await.states().await, [(1, OPTIMIZED), (2, OPTIMIZED)]);
    }
}

#[tokio::test]
async fn a_registration_is_of_one_path() {
    let paths = Paths::new().await;
    let register = ReserveOutAction::Register;
    assert_eq!(paths.out(1, register, keys(0, 7)).await, Completion::good());
    assert_eq!(paths.out(1, ReserveOutAction::Reserve, keys(7, 0)).await, Completion::good());
    assert_eq!(paths.run(2, write(0, 1), vec![1; 512]).await, Completion::conflict(), "the other path has no key");
    assert_eq!(paths.run(1, write(0, 1), vec![1; 512]).await, Completion::good());
    assert_eq!(paths.out(2, register, keys(7, 8)).await, Completion::conflict());
    assert_eq!(paths.out(2, register, keys(0, 8)).await, Completion::good());
    assert_eq!(paths.registrations().await, [(7, 1, true), (8, 2, false)]);
    // The reservation moves to the other path of the same initiator, which is another nexus.
    let initiator = IscsiTransportId { name: port("one").name.as_str().to_owned(), isid: Some(port("one").isid) };
    let list = |relative_port| {
        let initiator = initiator.clone();
        MoveParameters { key: 7, action_key: 9, unregister: true, persist: false, relative_port, initiator }.to_bytes()
    };
    let move_to = async |relative_port| {
        let list = list(relative_port);
        let parameter_len = u32::try_from(list.len()).expect("short");
        let (action, kind) = (ReserveOutAction::RegisterAndMove, ReservationKind(0));
        paths.run(1, Command::PersistentReserveOut { action, scope: 0, kind, parameter_len }, list).await
    };
    for (relative_port, byte) in [(1, 24), (3, 18)] {
        let sense = Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST);
        let sense = sense.with_pointer(SensePointer::ParameterList(FieldPointer::byte(byte)));
        assert_eq!(move_to(relative_port).await, Completion::check(sense), "port {relative_port}");
    }
    assert_eq!(move_to(2).await, Completion::good());
    assert_eq!(paths.registrations().await, [(9, 2, true)]);
    // A preempted path hears of it, and the other one does not.
    assert_eq!(paths.out(1, register, keys(0, 7)).await, Completion::good());
    assert_eq!(paths.out(1, ReserveOutAction::Preempt, keys(7, 9)).await, Completion::good());
    let preempted = attention_of(AdditionalSense::REGISTRATIONS_PREEMPTED);
    assert_eq!(paths.ask(2, Command::TestUnitReady).await, preempted);
    assert_eq!(paths.ask(1, Command::TestUnitReady).await, Completion::good());
}

#[tokio::test]
async fn a_registration_for_all_target_ports_is_one_for_each() {
    let paths = Paths::new().await;
    let for_all = |key, action_key| ReserveParameters { all_target_ports: true, ..keys(key, action_key) };
    let (register, ignore) = (ReserveOutAction::Register, ReserveOutAction::RegisterAndIgnoreExistingKey);
    assert_eq!(paths.out(1, register, for_all(0, 7)).await, Completion::good());
    assert_eq!(paths.registrations().await, [(7, 1, false), (7, 2, false)]);
    assert_eq!(paths.out(2, ReserveOutAction::Reserve, keys(7, 0)).await, Completion::good());
    assert_eq!(paths.registrations().await, [(7, 1, false), (7, 2, true)]);
    for group in [1, 2] {
        assert_eq!(paths.run(group, write(0, 1), vec![1; 512]).await, Completion::good());
    }
    // It is as if each had asked: where one has another key, none is changed.
    assert_eq!(paths.out(1, register, keys(7, 6)).await, Completion::good());
    assert_eq!(paths.out(1, register, for_all(6, 5)).await, Completion::conflict());
    assert_eq!(paths.registrations().await, [(6, 1, false), (7, 2, true)]);
    assert_eq!(paths.out(1, ignore, for_all(0, 5)).await, Completion::good());
    assert_eq!(paths.registrations().await, [(5, 1, false), (5, 2, true)]);
    // Both go, and with them the reservation; neither has anything to hear.
    assert_eq!(paths.out(1, register, for_all(5, 0)).await, Completion::good());
    assert!(paths.registrations().await.is_empty());
    for group in [1, 2] {
        assert_eq!(paths.ask(group, Command::TestUnitReady).await, Completion::good());
    }
}

#[tokio::test]
async fn registrations_that_were_kept_while_there_was_one_port_are_of_the_first() {
    let map = Arc::new(Map::keeping());
    let paths = Paths::over(map.clone()).await;
    let parameters = ReserveParameters { persist: true, ..keys(0, 7) };
    assert_eq!(paths.out(1, ReserveOutAction::Register, parameters).await, Completion::good());
    assert_eq!(paths.out(1, ReserveOutAction::Reserve, keys(7, 0)).await, Completion::good());
    drop(paths);
    map.kept().records.lock().iter_mut().for_each(|((_, of), record)| {
        assert_eq!(*of, UnitRecord::Reservations);
        let mut status = FullStatus::parse(record).expect("a record");
        (status.registrations[0].relative_port, status.registrations[0].all_target_ports) = (0, true);
        *record = status.to_bytes().into();
    });
    let paths = Paths::over(map).await;
    assert_eq!(paths.registrations().await, [(7, 1, true)]);
    assert_eq!(paths.run(2, write(0, 1), vec![1; 512]).await, Completion::conflict());
}
