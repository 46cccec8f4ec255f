//! Finding LUNs by what a host sees of them.

use lunshadow_catalog::Limits;
use lunshadow_control::{
    Association, CodeSet, Designator, DesignatorKind, LunId, LunQuery, LunRecord, LunRole, ShadowSetId, identity_of,
};

use crate::fake_pool::Fault;
use crate::setup::{TestArray, code};

#[tokio::test(start_paused = true)]
async fn a_lun_is_found_by_each_of_its_names() {
    let array = TestArray::new().await;
    let [lun, other] = array.sources[..] else { panic!("two LUNs") };
    let identity = identity_of(lun);
    let [naa, t10] = &identity.designators[..] else { panic!("two designators") };
    let upper = Designator { bytes: t10.bytes.to_ascii_uppercase(), ..t10.clone() };
    let port = Designator { association: Association::TARGET_PORT, bytes: vec![0, 1], ..naa.clone() };
    let spellings = [
        query(None, &[naa]),
        query(None, &[t10]),
        query(None, &[&upper]),
        query(Some(&format!("  {}\0", identity.serial.to_uppercase())), &[]),
        query(Some("cut off"), &[naa, t10]),
        query(Some(&identity.serial), &[&port, t10, naa]),
    ];
    for found in array.catalog.resolve(array.host, &spellings).unwrap() {
        let expected =
            LunRecord { lun, identity: identity.clone(), role: LunRole::Source, can_shadow: true, can_copy: true };
        assert_eq!(found, Some(expected));
    }

    let foreign_naa = Designator { bytes: vec![0x60; 16], ..naa.clone() };
    let foreign_t10 = Designator { bytes: b"ACME    0123".to_vec(), ..t10.clone() };
    let strangers = [
        query(None, &[]),
        query(Some("0123"), &[]),
        query(Some(&LunId::random().to_string()), &[]),
        query(Some(&identity_of(other).serial), &[naa]),
        query(Some(&identity.serial), &[&foreign_naa]),
        query(None, &[naa, &foreign_t10]),
        query(None, &[naa, &identity_of(other).designators[1]]),
    ];
    assert_eq!(array.catalog.resolve(array.host, &strangers).unwrap(), vec![None; strangers.len()]);
}

#[tokio::test(start_paused = true)]
async fn a_host_finds_what_it_may_see_and_nothing_else() {
    let array = TestArray::new().await;
    let set = array.prepared(1).await;
    let find = |host, lun| array.catalog.resolve(host, &[serial_of(lun)]).unwrap().remove(0).map(|found| found.role);
    array.catalog.arm(array.host, set, None).await.unwrap();
    array.catalog.commit(array.host, set).await.unwrap();
    let target = array.catalog.targets(array.host, set).unwrap().remove(0);
    let role = Some(LunRole::Shadow { source: target.source, set });
    assert_eq!(find(array.host, target.shadow), role);
    assert_eq!(find(array.stranger, target.shadow), None);
    assert_eq!(find(array.stranger, target.source), None);
    array.catalog.assign(array.stranger, target.source).await.unwrap();
    assert_eq!(find(array.stranger, target.shadow), role);
    array.catalog.abort(array.host, set).await.unwrap();
    assert_eq!(find(array.host, target.shadow), None);
    assert_eq!(find(array.stranger, target.shadow), None);
    let nobody = lunshadow_control::HostId(uuid::Uuid::nil());
    assert_eq!(code(array.catalog.resolve(nobody, &[])), lunshadow_control::ProblemCode::NotAllowed);
}

#[tokio::test(start_paused = true)]
async fn what_can_be_shadowed_is_told_honestly() {
    let limits = Limits { shadows_of_lun: 1, ..Limits::default() };
    let array = TestArray::with_limits(limits).await;
    assert!(array.can_shadow());
    let set = array.committed(1).await;
    assert!(!array.can_shadow(), "the limit of shadow LUNs is reached");
    let shadow = array.shadows_of(set)[0];
    assert!(!array.can_shadow_lun(shadow), "shadow LUNs are not shadowed");
    array.catalog.abort(array.host, set).await.unwrap();
    assert!(array.can_shadow());
    array.pool.fill();
    assert!(!array.can_shadow(), "the pool is full");

    let array = TestArray::with_limits(Limits { luns_in_set: 1, ..Limits::default() }).await;
    assert!(array.can_shadow());
    let volume: Vec<LunQuery> = array.sources.iter().map(|lun| serial_of(*lun)).collect();
    let found = array.catalog.resolve(array.host, &volume).unwrap();
    let any = found.into_iter().any(|record| record.is_some_and(|record| record.can_shadow));
    assert!(!any, "the volume has more LUNs than a set takes");

    let array = TestArray::new().await;
    array.pool.switch(|faults| faults.prepare_fails = Some(Fault::Poisoned));
    array.catalog.prepare(array.host, ShadowSetId(uuid::Uuid::from_u128(5)), &array.sources).await.unwrap_err();
    assert!(!array.can_shadow(), "the pool takes no changes");
}

impl TestArray {
    fn can_shadow(&self) -> bool {
        self.can_shadow_lun(self.sources[0])
    }

    fn can_shadow_lun(&self, lun: LunId) -> bool {
        self.catalog.resolve(self.host, &[serial_of(lun)]).unwrap().remove(0).unwrap().can_shadow
    }
}

fn serial_of(lun: LunId) -> LunQuery {
    query(Some(&lun.to_string()), &[])
}

fn query(serial: Option<&str>, designators: &[&Designator]) -> LunQuery {
    LunQuery { serial: serial.map(str::to_owned), designators: designators.iter().map(|d| (*d).clone()).collect() }
}

#[tokio::test(start_paused = true)]
async fn designators_of_other_kinds_say_nothing() {
    let array = TestArray::new().await;
    let eui = Designator {
        code_set: CodeSet::BINARY,
        association: Association::LUN,
        kind: DesignatorKind::EUI64,
        bytes: vec![7; 8],
    };
    let identity = identity_of(array.sources[0]);
    let with_eui = query(None, &[&eui, &identity.designators[0]]);
    let found = array.catalog.resolve(array.host, &[with_eui, query(None, &[&eui])]).unwrap();
    assert_eq!(found[0].as_ref().map(|found| found.lun), Some(array.sources[0]));
    assert_eq!(found[1], None);
}
