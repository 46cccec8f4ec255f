//! Tokens, credentials, and what hosts may import from others.

use std::time::Duration;

use lunshadow_control::{HostId, LunQuery, Outcome, ProblemCode, Secret, ShadowSetId, identity_of};
use lunshadow_lun::LunMap as _;

use crate::setup::{TestArray, code, initiator, name};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(start_paused = true)]
async fn a_token_is_exchanged_for_a_credential_once() {
    let array = TestArray::new().await;
    let issued = array.catalog.issue_enrolment(array.host, DAY).await.unwrap();
    let enrolled = array.catalog.enrol(&issued.token).await.unwrap();
    assert_eq!(enrolled.host, array.host);
    assert_eq!(array.catalog.authenticate(&enrolled.credential).unwrap(), array.host);
    let again = array.catalog.enrol(&issued.token).await;
    assert!(again.as_ref().unwrap_err().to_string().contains("used already"));
    assert_eq!(code(again), ProblemCode::EnrolmentRefused);
    assert_eq!(
        array.catalog.authenticate(&enrolled.credential).unwrap(),
        array.host,
        "the second attempt took nothing"
    );
    for wrong in [&issued.token, &Secret::new(""), &Secret::new("0".repeat(64))] {
        assert_eq!(code(array.catalog.authenticate(wrong)), ProblemCode::NotAuthenticated);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_expires() {
    let array = TestArray::new().await;
    let issued = array.catalog.issue_enrolment(array.host, DAY).await.unwrap();
    array.clock.advance(DAY);
    let refused = array.catalog.enrol(&issued.token).await;
    assert!(refused.as_ref().unwrap_err().to_string().contains("expired"));
    assert_eq!(code(refused), ProblemCode::EnrolmentRefused);
}

#[tokio::test(start_paused = true)]
async fn only_the_newest_token_and_the_newest_credential_are_good() {
    let array = TestArray::new().await;
    let old = array.catalog.issue_enrolment(array.host, DAY).await.unwrap();
    let new = array.catalog.issue_enrolment(array.host, DAY).await.unwrap();
    assert_eq!(code(array.catalog.enrol(&old.token).await), ProblemCode::EnrolmentRefused);
    let first = array.catalog.enrol(&new.token).await.unwrap().credential;
    let newer = array.catalog.issue_enrolment(array.host, DAY).await.unwrap();
    assert!(array.catalog.authenticate(&first).is_ok(), "it is good until the next one is there");
    let second = array.catalog.enrol(&newer.token).await.unwrap().credential;
    assert_eq!(code(array.catalog.authenticate(&first)), ProblemCode::NotAuthenticated);
    assert!(array.catalog.authenticate(&second).is_ok());
}

#[tokio::test(start_paused = true)]
async fn enrolments_survive_a_restart_and_end_with_the_host() {
    let array = TestArray::new().await;
    let used = array.catalog.issue_enrolment(array.host, DAY).await.unwrap();
    let credential = array.catalog.enrol(&used.token).await.unwrap().credential;
    let open = array.catalog.issue_enrolment(array.stranger, DAY).await.unwrap();
    let array = array.reopen().await;
    assert_eq!(array.catalog.authenticate(&credential).unwrap(), array.host);
    assert_eq!(code(array.catalog.enrol(&used.token).await), ProblemCode::EnrolmentRefused);
    let strangers = array.catalog.enrol(&open.token).await.unwrap().credential;
    assert_eq!(array.catalog.authenticate(&strangers).unwrap(), array.stranger);

    assert_eq!(array.catalog.revoke(array.host).await.unwrap(), Outcome::Done);
    assert_eq!(code(array.catalog.authenticate(&credential)), ProblemCode::NotAuthenticated);
    assert_eq!(array.catalog.remove_host(array.stranger).await.unwrap(), Outcome::Done);
    assert_eq!(array.catalog.remove_host(array.stranger).await.unwrap(), Outcome::AlreadySo);
    assert_eq!(code(array.catalog.authenticate(&strangers)), ProblemCode::NotAuthenticated);
    assert!(array.catalog.inventory(&initiator("stranger")).is_none());
    let array = array.reopen().await;
    assert_eq!(array.catalog.host_named(&name("stranger")), None);
    assert_eq!(code(array.catalog.issue_enrolment(array.stranger, DAY).await), ProblemCode::NotAllowed);
}

#[tokio::test(start_paused = true)]
async fn a_host_with_luns_is_not_removed() {
    let array = TestArray::new().await;
    assert_eq!(code(array.catalog.remove_host(array.host).await), ProblemCode::WrongState);
    for lun in array.sources.clone() {
        array.catalog.unassign(array.host, lun).await.unwrap();
    }
    assert_eq!(array.catalog.remove_host(array.host).await.unwrap(), Outcome::Done);
}

#[tokio::test(start_paused = true)]
async fn a_host_can_get_other_initiators() {
    let array = TestArray::new().await;
    let catalog = &array.catalog;
    let wanted = vec![initiator("second"), initiator("host")];
    assert_eq!(catalog.set_initiators(array.host, wanted.clone()).await.unwrap(), Outcome::Done);
    assert_eq!(catalog.set_initiators(array.host, wanted).await.unwrap(), Outcome::AlreadySo);
    let seen = |who: &str| catalog.inventory(&initiator(who)).map(|inventory| inventory.luns.len());
    assert_eq!((seen("host"), seen("second")), (Some(2), Some(2)));
    let foreign = vec![initiator("stranger")];
    assert_eq!(code(catalog.set_initiators(array.host, foreign).await), ProblemCode::WrongState);
    catalog.set_initiators(array.host, vec![initiator("second")]).await.unwrap();
    assert_eq!((seen("host"), seen("second")), (None, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn p_071_a_host_imports_from_the_hosts_that_it_may_import_from_and_from_no_others() {
    let array = TestArray::new().await;
    let set: ShadowSetId = array.kept(1).await;
    let shadows = array.shadows_of(set);
    let (catalog, importer) = (&array.catalog, array.stranger);
    let sees = |lun| {
        let identity = identity_of(lun);
        let query = LunQuery { serial: Some(identity.serial), designators: identity.designators };
        catalog.resolve(importer, &[query]).unwrap()[0].is_some()
    };
    assert!(!sees(shadows[0]));
    assert_eq!(code(catalog.map(importer, &shadows).await), ProblemCode::UnknownLun);
    catalog.set_imports(importer, vec![array.host]).await.unwrap();
    assert!(sees(shadows[0]) && !sees(array.sources[0]), "shadow LUNs only");
    assert_eq!(code(catalog.map(importer, &array.sources).await), ProblemCode::UnknownLun);
    assert_eq!(catalog.map(importer, &shadows).await.unwrap(), [Outcome::Done, Outcome::Done]);
    assert_eq!(code(catalog.targets(importer, set)), ProblemCode::UnknownSet, "the set is not its own");
    assert_eq!(catalog.release(importer, shadows[0]).await.unwrap(), Outcome::Done, "the importer owns deletion");

    let array = array.reopen().await;
    let catalog = &array.catalog;
    assert_eq!(catalog.administered_hosts()[1].imports_from, ["host"]);
    catalog.unmap(importer, &shadows[1..]).await.unwrap();
    catalog.set_imports(importer, Vec::new()).await.unwrap();
    assert_eq!(code(catalog.map(importer, &shadows[1..]).await), ProblemCode::UnknownLun);
    let nobody = HostId(uuid::Uuid::nil());
    assert_eq!(code(catalog.set_imports(importer, vec![nobody]).await), ProblemCode::NotAllowed);
}

#[tokio::test(start_paused = true)]
async fn an_administrator_sees_hosts_and_luns_by_name() {
    let array = TestArray::new().await;
    array.kept(1).await;
    let issued = array.catalog.issue_enrolment(array.host, DAY).await.unwrap();
    array.catalog.enrol(&issued.token).await.unwrap();
    let hosts = array.catalog.administered_hosts();
    let short: Vec<_> = hosts.iter().map(|host| (host.record.name.as_str(), host.enrolled, host.lun_count)).collect();
    assert_eq!(short, [("host", true, 2), ("stranger", false, 0)]);
    let luns = array.catalog.administered_luns();
    let short: Vec<_> = luns.iter().map(|lun| (lun.name.as_str(), lun.block_count.0, lun.shadow_count)).collect();
    assert_eq!(short, [("data", 8, 1), ("log", 8, 1)]);
    assert_eq!(luns[0].mappings[0].0, "host");
}
