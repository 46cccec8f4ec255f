//! A simulated host: logged in at its array, with its volumes, its writers and the shadow copies that it remembers.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use lunshadow_array_client::{Array, Endpoint, HttpsArray, HttpsTimeouts, enrol};
use lunshadow_control::Secret;
use lunshadow_coordinator::{Coordinator, IscsiAdapter, Platform, Settings, SimulatedHost, SystemClock};
use lunshadow_diskshadow::{CoordinatedVss, MountedVolume, RehearsedWriter};
use lunshadow_server::read_credential;
use lunshadow_target::Target;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::exposure::LunExposer;
use super::hosts::{ArrayPlace, Control, HostSettings, VolumeSettings, WriterSettings};
use super::kept::KeptFile;
use crate::array::{Admission, Storage, TARGET_NAME};
use crate::console;
use crate::in_process::InProcessArray;
use crate::provider;

/// A host that is ready for a script.
pub(super) struct RehearsedHost {
    /// What DiskShadow sees of it.
    pub(super) vss: CoordinatedVss,
    adapter: Arc<IscsiAdapter>,
    /// The array, if it is in this process.
    inside: Option<(Storage, Target)>,
}

/// The way to an array.
struct Way {
    portal: String,
    target: String,
    array: Arc<dyn Array>,
    inside: Option<(Storage, Target)>,
}

impl RehearsedHost {
    /// Logs in, and looks for the volumes. Blocks.
    pub(super) fn set_up(settings: &HostSettings, runtime: &Runtime) -> anyhow::Result<Self> {
        let name = &settings.name;
        let kept = KeptFile::lock(settings.shadows_file())?;
        let Way { portal, target, array, inside } =
            Way::to(settings, runtime).with_context(|| format!("host {name}"))?;
        let attached = Attached::log_in(settings, &portal, &target, runtime)
            .and_then(|attached| Ok((attached.vss(settings, array, kept, (portal, target))?, attached.adapter)));
        match attached {
            Ok((vss, adapter)) => Ok(Self { vss, adapter, inside }),
            // What was to be done is in the error; a pool is closed in order nonetheless.
            Err(error) => runtime.block_on(close(inside)).and(Err(error)),
        }
    }

    /// Logs out, and closes the pool if it is in this process. Blocks.
    pub(super) fn tear_down(self, runtime: &Runtime) -> anyhow::Result<()> {
        let Self { vss, adapter, inside } = self;
        drop(vss);
        runtime.block_on(async {
            if let Err(error) = adapter.log_out().await {
                tracing::warn!(%error, "the simulated host could not log out");
            }
            close(inside).await
        })
    }
}

async fn close(inside: Option<(Storage, Target)>) -> anyhow::Result<()> {
    if let Some((storage, target)) = inside {
        target.shutdown().await;
        storage.close().await?;
    }
    Ok(())
}

/// A host that is logged in.
struct Attached {
    windows: Arc<SimulatedHost>,
    adapter: Arc<IscsiAdapter>,
}

impl Attached {
    fn log_in(settings: &HostSettings, portal: &str, target: &str, runtime: &Runtime) -> anyhow::Result<Self> {
        let (name, initiator) = (&settings.name, &settings.initiator);
        let login = IscsiAdapter::log_in(portal, initiator, target);
        let adapter = runtime
            .block_on(login)
            .with_context(|| format!("host {name} cannot log in as {initiator} at {portal}; it has no CHAP secret"))?;
        let adapter = Arc::new(adapter);
        let windows = SimulatedHost::new(Arc::clone(&adapter) as _, runtime.handle().clone())
            .with_context(|| format!("host {name} cannot see its disks"))?;
        Ok(Self { windows: Arc::new(windows), adapter })
    }

    /// Its VSS, with its volumes and writers, and with the shadow copies that it had before.
    fn vss(
        &self,
        settings: &HostSettings,
        array: Arc<dyn Array>,
        mut kept: KeptFile,
        (portal, target): (String, String),
    ) -> anyhow::Result<CoordinatedVss> {
        let (name, windows) = (&settings.name, &self.windows);
        let volumes: Vec<_> = settings
            .volume
            .iter()
            .map(|volume| mounted(windows, volume).with_context(|| format!("host {name}: volume {}", volume.mount)))
            .collect::<Result<_, _>>()?;
        let writers: Vec<_> = settings.writer.iter().map(writer).collect();
        for writer in &writers {
            windows.add_writer(Arc::clone(writer) as _);
        }
        let platform = Arc::clone(windows) as Arc<dyn Platform>;
        let coordinator = Coordinator::new(platform, Arc::new(SystemClock::new()), Settings::default());
        coordinator.register_provider(provider::registration(array))?;
        let file = settings.shadows_file().display();
        for absent in kept.bring_back(&coordinator)? {
            console::complain(&format!(
                "lunshadow: the disks of shadow copy {absent} are not on host {name} now; if they are gone for good, take it out of {file}"
            ));
        }
        let initiator = settings.initiator.clone();
        let exposer = LunExposer { windows: Arc::clone(windows), portal, target, initiator };
        Ok(CoordinatedVss::new(coordinator, volumes, writers, Box::new(kept), Box::new(exposer)))
    }
}

impl Way {
    fn to(settings: &HostSettings, runtime: &Runtime) -> anyhow::Result<Self> {
        match settings.array()? {
            ArrayPlace::Pool(pool) => runtime.block_on(Self::inside(settings, pool, runtime)),
            ArrayPlace::Served { portal, target, control } => {
                let credential = credential(&control)?;
                let endpoint = Endpoint { address: control.address, fingerprint: control.fingerprint };
                let array = HttpsArray::new(endpoint, credential, HttpsTimeouts::default());
                array.who_am_i().context("its array does not know it")?;
                let (portal, target) = (portal.to_owned(), target.to_owned());
                Ok(Self { portal, target, array: Arc::new(array), inside: None })
            }
        }
    }

    async fn inside(settings: &HostSettings, pool: &Path, runtime: &Runtime) -> anyhow::Result<Self> {
        let storage = Storage::open(pool).await?;
        let Some(host) = storage.catalog.host_of(&settings.initiator) else {
            storage.close().await?;
            bail!(
                "the pool knows no host with the initiator {}; `lunshadow host add` makes it known while the pool is served",
                settings.initiator
            );
        };
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let target = storage.serve(&[listen.into()], Admission::KnownHosts).await?;
        let portal = target.local_addr().to_string();
        let array = InProcessArray::new(Arc::clone(&storage.catalog), runtime.handle().clone(), host);
        Ok(Self { portal, target: TARGET_NAME.to_owned(), array: Arc::new(array), inside: Some((storage, target)) })
    }
}

/// The host's credential: that of the file, or a new one that is kept there.
fn credential(control: &Control<'_>) -> anyhow::Result<Secret> {
    let file = control.credential_file;
    if file.exists() {
        return Ok(read_credential(file)?);
    }
    let Some(enrolment) = &control.enrolment else {
        bail!("there is no credential in {}; put what `lunshadow host enrol` prints under enrolment", file.display());
    };
    // The enrolment string is good once, so the place for what it brings comes first.
    let folder = file.parent().unwrap_or(Path::new("."));
    let place = tempfile::NamedTempFile::new_in(folder).with_context(|| format!("cannot write {}", file.display()))?;
    let enrolled = enrol(enrolment, HttpsTimeouts::default())?;
    std::fs::write(place.path(), format!("{}\n", enrolled.credential.expose()))?;
    place.persist(file).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(enrolled.credential)
}

fn mounted(windows: &SimulatedHost, settings: &VolumeSettings) -> anyhow::Result<MountedVolume> {
    let device = match (settings.lun, &settings.serial) {
        (Some(number), _) => windows
            .device_by_lun(number)
            .with_context(|| format!("the host sees no LUN {number}; `lunshadow lun map` maps one"))?,
        (None, Some(serial)) => {
            let found = windows.device_by_serial_number(serial);
            found.with_context(|| {
                format!("the host sees no LUN with serial number {serial}; `lunshadow lun map` maps one")
            })?
        }
        (None, None) => bail!("it has no LUN"),
    };
    let volumes = windows.volumes(&device)?;
    let found = match (settings.partition, &volumes[..]) {
        (Some(number), volumes) => volumes.iter().find(|volume| volume.index == number),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let numbers = || volumes.iter().map(|volume| volume.index.to_string()).collect::<Vec<_>>().join(", ");
    let volume = found.with_context(|| format!("give a partition that its LUN has; it has {}", numbers()))?;
    Ok(MountedVolume { mounted_at: settings.mount.clone(), name: volume.name.clone() })
}

fn writer(settings: &WriterSettings) -> Arc<RehearsedWriter> {
    let WriterSettings { name, id, components, fails_at } = settings;
    let id = id.unwrap_or_else(Uuid::new_v4);
    Arc::new(RehearsedWriter::new(id, name.clone(), components.clone(), fails_at.map(Into::into)))
}
