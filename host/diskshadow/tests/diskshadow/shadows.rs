//! What is done with shadow copies that exist.

use lunshadow_diskshadow::{Fault, Place, StateError};
use lunshadow_vss::{Context, SnapshotId, SnapshotSetId};
use uuid::Uuid;

use crate::fake::Rig;

const NOBODY: &str = "{00000000-0000-0000-0000-00000000000f}";
const NOBODYS: Uuid = Uuid::from_u128(0xf);

/// Three sets: C: and D:, C: again, and E:.
fn rig() -> (Rig, Vec<SnapshotId>) {
    let mut rig = Rig::default();
    rig.succeed(
        "set context persistent\nadd volume c:\nadd volume d:\ncreate\nadd volume c:\ncreate\nadd volume e:\ncreate",
    );
    let ids = rig.vss.shadows.iter().map(|shadow| shadow.id).collect();
    rig.vss.calls.clear();
    (rig, ids)
}

#[test]
fn shadow_copies_are_deleted_as_they_are_chosen() {
    for (which, gone) in [
        ("all", vec![0, 1, 2, 3]),
        ("volume c:", vec![0, 2]),
        ("oldest C:", vec![0]),
        ("oldest f:", vec![]),
        ("volume f:", vec![]),
        ("set SET", vec![0, 1]),
        ("id ID", vec![3]),
    ] {
        let (mut rig, ids) = rig();
        let set = rig.vss.shadows[0].set.to_string();
        let which = which.replace("SET", &set).replace("ID", &ids[3].to_string());
        rig.succeed(&format!("delete shadows {which}"));
        let expected: Vec<_> = gone.iter().map(|index: &usize| ids[*index].to_string()).collect();
        assert_eq!(rig.calls("delete"), expected, "{which}");
        assert!(rig.has_said(&[&format!("number of shadow copies deleted: {}", gone.len())]));
    }
}

#[test]
fn a_deletion_stops_at_the_copy_that_cannot_go() {
    let (mut rig, ids) = rig();
    rig.vss.deletable = Some(2);
    let fault = rig.fault("delete shadows all");
    let Fault::Deletion { deleted, undeleted, .. } = &fault else { panic!("{fault}") };
    assert_eq!((*deleted, *undeleted), (2, ids[2]));
    assert_eq!(rig.vss.shadows.len(), 2);
}

#[test]
fn what_is_not_there_is_named() {
    let shadow = || Fault::State(StateError::NoSuchShadow(SnapshotId(NOBODYS)));
    let set = || Fault::State(StateError::NoSuchSet(SnapshotSetId(NOBODYS)));
    let nothing = |place: Place| Fault::State(StateError::NothingExposedAt(place));
    for (command, fault) in [
        ("list shadows id ID", shadow()),
        ("list shadows set ID", set()),
        ("delete shadows id ID", shadow()),
        ("delete shadows set ID", set()),
        ("delete shadows exposed x:", nothing(Place::Drive('X'))),
        ("expose ID x:", shadow()),
        ("unexpose ID", shadow()),
        ("unexpose /mnt", nothing(Place::MountPoint("/mnt".into()))),
        ("mask ID", set()),
        ("break ID", set()),
        ("revert ID", shadow()),
    ] {
        let (mut rig, _) = rig();
        assert_eq!(rig.fault(&command.replace("ID", NOBODY)), fault, "{command}");
    }
}

#[test]
fn only_persistent_copies_are_exposed_and_each_at_one_place() {
    let (mut rig, ids) = rig();
    rig.succeed(&format!("expose {} x:\nlist shadows id {0}", ids[0]));
    assert!(rig.has_said(&["exposed          X:"]));
    let (first, second) = (ids[0], ids[1]);
    let taken = StateError::PlaceTaken { shadow: first, place: Place::Drive('X') };
    assert_eq!(rig.fault(&format!("expose {second} X:\\")), Fault::State(taken));
    let already = StateError::ExposedAlready { shadow: first, place: Place::Drive('X') };
    assert_eq!(rig.fault(&format!("expose {first} y:")), Fault::State(already.clone()));
    assert_eq!(rig.fault(&format!("expose {first} x:")), Fault::State(already));
    assert_eq!(rig.fault(&format!("unexpose {second}")), Fault::State(StateError::NotExposed(second)));
    rig.succeed(&format!("unexpose x:\nexpose {second} share\nunexpose {second}\nexpose {first} share"));
    rig.vss.calls.clear();
    rig.succeed("delete shadows exposed SHARE".replace("SHARE", "share").as_str());
    let order: Vec<_> = rig.vss.calls.iter().map(|call| call.split(' ').next().unwrap()).collect();
    assert_eq!(order, ["unexpose", "delete", "reset"]);
    let fault = rig.fault("add volume f:\ncreate\nexpose %VSS_SHADOW_1% x:");
    assert!(matches!(fault, Fault::State(StateError::NotPersistent(_))), "{fault}");
}

#[test]
fn sets_are_broken_and_masked_with_their_options() {
    for (command, bits) in [
        ("break", "0x0"),
        ("break readonly nomask", "0x0"),
        ("break writable", "0x2"),
        ("break writable revertid", "0x6"),
        ("break norevertid", "0x8"),
        ("break mask", "0x1"),
        ("mask", "0x1"),
    ] {
        let (mut rig, _) = rig();
        let set = rig.vss.shadows[0].set;
        rig.succeed(&format!("{command} {set}"));
        assert_eq!(rig.calls("break"), [bits], "{command}");
        assert_eq!(rig.vss.shadows.len(), 2);
    }
}

#[test]
fn only_client_accessible_copies_are_reverted_to() {
    let (mut rig, ids) = rig();
    let fault = rig.fault(&format!("revert {}", ids[0]));
    assert_eq!(fault, Fault::State(StateError::NotClientAccessible(ids[0])));
    rig.vss.find(ids[0]).attributes |= Context::CLIENT_ACCESSIBLE;
    rig.succeed(&format!("revert {}", ids[0]));
    assert_eq!(rig.calls("revert"), [ids[0].to_string()]);
}
