//! `lunshadow host …`: who may ask for LUNs and shadow copies.

use std::net::SocketAddr;

use lunshadow_array_client::{AdminClient, ArrayError};
use lunshadow_control::EnrolmentString;
use lunshadow_control::api::{AdminHost, EnrolmentAnswer, HostRequest, HostsAnswer, OutcomeAnswer};
use lunshadow_control::{HostRecord, InitiatorName, Outcome};
use serde::Serialize;

use super::table::{row, table};
use super::{Service, told};
use crate::cli::{AdminArgs, EnrolArgs, EnrolmentArgs, HostAddArgs, NamedArgs};
use crate::console::{complain, say, unix_time};

/// What `host add` and `host enrol` print with `--json`.
#[derive(Debug, Serialize)]
struct Enrolment {
    host: HostRecord,
    outcome: Outcome,
    enrolment: String,
    expires_at_unix_ms: u64,
}

pub(super) fn add(args: &HostAddArgs) -> anyhow::Result<()> {
    let request = HostRequest {
        initiators: args.iqn.clone(),
        imports_from: args.imports_from.clone(),
        valid_for_s: args.enrolment.valid_for.as_secs(),
    };
    issue(&args.enrolment, |client| client.put_host(&args.name, &request))
}

pub(super) fn enrol(args: &EnrolArgs) -> anyhow::Result<()> {
    let valid_for_s = args.enrolment.valid_for.as_secs();
    issue(&args.enrolment, |client| client.issue_enrolment(&args.name, valid_for_s))
}

/// The string alone goes to standard output, so that it can be sent on to the host; what to do with it goes to standard error.
fn issue(
    args: &EnrolmentArgs,
    ask: impl FnOnce(&AdminClient) -> Result<EnrolmentAnswer, ArrayError>,
) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    // Before anything is asked: the token is shown once, and a string that leads nowhere would use it up.
    let address = address_for_host(args, &service)?;
    let EnrolmentAnswer { host, outcome, fingerprint, token, expires_at_unix_ms } =
        service.answered(ask(&service.client))?;
    let string = EnrolmentString { address, fingerprint, token };
    if service.json {
        let enrolment = Enrolment { host, outcome, enrolment: string.to_string(), expires_at_unix_ms };
        return service.print(&enrolment, |_| String::new());
    }
    complain(&format!(
        "{} {}; give this enrolment string to `lunshadow-provider config add` on that host, once, before {}:",
        host.name,
        told(outcome, "is known now", "can enrol anew"),
        unix_time(expires_at_unix_ms)
    ));
    if is_loopback(&string.address) {
        complain(
            "its address is this machine's own; a host elsewhere needs --control on another address, or --address",
        );
    }
    say(&string.to_string());
    Ok(())
}

/// Whether only this machine finds anything there.
fn is_loopback(address: &str) -> bool {
    address.parse().is_ok_and(|address: SocketAddr| address.ip().is_loopback())
}

/// Where the host will find the service.
fn address_for_host(args: &EnrolmentArgs, service: &Service) -> anyhow::Result<String> {
    if let Some(address) = &args.address {
        return Ok(address.clone());
    }
    let wildcard = service.listening.filter(|listening| listening.address.ip().is_unspecified());
    match wildcard {
        Some(listening) => anyhow::bail!(
            "the control service listens on all addresses; say by which the host reaches it, for example: --address array.example:{}",
            listening.address.port()
        ),
        None => Ok(service.address.clone()),
    }
}

pub(super) fn list(args: &AdminArgs) -> anyhow::Result<()> {
    let service = Service::of(args)?;
    let hosts = service.answered(service.client.hosts())?;
    service.print(&HostsAnswer { hosts }, |answer| {
        if answer.hosts.is_empty() {
            return "no hosts; add one with: lunshadow host add NAME --iqn IQN".to_owned();
        }
        let mut rows = vec![row(["HOST", "ENROLLED", "LUNS", "CHAP", "INITIATORS", "IMPORTS FROM"])];
        rows.extend(answer.hosts.iter().map(|AdminHost { host, enrolled, imports_from, lun_count, chap_name }| {
            let initiators: Vec<&str> = host.initiators.iter().map(InitiatorName::as_str).collect();
            let enrolled = if *enrolled { "yes" } else { "no" };
            let chap = chap_name.as_deref().unwrap_or("no");
            row([&host.name, enrolled, &lun_count.to_string(), chap, &initiators.join(" "), &imports_from.join(" ")])
        }));
        table(&rows)
    })
}

pub(super) fn remove(args: &NamedArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let outcome = service.answered(service.client.remove_host(&args.name))?;
    service.print(&OutcomeAnswer { outcome }, |answer| {
        format!("host {} {}", args.name, told(answer.outcome, "is removed", "was not there"))
    })
}
