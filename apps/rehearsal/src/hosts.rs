//! The file that describes simulated hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use lunshadow_control::{EnrolmentString, Fingerprint, InitiatorName, TARGET_NAME};
use lunshadow_diskshadow::WriterStep;
use serde::Deserialize;
use uuid::Uuid;

use crate::host::Portal;

/// The hosts of a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hosts {
    host: Vec<HostSettings>,
}

/// A simulated host.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HostSettings {
    /// What `--host` calls it.
    pub name: String,
    /// Its iSCSI name, by which the array knows it.
    pub initiator: InitiatorName,
    /// A pool that nobody serves. It is opened in this process.
    #[serde(default)]
    pool: Option<PathBuf>,
    /// Where an array listens that is served.
    #[serde(default)]
    portal: Option<String>,
    #[serde(default)]
    target: Option<String>,
    /// Its control service.
    #[serde(default)]
    control: Option<String>,
    #[serde(default)]
    fingerprint: Option<Fingerprint>,
    /// The file with the host's credential; made with the enrolment string if it is not there.
    #[serde(default)]
    credential_file: Option<PathBuf>,
    #[serde(default)]
    enrolment: Option<String>,
    /// Where persistent shadow copies are remembered.
    #[serde(default)]
    shadows_file: Option<PathBuf>,
    /// What stands for the drives of a Windows host in paths of scripts.
    #[serde(default)]
    pub(crate) folders: BTreeMap<String, PathBuf>,
    #[serde(default)]
    pub(crate) volume: Vec<VolumeSettings>,
    #[serde(default)]
    pub(crate) writer: Vec<WriterSettings>,
}

/// A volume of a host.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VolumeSettings {
    /// Its drive letter with a colon, or its mount point.
    pub(crate) mount: String,
    /// The LUN, by its number or its serial number.
    #[serde(default)]
    pub(crate) lun: Option<u16>,
    #[serde(default)]
    pub(crate) serial: Option<String>,
    /// The partition, from 1; it can be left out if there is one volume on the LUN.
    #[serde(default)]
    pub(crate) partition: Option<u32>,
}

/// A writer of a host.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct WriterSettings {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) id: Option<Uuid>,
    #[serde(default)]
    pub(crate) components: Vec<String>,
    /// At which step it fails.
    #[serde(default)]
    pub(crate) fails_at: Option<FailingStep>,
}

/// A step by its name in the file.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FailingStep {
    Prepare,
    Freeze,
    Thaw,
    PostSnapshot,
    BackupComplete,
    PreRestore,
    PostRestore,
}

impl From<FailingStep> for WriterStep {
    fn from(step: FailingStep) -> Self {
        match step {
            FailingStep::Prepare => Self::Prepare,
            FailingStep::Freeze => Self::Freeze,
            FailingStep::Thaw => Self::Thaw,
            FailingStep::PostSnapshot => Self::PostSnapshot,
            FailingStep::BackupComplete => Self::BackupComplete,
            FailingStep::PreRestore => Self::PreRestore,
            FailingStep::PostRestore => Self::PostRestore,
        }
    }
}

/// Where the provider of a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderPlace {
    /// In this process, so that the file says how it reaches the array.
    InProcess,
    /// In a process of its own, which has settings of its own.
    Registered,
}

/// Where a host's array is.
#[derive(Debug)]
pub enum ArrayPlace<'a> {
    /// In this process.
    Pool(&'a Path),
    /// Served by another.
    Served {
        /// Where the host logs in.
        portal: Portal,
        /// How it is known there.
        control: Control<'a>,
    },
}

/// How a host is known to the control service.
#[derive(Debug)]
pub struct Control<'a> {
    /// The service's address and port.
    pub address: String,
    /// Its certificate.
    pub fingerprint: Fingerprint,
    /// The file with the host's credential.
    pub credential_file: &'a Path,
    /// What makes the credential if there is none yet.
    pub enrolment: Option<EnrolmentString>,
}

impl Hosts {
    /// Reads the file. Paths in it begin at its folder.
    pub(crate) fn read(path: &Path, provider: ProviderPlace) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("cannot read the simulated hosts in {}; name their file with --hosts", path.display())
        })?;
        let mut hosts = Self::parse(&text, provider).with_context(|| format!("in {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        hosts.host.iter_mut().for_each(|host| host.begin_at(folder));
        Ok(hosts)
    }

    fn parse(text: &str, provider: ProviderPlace) -> anyhow::Result<Self> {
        let hosts: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            anyhow::anyhow!("{line}{}", error.message().replace('\n', " "))
        })?;
        let mut names = BTreeSet::new();
        for host in &hosts.host {
            ensure!(names.insert(&host.name), "two hosts are called {}", host.name);
            host.check(provider).with_context(|| format!("host {}", host.name))?;
        }
        Ok(hosts)
    }

    /// The host of that name, or the only one.
    pub(crate) fn named(&self, name: Option<&str>) -> anyhow::Result<&HostSettings> {
        let names = || self.host.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(", ");
        match (name, &self.host[..]) {
            (_, []) => bail!("the file describes no host; a host begins with [[host]]"),
            (None, [only]) => Ok(only),
            (None, _) => bail!("say which host with --host: {}", names()),
            (Some(name), hosts) => {
                let named = hosts.iter().find(|host| host.name == name);
                named.with_context(|| format!("there is no host {name}; the file has {}", names()))
            }
        }
    }
}

impl HostSettings {
    fn begin_at(&mut self, folder: &Path) {
        let shadows = self.shadows_file.take().unwrap_or_else(|| format!("{}.shadows.json", self.name).into());
        self.shadows_file = Some(folder.join(shadows));
        for path in self.pool.iter_mut().chain(&mut self.credential_file).chain(self.folders.values_mut()) {
            *path = folder.join(&*path);
        }
    }

    fn check(&self, provider: ProviderPlace) -> anyhow::Result<()> {
        if provider == ProviderPlace::InProcess {
            self.array()?;
        }
        let mut mounts = BTreeSet::new();
        for volume in &self.volume {
            ensure!(mounts.insert(volume.mount.to_ascii_lowercase()), "two volumes are at {}", volume.mount);
            ensure!(
                volume.lun.is_some() != volume.serial.is_some(),
                "volume {}: give the number of its LUN (lun) or its serial number (serial)",
                volume.mount
            );
        }
        let is_drive = |name: &&String| name.len() == 2 && name.ends_with(':');
        let odd = self.folders.keys().find(|name| !is_drive(name));
        odd.map_or(Ok(()), |name| bail!("folders: {name} is no drive such as \"C:\""))
    }

    /// Where its array is, and how the host is known there.
    ///
    /// # Errors
    /// If the file does not say it.
    pub fn array(&self) -> anyhow::Result<ArrayPlace<'_>> {
        match (&self.pool, &self.portal) {
            (Some(pool), None) => Ok(ArrayPlace::Pool(pool)),
            (None, Some(_)) => Ok(ArrayPlace::Served { portal: self.portal()?, control: self.control()? }),
            _ => bail!("give the pool that this process is to open (pool), or where the array listens (portal)"),
        }
    }

    /// Where its array listens, which another process serves.
    ///
    /// # Errors
    /// If the file does not say it.
    pub fn portal(&self) -> anyhow::Result<Portal> {
        ensure!(self.pool.is_none(), "`lunshadow shadow` alone opens a pool; say where the array listens (portal)");
        let address = self.portal.clone().context("say where the array listens (portal)")?;
        Ok(Portal { address, target: self.target.clone().unwrap_or_else(|| TARGET_NAME.to_owned()) })
    }

    fn control(&self) -> anyhow::Result<Control<'_>> {
        let enrolment: Option<EnrolmentString> = self.enrolment.as_deref().map(str::parse).transpose()?;
        let credential_file = self.credential_file.as_deref().context("credential-file is missing")?;
        let (address, fingerprint) = match (&self.control, self.fingerprint, &enrolment) {
            (Some(address), Some(fingerprint), _) => (address.clone(), fingerprint),
            (None, None, Some(enrolment)) => (enrolment.address.clone(), enrolment.fingerprint),
            _ => bail!(
                "give the control service (control and fingerprint), or what `lunshadow host add` printed (enrolment)"
            ),
        };
        Ok(Control { address, fingerprint, credential_file, enrolment })
    }

    /// Where its persistent shadow copies are remembered.
    #[must_use]
    pub fn shadows_file(&self) -> &Path {
        self.shadows_file.as_deref().unwrap_or(Path::new("shadows.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVED: &str = r#"
        [[host]]
        name = "sql-1"
        initiator = "iqn.2026-11.org.example:sql-1"
        portal = "127.0.0.1:3260"
        control = "127.0.0.1:3261"
        fingerprint = "c01be51ded8bdc3dc076dd06eac8907210f9e60bbe030e346d72f5defd3bbeb9"
        credential-file = "sql-1.credential"
        folders = { "C:" = "c" }

        [[host.volume]]
        mount = "E:"
        lun = 1
        partition = 2

        [[host.writer]]
        name = "SqlServerWriter"
        components = ["accounts"]
        fails-at = "post-snapshot"
    "#;

    #[test]
    fn a_host_is_described() {
        let mut hosts = Hosts::parse(SERVED, ProviderPlace::InProcess).unwrap();
        hosts.host[0].begin_at(Path::new("/etc/x"));
        let host = hosts.named(None).unwrap();
        assert_eq!(host.shadows_file(), Path::new("/etc/x/sql-1.shadows.json"));
        let ArrayPlace::Served { portal, control } = host.array().unwrap() else { panic!("it is served") };
        assert_eq!((&*portal.address, &*portal.target), ("127.0.0.1:3260", TARGET_NAME));
        assert_eq!(control.credential_file, Path::new("/etc/x/sql-1.credential"));
        assert_eq!(host.folders["C:"], Path::new("/etc/x/c"));
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let line = |text: &str| {
            format!(
                "{:#}",
                Hosts::parse(text, ProviderPlace::InProcess)
                    .and_then(|hosts| hosts.named(Some("x")).map(drop))
                    .unwrap_err()
            )
        };
        for (text, said) in [
            ("", "missing field `host`"),
            (SERVED, "there is no host x; the file has sql-1"),
            ("[[host]]\nname = \"a\"\nport = 1\n", "line 3: unknown field `port`"),
            (&SERVED.replace("portal", "port"), "line 5: unknown field `port`"),
            (&SERVED.replace("portal", "pool"), ""),
            (
                &SERVED.replace("lun = 1", ""),
                "host sql-1: volume E:: give the number of its LUN (lun) or its serial number (serial)",
            ),
            (
                &SERVED.replace("control =", "target ="),
                "host sql-1: give the control service (control and fingerprint)",
            ),
            (&SERVED.replace("credential-file = \"sql-1.credential\"", ""), "host sql-1: credential-file is missing"),
            (&SERVED.replace("post-snapshot", "never"), "line 19: unknown variant `never`"),
            (&SERVED.replace("\"C:\"", "\"C\""), "host sql-1: folders: C is no drive such as \"C:\""),
            (&format!("{SERVED}{SERVED}"), "two hosts are called sql-1"),
            (&SERVED.replace("portal = \"127.0.0.1:3260\"", ""), "host sql-1: give the pool"),
        ] {
            let line = line(text);
            assert!(line.contains(said) && line.lines().count() == 1, "{said}: {line}");
        }
    }

    #[test]
    fn a_provider_with_settings_of_its_own_needs_the_portal_only() {
        let portal_of = |text: &str| {
            let hosts = Hosts::parse(text, ProviderPlace::Registered)?;
            hosts.named(None)?.portal().map(|portal| portal.address)
        };
        let bare = "[[host]]\nname = \"sql-1\"\ninitiator = \"iqn.2026-11.org.example:sql-1\"\n";
        for text in [SERVED, &format!("{bare}portal = \"127.0.0.1:3260\"")] {
            assert_eq!(portal_of(text).unwrap(), "127.0.0.1:3260");
        }
        for (text, said) in [
            (bare.to_owned(), "say where the array listens (portal)"),
            (format!("{bare}pool = \"pool\""), "`lunshadow shadow` alone opens a pool"),
            (format!("{bare}port = 1"), "line 4: unknown field `port`"),
        ] {
            let line = format!("{:#}", portal_of(&text).unwrap_err());
            assert!(line.contains(said) && line.lines().count() == 1, "{said}: {line}");
        }
    }
}
