//! Persistent reservations: bytes as the tables of SPC-4 lay them out, and everything that is built reads back.

use lunshadow_scsi::{
    Command, FieldPointer, FullStatus, IscsiTransportId, MoveParameters, RegistrationStatus, ReservationCapabilities,
    ReservationKeys, ReservationKind, ReservationReport, ReserveForm, ReserveInAction, ReserveOutAction,
    ReserveParameters,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const WERO: ReservationKind = ReservationKind::WRITE_EXCLUSIVE_REGISTRANTS_ONLY;

fn check_cdb(command: Command, cdb: &[u8]) {
    assert_eq!(command.to_cdb().as_bytes(), cdb, "{command:?}");
    assert_eq!(Command::parse(cdb), Ok(command));
}

#[test]
fn cdbs_are_laid_out_as_in_spc() {
    let action = ReserveInAction::ReadFullStatus;
    check_cdb(Command::PersistentReserveIn { action, allocation_len: 0x0102 }, &[0x5e, 3, 0, 0, 0, 0, 0, 1, 2, 0]);
    let (action, kind) = (ReserveOutAction::PreemptAndAbort, WERO);
    check_cdb(
        Command::PersistentReserveOut { action, scope: 1, kind, parameter_len: 24 },
        &[0x5f, 5, 0x15, 0, 0, 0, 0, 0, 24, 0],
    );
    check_cdb(Command::Reserve(ReserveForm::Six), &[0x16, 0, 0, 0, 0, 0]);
    check_cdb(Command::Release(ReserveForm::Six), &[0x17, 0, 0, 0, 0, 0]);
    check_cdb(Command::Reserve(ReserveForm::Ten), &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    check_cdb(Command::Release(ReserveForm::Ten), &[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn parameter_data_is_laid_out_as_in_spc() {
    let keys = ReservationKeys { generation: 0x0102_0304, keys: vec![0x1122_3344_5566_7788] };
    let expected = [1, 2, 3, 4, 0, 0, 0, 8, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];
    assert_eq!(keys.to_bytes(), expected);

    let report = ReservationReport { generation: 1, reservation: Some((5, WERO)) };
    let expected = [0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 5, 0, 0];
    assert_eq!(report.to_bytes(), expected);
    let none = ReservationReport { generation: 1, reservation: None };
    assert_eq!(none.to_bytes(), [0, 0, 0, 1, 0, 0, 0, 0]);

    let capabilities = ReservationCapabilities {
        all_target_ports: true,
        persist_through_power_loss: true,
        persist_active: true,
        kinds: Some(ReservationCapabilities::all_kinds()),
    };
    // WR_EX_AR, EX_AC_RO, WR_EX_RO, EX_AC, WR_EX; EX_AC_AR.
    assert_eq!(capabilities.to_bytes(), [0, 8, 0x05, 0x81, 0xea, 0x01, 0, 0]);

    let parameters =
        ReserveParameters { key: 1, action_key: 2, specify_initiators: true, all_target_ports: true, persist: true };
    let expected = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0x0d, 0, 0, 0];
    assert_eq!(parameters.to_bytes(), expected);
    assert_eq!(ReserveParameters::parse(&expected[..23]), None);
}

#[test]
fn initiator_ports_of_iscsi_are_named_as_in_spc() {
    let id = IscsiTransportId { name: "iqn.a:b".to_owned(), isid: Some([0x80, 1, 2, 3, 4, 0xff]) };
    let text = b"iqn.a:b,i,0x8001020304ff\0\0\0\0";
    assert_eq!(id.to_bytes(), [&[0x45, 0, 0, 28][..], text].concat());
    // Leading zeros may be left out, and digits may be large.
    let short = [&[0x45, 0, 0, 20][..], b"iqn.a:b,i,0xAB\0\0\0\0\0\0"].concat();
    let (read, rest) = IscsiTransportId::read(&short).expect("a TransportID");
    assert_eq!((read.isid, rest), (Some([0, 0, 0, 0, 0, 0xab]), &[][..]));
    let device = IscsiTransportId { name: "iqn.a:b".to_owned(), isid: None };
    assert_eq!(device.to_bytes(), [&[0x05, 0, 0, 20][..], b"iqn.a:b", &[0; 13]].concat());
    let damaged: [&[u8]; 6] = [
        b"",
        &[0x45, 0, 0, 28],
        // Fibre Channel; a format that there is not; no end; no ISID.
        &[&[0x00, 0, 0, 20][..], &[0; 20]].concat(),
        &[&[0xc5, 0, 0, 20][..], &[0; 20]].concat(),
        &[&[0x05, 0, 0, 4][..], b"iqn."].concat(),
        &[&[0x45, 0, 0, 8][..], b"iqn.a:b\0"].concat(),
    ];
    for bytes in damaged {
        assert_eq!(IscsiTransportId::read(bytes), None, "{bytes:02x?}");
    }
}

#[test]
fn a_move_without_a_whole_initiator_is_refused() {
    let initiator = IscsiTransportId { name: "iqn.a:b".to_owned(), isid: Some([1; 6]) };
    let parameters =
        MoveParameters { key: 1, action_key: 2, unregister: true, persist: false, relative_port: 3, initiator };
    let bytes = parameters.to_bytes();
    assert_eq!(bytes[16..24], [0, 2, 0, 3, 0, 0, 0, 32]);
    for len in 0..bytes.len() {
        assert_eq!(MoveParameters::parse(&bytes[..len]), Err(None), "{len} bytes");
    }
    let mut other = bytes.clone();
    other[24] = 0x40;
    assert_eq!(MoveParameters::parse(&other), Err(Some(FieldPointer::byte(24))));
    assert_eq!(MoveParameters::parse(&bytes), Ok(parameters));
}

fn initiators() -> impl Strategy<Value = IscsiTransportId> {
    ("iqn\\.[a-z0-9.:-]{1,60}", option::of(any::<[u8; 6]>())).prop_map(|(name, isid)| IscsiTransportId { name, isid })
}

proptest! {
    #[test]
    fn what_is_built_reads_back(
        (generation, keys) in (any::<u32>(), vec(any::<u64>(), 0..20)),
        reservation in option::of((any::<u64>(), (0..16_u8).prop_map(ReservationKind))),
        (key, action_key, a, b, c) in any::<(u64, u64, bool, bool, bool)>(),
        (relative_port, initiator) in (any::<u16>(), initiators()),
        registrations in vec((any::<(u64, bool, u16)>(), option::of((0..16_u8).prop_map(ReservationKind)), initiators()), 0..6),
        kinds in option::of(any::<u16>()),
    ) {
        let list = ReservationKeys { generation, keys };
        prop_assert_eq!(ReservationKeys::parse(&list.to_bytes()), Ok(list));
        let report = ReservationReport { generation, reservation };
        prop_assert_eq!(ReservationReport::parse(&report.to_bytes()), Ok(report));
        let parameters =
            ReserveParameters { key, action_key, specify_initiators: a, all_target_ports: b, persist: c };
        prop_assert_eq!(ReserveParameters::parse(&parameters.to_bytes()), Some(parameters));
        let parameters = MoveParameters { key, action_key, unregister: a, persist: b, relative_port, initiator };
        prop_assert_eq!(MoveParameters::parse(&parameters.to_bytes()), Ok(parameters));
        let registrations = registrations.into_iter().map(|((key, all_target_ports, relative_port), holds, initiator)| {
            RegistrationStatus { key, all_target_ports, holds, relative_port, initiator }
        });
        let status = FullStatus { generation, registrations: registrations.collect() };
        prop_assert_eq!(FullStatus::parse(&status.to_bytes()), Ok(status));
        let capabilities = ReservationCapabilities {
            all_target_ports: a, persist_through_power_loss: b, persist_active: c, kinds,
        };
        prop_assert_eq!(ReservationCapabilities::parse(&capabilities.to_bytes()), Ok(capabilities));
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(ReservationKeys::parse(&bytes).is_err(), bytes.len() < 8);
        prop_assert_eq!(ReservationReport::parse(&bytes).is_err(), bytes.len() < 8);
        prop_assert_eq!(ReservationCapabilities::parse(&bytes).is_err(), bytes.len() < 8);
        prop_assert_eq!(FullStatus::parse(&bytes).is_err(), bytes.len() < 8);
        prop_assert_eq!(ReserveParameters::parse(&bytes).is_none(), bytes.len() < 24);
        let _ = MoveParameters::parse(&bytes);
        if let Some((id, rest)) = IscsiTransportId::read(&bytes) {
            prop_assert!(rest.len() < bytes.len());
            // What was understood is said again in the same way.
            let again = id.to_bytes();
            prop_assert_eq!(IscsiTransportId::read(&again), Some((id, &[][..])));
        }
    }
}
