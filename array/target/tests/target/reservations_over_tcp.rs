//! Reservations between sessions: commands that PREEMPT AND ABORT ends, RESERVE that ends with its session, sense formats.

use bytes::Bytes;
use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_iscsi::pdu::{LogoutReason, LogoutRequest, Pdu, Response};
use lunshadow_scsi::{
    AdditionalSense, Command, ControlPage, ModeData, ModeForm, ModePage, ReservationKind, ReserveForm,
    ReserveOutAction, ReserveParameters, Status,
};
use lunshadow_target::Limits;

use crate::peer::{Array, Outcome, Peer, pattern, read, write};

async fn reserve_out(peer: &mut Peer, action: ReserveOutAction, keys: (u64, u64)) -> Status {
    let list = Bytes::from(parameters(keys));
    peer.run(out(action), list, 0).await.status
}

fn parameters((key, action_key): (u64, u64)) -> Vec<u8> {
    ReserveParameters { key, action_key, ..ReserveParameters::default() }.to_bytes()
}

fn out(action: ReserveOutAction) -> Command {
    let kind = ReservationKind::WRITE_EXCLUSIVE_REGISTRANTS_ONLY;
    Command::PersistentReserveOut { action, scope: 0, kind, parameter_len: 24 }
}

#[tokio::test]
async fn preempt_and_abort_waits_until_the_commands_that_it_ends_touch_storage_no_more() {
    let array = Array::new(Limits::default()).await;
    let mut holder = array.peer("one").await;
    let mut other = array.peer("two").await;
    for (peer, key) in [(&mut holder, 1), (&mut other, 2)] {
        assert_eq!(reserve_out(peer, ReserveOutAction::Register, (0, key)).await, Status::GOOD);
    }
    assert_eq!(reserve_out(&mut holder, ReserveOutAction::Reserve, (1, 0)).await, Status::GOOD);
    // From now on writes stop in the LUN.
    array.controls.writes.forget_permits(usize::MAX);
    let data = pattern(1, 1);
    let ended = holder.send_write(write(0, 1), &data).await;
    array.controls.writes_begun.acquire().await.expect("it is never closed").forget();

    let preempt = other.send_write(out(ReserveOutAction::PreemptAndAbort), &Bytes::from(parameters((2, 1)))).await;
    assert_eq!(other.ping(b"").await, "", "the write has not ended");
    array.controls.writes.add_permits(1);
    assert_eq!(other.finish(preempt, &Bytes::new(), 0).await.status, Status::GOOD);

    // The write is not answered; what comes next is told why.
    for expected in [AdditionalSense::REGISTRATIONS_PREEMPTED, AdditionalSense::COMMANDS_CLEARED_BY_ANOTHER] {
        let outcome = holder.run(read(0, 1), Bytes::new(), 512).await;
        assert_eq!(outcome.sense.map(|sense| sense.code), Some(expected), "not the answer of {ended:?}");
    }
    let refused = holder.run(write(0, 1), pattern(2, 1), 0).await;
    assert_eq!(refused, Outcome { status: Status::RESERVATION_CONFLICT, sense: None, data: Vec::new(), residual: 512 });
    array.controls.writes.add_permits(1);
    assert_eq!(other.run(write(0, 1), pattern(3, 1), 0).await.status, Status::GOOD);
}

#[tokio::test]
async fn reserve_ends_before_the_logout_is_answered() {
    let array = Array::new(Limits::default()).await;
    let mut holder = array.peer("one").await;
    let mut other = array.peer("two").await;
    let reserve = Command::Reserve(ReserveForm::Six);
    assert_eq!(holder.run(reserve, Bytes::new(), 0).await.status, Status::GOOD);
    assert_eq!(other.run(reserve, Bytes::new(), 0).await.status, Status::RESERVATION_CONFLICT);
    let itt = holder.new_itt();
    let logout = LogoutRequest { itt, ..LogoutRequest::default() }.with_reason(LogoutReason::CLOSE_SESSION);
    holder.send(Pdu::bare(logout)).await;
    assert!(matches!(holder.expect().await.bhs.response(), Response::Logout(_)));
    assert_eq!(other.run(reserve, Bytes::new(), 0).await.status, Status::GOOD);
    // A session that takes the place of another has reserved nothing.
    let mut again =
        Peer::log_in(array.address(), crate::peer::login("two", Preferences::default())).await.expect("a login");
    assert_eq!(again.run(Command::TestUnitReady, Bytes::new(), 0).await.status, Status::CHECK_CONDITION);
    let mut first = array.peer("one").await;
    assert_eq!(first.run(reserve, Bytes::new(), 0).await.status, Status::GOOD);
}

#[tokio::test]
async fn sense_data_travels_in_the_format_of_the_control_page() {
    let array = Array::new(Limits::default()).await;
    let mut peer = array.peer("one").await;
    let page = ControlPage { descriptor_sense: true, unrestricted_reordering: true, ..ControlPage::default() };
    let list = ModeData { pages: vec![ModePage::Control(page)], ..ModeData::default() }.to_bytes(ModeForm::Ten);
    let parameter_len = u16::try_from(list.len()).expect("short");
    let select = Command::ModeSelect { form: ModeForm::Ten, page_format: true, save: false, parameter_len };
    assert_eq!(peer.run(select, list, 0).await.status, Status::GOOD);
    let header = peer.header(read(u64::MAX, 1), 512);
    peer.send(Pdu::bare(header)).await;
    let response = peer.expect().await;
    // SenseLength, then the response code of descriptors.
    assert_eq!(response.data[2], 0x72);
}
