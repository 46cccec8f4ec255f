//! Initiators that have to prove who they are, from the command line to the login.

use std::io::Write as _;

use anyhow::ensure;
use lunshadow::array::TARGET_NAME;
use lunshadow_initiator::{Session, SessionConfig};
use lunshadow_iscsi::login::{ChapCredential, ChapSecret, InitiatorChap};
use tokio::runtime::Runtime;

use crate::service::{Service, initiator, text};

/// Whether the host is let in with a secret, or without one.
fn is_let_in(service: &Service, secret: Option<&str>) -> anyhow::Result<bool> {
    let own =
        |secret: &str| anyhow::Ok(ChapCredential { name: "sql-user".to_owned(), secret: ChapSecret::new(secret)? });
    let chap = secret.map(own).transpose()?.map(|own| InitiatorChap { own, target: None });
    let config = SessionConfig { chap, ..SessionConfig::new(initiator("sql").parse()?, TARGET_NAME) };
    let runtime = Runtime::new()?;
    Ok(runtime.block_on(Session::connect(service.portal, config)).is_ok())
}

#[test]
fn initiators_prove_who_they_are_from_the_next_login_on() -> anyhow::Result<()> {
    let mut service = Service::start()?;
    service.add_host("sql")?;
    ensure!(is_let_in(&service, None)?, "nothing is asked yet");

    let mut secrets = tempfile::NamedTempFile::new()?;
    writeln!(secrets, "the host's secret\nthe array's secret")?;
    let file = text(secrets.path()).to_owned();
    let set = ["host", "chap", "sql", "--user", "sql-user", "--array-user", "array", "--secrets", &file];
    ensure!(service.admin(&set)?.contains("have to prove"));
    ensure!(service.admin_json(&set)?["outcome"] == "already-so");
    let hosts = service.admin(&["host", "list", "--json"])?;
    ensure!(hosts.contains("sql-user") && !hosts.contains("secret"), "{hosts}");

    service.stop()?;
    let service = service.serve_again()?;
    ensure!(is_let_in(&service, Some("the host's secret"))?);
    ensure!(!is_let_in(&service, Some("another secret"))?);
    ensure!(!is_let_in(&service, None)?);

    ensure!(service.admin_json(&["host", "chap", "sql", "--off"])?["outcome"] == "done");
    ensure!(is_let_in(&service, None)?);
    Ok(())
}

#[test]
fn secrets_that_cannot_be_used_are_refused() -> anyhow::Result<()> {
    let service = Service::start()?;
    service.add_host("sql")?;
    let refused = |content: &str, more: &[&str]| -> anyhow::Result<String> {
        let mut secrets = tempfile::NamedTempFile::new()?;
        secrets.write_all(content.as_bytes())?;
        let arguments = ["host", "chap", "sql", "--user", "sql-user", "--secrets", text(secrets.path())];
        service.admin_refused(&[&arguments, more].concat())
    };
    for (content, more, part) in [
        ("short\n", &[][..], "12 to 255 bytes"),
        ("", &[], "no secret for sql-user"),
        ("the host's secret\n", &["--array-user", "array"], "no secret for array"),
        ("the same secret\nthe same secret\n", &["--array-user", "array"], "has to differ"),
    ] {
        let line = refused(content, more)?;
        ensure!(line.contains(part), "{content:?}: {line}");
    }
    ensure!(service.admin_refused(&["host", "chap", "nobody", "--off"])?.contains("lunshadow host list"));
    ensure!(is_let_in(&service, None)?, "nothing has changed");
    Ok(())
}
