//! What the facts mean.

use std::collections::BTreeMap;

use super::{Check, DeviceId, Verdict};
use crate::status::ArrayStatus;

/// How far two clocks may be apart before people are misled by the times in two logs, in milliseconds.
const CLOCKS_APART_MS_MAX: u64 = 30_000;

/// How long an array may take to answer before commits become doubtful, in milliseconds.
const ANSWER_MS_MAX: u64 = 1_000;

/// What kind of Windows this is (the registry's `ProductType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowsKind {
    /// A server or domain controller.
    Server,
    /// A client edition.
    Client,
}

/// A hardware provider that VSS lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderFact {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Whether it is this one.
    pub is_ours: bool,
    /// Whether it is registered with the version of this program.
    pub is_this_build: bool,
}

/// A disk of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFact {
    /// As Windows calls it.
    pub name: String,
    /// Its designators; `None` if the disk does not tell them.
    pub ids: Option<Vec<DeviceId>>,
}

/// What an array says, and what this host calls itself.
#[derive(Debug)]
pub struct ArrayFact {
    /// Its answer.
    pub status: ArrayStatus,
}

/// The source of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventSourceFact {
    /// It is not registered.
    Missing,
    /// It names a file that is not there.
    FileMissing(String),
    /// It names this file, which is there.
    Registered(String),
}

/// How COM would start the class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostingFact {
    /// The class is not registered.
    NoClass,
    /// It is registered, but neither a service nor a program is named.
    NoServer,
    /// The named service does not exist.
    NoService(String),
    /// What would be started does not exist.
    ProgramMissing(String),
    /// This would be started.
    Program(String),
}

/// The service, where there is to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceFact {
    /// The class is hosted by a local server.
    NotUsed,
    /// It is disabled, so nobody can start it.
    Disabled,
    /// It runs.
    Running,
    /// It does not run; VSS starts it when it needs it.
    Stopped,
}

/// Everything that is judged. `None`, and `Err` with its reason, mean that it could not be looked at.
#[derive(Debug)]
pub struct Facts {
    /// What kind of Windows it is.
    pub windows: Option<WindowsKind>,
    /// The `SanPolicy` of the partition manager.
    pub san_policy: Option<u32>,
    /// The hardware providers that VSS lists.
    pub providers: Result<Vec<ProviderFact>, String>,
    /// How COM starts the class.
    pub hosting: HostingFact,
    /// The service.
    pub service: Option<ServiceFact>,
    /// The source of events.
    pub event_source: EventSourceFact,
    /// The disks.
    pub disks: Vec<DiskFact>,
    /// The name of this host's iSCSI initiator.
    pub initiator: Option<String>,
    /// The settings, or why they cannot be used.
    pub settings: Result<(), String>,
    /// The arrays.
    pub arrays: Vec<ArrayFact>,
}

/// All checks, in the order in which a shadow copy would meet them.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![
        windows(facts.windows),
        hosting(&facts.hosting),
        service(facts.service),
        event_source(&facts.event_source),
        registration(&facts.providers),
        other_providers(&facts.providers),
        san_policy(facts.san_policy),
        identities(&facts.disks),
        settings(&facts.settings, facts.arrays.len()),
    ];
    for array in &facts.arrays {
        checks.push(reachability(&array.status));
        if array.status.overview.is_some() {
            checks.push(initiator(&array.status, facts.initiator.as_deref()));
            checks.push(clock(&array.status));
        }
    }
    checks
}

fn check(subject: &str, verdict: Verdict, finding: impl Into<String>, remedy: &str) -> Check {
    let remedy = (!remedy.is_empty()).then(|| remedy.to_owned());
    Check { subject: subject.to_owned(), verdict, finding: finding.into(), remedy }
}

fn windows(kind: Option<WindowsKind>) -> Check {
    const SUBJECT: &str = "edition of Windows";
    match kind {
        Some(WindowsKind::Server) => check(SUBJECT, Verdict::Ok, "Windows Server", ""),
        Some(WindowsKind::Client) => check(
            SUBJECT,
            Verdict::Failed,
            "a client edition: VSS takes hardware providers on Windows Server only",
            "Use the provider on Windows Server.",
        ),
        None => check(SUBJECT, Verdict::NotChecked, "the system does not say", ""),
    }
}

fn hosting(fact: &HostingFact) -> Check {
    const SUBJECT: &str = "COM class";
    const INSTALL: &str = "Install the provider anew: lunshadow-provider install";
    match fact {
        HostingFact::Program(program) => check(SUBJECT, Verdict::Ok, format!("COM starts {program}"), ""),
        HostingFact::NoClass => check(SUBJECT, Verdict::Failed, "it is not registered", INSTALL),
        HostingFact::NoServer => check(SUBJECT, Verdict::Failed, "it names neither a service nor a program", INSTALL),
        HostingFact::NoService(name) => {
            check(SUBJECT, Verdict::Failed, format!("it names the service {name}, which does not exist"), INSTALL)
        }
        HostingFact::ProgramMissing(program) => {
            check(SUBJECT, Verdict::Failed, format!("it leads to {program}, which does not exist"), INSTALL)
        }
    }
}

fn service(fact: Option<ServiceFact>) -> Check {
    const SUBJECT: &str = "service";
    match fact {
        Some(ServiceFact::Running) => check(SUBJECT, Verdict::Ok, "it runs", ""),
        Some(ServiceFact::Stopped) => check(SUBJECT, Verdict::Ok, "it does not run now; VSS starts it when needed", ""),
        Some(ServiceFact::NotUsed) => {
            check(SUBJECT, Verdict::Warning, "the provider is installed as a local server, for development", "")
        }
        Some(ServiceFact::Disabled) => check(
            SUBJECT,
            Verdict::Failed,
            "it is disabled, so VSS cannot start it",
            "Let it start by demand: sc config LunshadowProvider start= demand",
        ),
        None => check(SUBJECT, Verdict::NotChecked, "there is none, or the system does not say", ""),
    }
}

fn event_source(fact: &EventSourceFact) -> Check {
    const SUBJECT: &str = "event source";
    const REMEDY: &str = "Install the provider anew, or its events have no texts: lunshadow-provider install";
    match fact {
        EventSourceFact::Registered(file) => check(SUBJECT, Verdict::Ok, format!("texts come from {file}"), ""),
        EventSourceFact::Missing => check(SUBJECT, Verdict::Warning, "it is not registered", REMEDY),
        EventSourceFact::FileMissing(file) => {
            check(SUBJECT, Verdict::Warning, format!("it names {file}, which does not exist"), REMEDY)
        }
    }
}

fn registration(providers: &Result<Vec<ProviderFact>, String>) -> Check {
    const SUBJECT: &str = "registration with VSS";
    const INSTALL: &str = "Install the provider anew: lunshadow-provider install";
    let providers = match providers {
        Ok(providers) => providers,
        Err(reason) => return check(SUBJECT, Verdict::NotChecked, format!("VSS cannot be asked: {reason}"), ""),
    };
    match providers.iter().find(|provider| provider.is_ours) {
        None => check(SUBJECT, Verdict::Failed, "VSS does not know the provider", INSTALL),
        Some(ours) if !ours.is_this_build => {
            check(SUBJECT, Verdict::Warning, "VSS knows another version than this program's", INSTALL)
        }
        Some(_) => check(SUBJECT, Verdict::Ok, "VSS knows this version of the provider", ""),
    }
}

fn other_providers(providers: &Result<Vec<ProviderFact>, String>) -> Check {
    const SUBJECT: &str = "other hardware providers";
    let Ok(providers) = providers else {
        return check(SUBJECT, Verdict::NotChecked, "VSS cannot be asked", "");
    };
    let others: Vec<String> = providers
        .iter()
        .filter(|provider| !provider.is_ours)
        .map(|other| format!("{} {}", other.name, other.id))
        .collect();
    if others.is_empty() {
        return check(SUBJECT, Verdict::Ok, "there are none", "");
    }
    check(
        SUBJECT,
        Verdict::Warning,
        others.join(", "),
        "Which provider VSS asks first is undefined. If one of these claims LUNs of a Lunshadow array, remove it, or have the \
         backup program name the provider.",
    )
}

fn san_policy(policy: Option<u32>) -> Check {
    const SUBJECT: &str = "SAN policy";
    const REMEDY: &str = "Let new disks come online: diskpart, then SAN POLICY=OnlineAll";
    match policy {
        Some(1) => check(SUBJECT, Verdict::Ok, "new disks come online (OnlineAll)", ""),
        Some(2) => check(SUBJECT, Verdict::Warning, "new shared disks stay offline (OfflineShared)", REMEDY),
        Some(3) => check(SUBJECT, Verdict::Warning, "new disks stay offline (OfflineAll)", REMEDY),
        Some(4) => check(SUBJECT, Verdict::Warning, "new internal disks stay offline (OfflineInternal)", REMEDY),
        Some(other) => check(SUBJECT, Verdict::Warning, format!("it is {other}, which is not known here"), REMEDY),
        None => check(
            SUBJECT,
            Verdict::Warning,
            "it is not set; by default most editions of Windows Server leave new shared disks offline",
            REMEDY,
        ),
    }
}

fn identities(disks: &[DiskFact]) -> Check {
    const SUBJECT: &str = "identities of disks (page 0x83)";
    let mut owners: BTreeMap<&DeviceId, Vec<&str>> = BTreeMap::new();
    let mut told = 0;
    for disk in disks {
        let Some(ids) = &disk.ids else { continue };
        told += 1;
        for id in ids.iter().filter(|id| id.is_worldwide_name()) {
            let names = owners.entry(id).or_default();
            if !names.contains(&disk.name.as_str()) {
                names.push(&disk.name);
            }
        }
    }
    let mut shared: Vec<String> =
        owners.into_values().filter(|names| names.len() > 1).map(|names| names.join(" and ")).collect();
    shared.sort();
    shared.dedup();
    if !shared.is_empty() {
        return check(
            SUBJECT,
            Verdict::Failed,
            format!("these disks have the same: {}", shared.join("; ")),
            "If these are several ways to one LUN, install Multipath I/O for them. If they are different LUNs, their array has \
             to give each an identity of its own: VSS finds disks by it.",
        );
    }
    if told == 0 {
        return check(SUBJECT, Verdict::NotChecked, format!("none of {} disks tells them", disks.len()), "");
    }
    check(SUBJECT, Verdict::Ok, format!("those of {told} of {} disks are unique", disks.len()), "")
}

fn settings(settings: &Result<(), String>, arrays: usize) -> Check {
    const SUBJECT: &str = "settings";
    match settings {
        Err(reason) => check(
            SUBJECT,
            Verdict::Failed,
            reason.as_str(),
            "Correct the file, or write it anew with lunshadow-provider config.",
        ),
        Ok(()) if arrays == 0 => check(
            SUBJECT,
            Verdict::Failed,
            "no array is known",
            "Enrol this host: `lunshadow host add` at the array, then lunshadow-provider config add --name NAME here.",
        ),
        Ok(()) => check(SUBJECT, Verdict::Ok, format!("{arrays} arrays are known"), ""),
    }
}

fn reachability(array: &ArrayStatus) -> Check {
    let subject = format!("array {}", array.name);
    match &array.problem {
        Some(problem) => check(
            &subject,
            Verdict::Failed,
            problem.as_str(),
            "Check that the array's service runs, that the network between it and this host lets its control port through, and \
             that the array still knows this host; else enrol anew.",
        ),
        None if array.answered_in_ms > ANSWER_MS_MAX => check(
            &subject,
            Verdict::Warning,
            format!("it took {} ms to answer", array.answered_in_ms),
            "Look for the cause in the network or the array's load: writes are held while a shadow copy is committed.",
        ),
        None => {
            let luns = array.overview.as_ref().map_or(0, |overview| overview.luns.len());
            check(
                &subject,
                Verdict::Ok,
                format!("it answers in {} ms and maps {luns} LUNs to this host", array.answered_in_ms),
                "",
            )
        }
    }
}

fn initiator(array: &ArrayStatus, name: Option<&str>) -> Check {
    let subject = format!("initiator at array {}", array.name);
    let known: Vec<&str> = array
        .overview
        .iter()
        .flat_map(|overview| overview.host.initiators.iter().map(|initiator| initiator.as_str()))
        .collect();
    match name {
        None => check(&subject, Verdict::NotChecked, "this host has no iSCSI initiator that could be asked", ""),
        // Names compare without regard to case (RFC 3722).
        Some(name) if known.iter().any(|known| known.eq_ignore_ascii_case(name)) => {
            check(&subject, Verdict::Ok, format!("the array knows {name}"), "")
        }
        Some(name) => check(
            &subject,
            Verdict::Failed,
            format!("this host is {name}; the array knows it as {}", known.join(", ")),
            "Register the name at the array (`lunshadow host add … --iqn …`): shadow LUNs are mapped to the names that it knows.",
        ),
    }
}

fn clock(array: &ArrayStatus) -> Check {
    let subject = format!("clock of array {}", array.name);
    match array.clock_ahead_ms {
        None => check(&subject, Verdict::NotChecked, "the array does not say", ""),
        Some(ahead) if ahead.unsigned_abs() > CLOCKS_APART_MS_MAX => check(
            &subject,
            Verdict::Warning,
            format!("this host's clock is {} s apart from it", ahead.unsigned_abs() / 1000),
            "Synchronise both with one time server: the times in their logs do not fit together.",
        ),
        Some(ahead) => check(&subject, Verdict::Ok, format!("{} ms apart from this host's", ahead.unsigned_abs()), ""),
    }
}

#[cfg(test)]
mod tests {
    use lunshadow_control::{HostId, HostOverview, HostRecord};
    use uuid::Uuid;

    use super::*;
    use crate::doctor::{print, worst};

    fn array(problem: Option<&str>) -> ArrayStatus {
        let host = HostRecord {
            host: HostId(Uuid::from_u128(1)),
            name: "sql-1".into(),
            initiators: vec!["iqn.2026-11.org.example:sql-1".parse().expect("a name")],
        };
        let overview = HostOverview { host, now_unix_ms: 0, luns: Vec::new(), sets: Vec::new() };
        ArrayStatus {
            name: "one".into(),
            address: "array:3261".into(),
            overview: problem.is_none().then_some(overview),
            problem: problem.map(str::to_owned),
            answered_in_ms: 3,
            clock_ahead_ms: Some(-20),
        }
    }

    fn disk(name: &str, id: u8) -> DiskFact {
        let ids = vec![DeviceId { kind: 3, association: 0, bytes: vec![id; 16] }];
        DiskFact { name: name.into(), ids: Some(ids) }
    }

    fn provider(name: &str, is_ours: bool) -> ProviderFact {
        ProviderFact { name: name.into(), id: "{id}".into(), is_ours, is_this_build: true }
    }

    /// A host on which all is well.
    fn healthy() -> Facts {
        Facts {
            windows: Some(WindowsKind::Server),
            san_policy: Some(1),
            providers: Ok(vec![provider("Lunshadow", true)]),
            hosting: HostingFact::Program("provider.exe".into()),
            service: Some(ServiceFact::Stopped),
            event_source: EventSourceFact::Registered("provider.exe".into()),
            disks: vec![disk("PhysicalDrive0", 1), disk("PhysicalDrive1", 2)],
            initiator: Some("IQN.2026-11.org.example:SQL-1".into()),
            settings: Ok(()),
            arrays: vec![ArrayFact { status: array(None) }],
        }
    }

    /// What is not well, and that there is something to do about each of it.
    fn findings(facts: &Facts) -> Vec<(String, Verdict)> {
        let found: Vec<Check> = judge(facts).into_iter().filter(|check| check.verdict != Verdict::Ok).collect();
        for check in found.iter().filter(|check| check.verdict == Verdict::Failed) {
            assert!(check.remedy.is_some(), "{check:?}");
        }
        found.into_iter().map(|check| (check.subject, check.verdict)).collect()
    }

    fn one(facts: &Facts) -> (String, Verdict) {
        let found = findings(facts);
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().expect("just counted")
    }

    #[test]
    fn a_healthy_host_has_no_findings() {
        assert_eq!(findings(&healthy()), []);
        assert_eq!(worst(&judge(&healthy())), Verdict::Ok);
    }

    #[test]
    fn each_fault_is_found_by_its_own_check() {
        use Verdict::{Failed, NotChecked, Warning};
        let cases: Vec<(Facts, &str, Verdict)> = vec![
            (Facts { windows: Some(WindowsKind::Client), ..healthy() }, "edition of Windows", Failed),
            (Facts { windows: None, ..healthy() }, "edition of Windows", NotChecked),
            (Facts { hosting: HostingFact::NoClass, ..healthy() }, "COM class", Failed),
            (Facts { hosting: HostingFact::NoServer, ..healthy() }, "COM class", Failed),
            (Facts { hosting: HostingFact::NoService("x".into()), ..healthy() }, "COM class", Failed),
            (Facts { hosting: HostingFact::ProgramMissing("x".into()), ..healthy() }, "COM class", Failed),
            (Facts { service: Some(ServiceFact::Disabled), ..healthy() }, "service", Failed),
            (Facts { service: Some(ServiceFact::NotUsed), ..healthy() }, "service", Warning),
            (Facts { event_source: EventSourceFact::Missing, ..healthy() }, "event source", Warning),
            (Facts { event_source: EventSourceFact::FileMissing("x".into()), ..healthy() }, "event source", Warning),
            (Facts { providers: Ok(Vec::new()), ..healthy() }, "registration with VSS", Failed),
            (Facts { san_policy: Some(2), ..healthy() }, "SAN policy", Warning),
            (Facts { san_policy: None, ..healthy() }, "SAN policy", Warning),
            (Facts { settings: Err("line 3".into()), ..healthy() }, "settings", Failed),
            (Facts { arrays: Vec::new(), ..healthy() }, "settings", Failed),
            (Facts { initiator: Some("iqn.other".into()), ..healthy() }, "initiator at array one", Failed),
            (Facts { initiator: None, ..healthy() }, "initiator at array one", NotChecked),
            (Facts { arrays: vec![ArrayFact { status: array(Some("refused")) }], ..healthy() }, "array one", Failed),
        ];
        for (facts, subject, verdict) in cases {
            assert_eq!(one(&facts), (subject.to_owned(), verdict));
        }
    }

    #[test]
    fn vss_that_cannot_be_asked_is_no_failure() {
        let found = findings(&Facts { providers: Err("0x80040154".into()), ..healthy() });
        assert!(found.iter().all(|(_, verdict)| *verdict == Verdict::NotChecked) && found.len() == 2, "{found:?}");
    }

    #[test]
    fn other_hardware_providers_and_other_builds_are_named() {
        let both = Ok(vec![provider("Lunshadow", true), provider("Another", false)]);
        assert_eq!(one(&Facts { providers: both, ..healthy() }).0, "other hardware providers");
        let old = ProviderFact { is_this_build: false, ..provider("Lunshadow", true) };
        let finding = one(&Facts { providers: Ok(vec![old]), ..healthy() });
        assert_eq!(finding, ("registration with VSS".to_owned(), Verdict::Warning));
    }

    #[test]
    fn disks_with_one_identity_are_named_once() {
        let mut twice = disk("PhysicalDrive2", 1);
        twice.ids.as_mut().expect("it has").push(DeviceId { kind: 8, association: 0, bytes: b"iqn".to_vec() });
        let disks = vec![disk("PhysicalDrive0", 1), disk("PhysicalDrive1", 2), twice];
        let checks = judge(&Facts { disks, ..healthy() });
        let check = checks.iter().find(|check| check.verdict == Verdict::Failed).expect("it is found");
        assert!(check.finding.ends_with("the same: PhysicalDrive0 and PhysicalDrive2"), "{}", check.finding);
        let silent = vec![DiskFact { name: "PhysicalDrive0".into(), ids: None }];
        assert_eq!(one(&Facts { disks: silent, ..healthy() }).1, Verdict::NotChecked);
    }

    #[test]
    fn slow_arrays_and_clocks_apart_are_warnings() {
        let slow = ArrayStatus { answered_in_ms: 1_001, ..array(None) };
        let facts = Facts { arrays: vec![ArrayFact { status: slow }], ..healthy() };
        assert_eq!(one(&facts), ("array one".to_owned(), Verdict::Warning));
        let late = ArrayStatus { clock_ahead_ms: Some(-30_001), ..array(None) };
        let facts = Facts { arrays: vec![ArrayFact { status: late }], ..healthy() };
        assert_eq!(one(&facts), ("clock of array one".to_owned(), Verdict::Warning));
    }

    #[test]
    fn people_see_the_remedy_under_the_finding() {
        let checks = judge(&Facts { windows: Some(WindowsKind::Client), ..healthy() });
        let mut out = Vec::new();
        print(&checks, &mut out).expect("memory takes it");
        let text = String::from_utf8(out).expect("a text");
        assert!(text.starts_with("FAILED       edition of Windows: a client edition"), "{text}");
        assert!(text.lines().nth(1).is_some_and(|line| line.trim() == "Use the provider on Windows Server."), "{text}");
    }
}
