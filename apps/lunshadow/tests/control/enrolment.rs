//! The enrolment string: good once, for a while, and for the right array only. What is refused is in the array's log, secrets are not.

use anyhow::{Context as _, ensure};
use lunshadow_array_client::{Array as _, ArrayError, EnrolError, HttpsTimeouts, enrol};
use lunshadow_control::{EnrolmentString, Fingerprint, ProblemCode};

use crate::service::{Service, array_of, initiator};

fn refusal(string: &EnrolmentString) -> anyhow::Result<EnrolError> {
    enrol(string, HttpsTimeouts::default()).map(drop).err().context("it was enrolled")
}

/// What the array says about a token that it does not take.
fn refused_token(string: &EnrolmentString) -> anyhow::Result<String> {
    match refusal(string)? {
        EnrolError::Refused { detail } => Ok(detail),
        EnrolError::Unreachable { detail } => anyhow::bail!("not reached: {detail}"),
    }
}

#[test]
fn a_host_enrols_once_and_is_known_from_then_on_by_its_credential() -> anyhow::Result<()> {
    let mut service = Service::start()?;
    let string = service.add_host("sql")?;
    let enrolment = enrol(&string, HttpsTimeouts::default())?;
    ensure!(enrolment.host.name == "sql" && enrolment.endpoint == service.endpoint);
    ensure!(array_of(&enrolment).who_am_i()?.initiators == [initiator("sql").parse()?]);
    ensure!(service.admin_json(&["host", "list"])?["hosts"][0]["enrolled"] == true);

    ensure!(refused_token(&string)?.contains("used already"));
    service.logged(&["WARN", "/v1/enrol", "EnrolmentRefused"])?;

    // Also after the array was killed: it has told the host that the credential is good.
    service.kill()?;
    let service = service.serve_again()?;
    let moved = lunshadow_array_client::Enrolment { endpoint: service.endpoint.clone(), ..enrolment.clone() };
    ensure!(array_of(&moved).who_am_i()?.name == "sql");
    let used = EnrolmentString { address: service.endpoint.address.clone(), ..string.clone() };
    ensure!(refused_token(&used)?.contains("used already"), "a restart makes a token good again");

    let log = service.log()?;
    for secret in [string.token.expose(), enrolment.credential.expose()] {
        ensure!(!log.contains(secret), "a secret is in the log:\n{log}");
    }
    Ok(())
}

#[test]
fn an_expired_a_replaced_and_an_invented_token_are_refused() -> anyhow::Result<()> {
    let service = Service::start()?;
    let replaced = service.add_host("sql")?;
    let issued = service.admin_client()?.issue_enrolment("sql", 0)?;
    let expired = EnrolmentString { token: issued.token, ..replaced.clone() };
    ensure!(refused_token(&expired)?.contains("has expired"));
    ensure!(refused_token(&replaced)?.contains("a newer one was issued"));
    let invented = EnrolmentString { token: lunshadow_control::Secret::new("0".repeat(64)), ..replaced };
    let detail = refused_token(&invented)?;
    ensure!(detail.contains("is not known") && detail.contains("lunshadow host enrol"), "{detail}");
    let lines = service.log()?.lines().filter(|line| line.contains("EnrolmentRefused")).count();
    ensure!(lines == 3, "{lines} lines in the log:\n{}", service.log()?);
    Ok(())
}

#[test]
fn an_array_with_another_certificate_gets_no_token() -> anyhow::Result<()> {
    let (service, impostor) = (Service::start()?, Service::start()?);
    let string = service.add_host("sql")?;
    let astray = EnrolmentString { address: impostor.endpoint.address.clone(), ..string.clone() };
    let EnrolError::Unreachable { detail } = refusal(&astray)? else { anyhow::bail!("it was asked") };
    for fingerprint in [&service.endpoint.fingerprint, &impostor.endpoint.fingerprint] {
        ensure!(detail.contains(&fingerprint.to_string()), "{detail}");
    }
    impostor.logged(&["WARN", "127.0.0.1:", "refused the array's certificate"])?;
    ensure!(matches!(
        refusal(&EnrolmentString { fingerprint: Fingerprint([7; 32]), ..string.clone() })?,
        EnrolError::Unreachable { .. }
    ));
    // The token was not sent to anybody, so it is still good.
    enrol(&string, HttpsTimeouts::default())?;
    Ok(())
}

#[test]
fn another_enrolment_makes_the_credential_before_useless_and_so_does_removal() -> anyhow::Result<()> {
    let service = Service::start()?;
    let first = service.enrolled("sql")?;
    let string: EnrolmentString = service.admin(&["host", "enrol", "sql"])?.parse()?;
    ensure!(array_of(&first).who_am_i().is_ok(), "a token alone changes nothing");
    let second = enrol(&string, HttpsTimeouts::default())?;
    let code = |error: ArrayError| error.code();
    ensure!(array_of(&first).who_am_i().map_err(code) == Err(Some(ProblemCode::NotAuthenticated)));
    ensure!(array_of(&second).who_am_i().is_ok());
    service.admin(&["host", "remove", "sql"])?;
    ensure!(array_of(&second).who_am_i().map_err(code) == Err(Some(ProblemCode::NotAuthenticated)));
    service.logged(&["WARN", "/v1/host", "NotAuthenticated"])
}
