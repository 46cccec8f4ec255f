//! A simulated host: logged in at its array, with its volumes, its writers and the shadow copies that it remembers.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use lunshadow_coordinator::{
    Coordinator, IscsiAdapter, Platform, ProviderRegistration, Settings, SimulatedHost, SystemClock,
};
use lunshadow_diskshadow::{CoordinatedVss, Exposer, MountedVolume, RehearsedWriter};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::console::Console;
use crate::exposure::ExposedLuns;
use crate::hosts::{HostSettings, VolumeSettings, WriterSettings};
use crate::kept::KeptFile;

/// What there is around a host.
pub struct Surroundings<'a> {
    /// Where its asynchronous work runs.
    pub runtime: &'a Runtime,
    /// Where the program says what happens.
    pub console: Console<'a>,
}

/// Where a host logs in.
#[derive(Debug, Clone)]
pub struct Portal {
    /// Address and port.
    pub address: String,
    /// The name of the target node.
    pub target: String,
}

/// A host that is ready for commands.
pub struct RehearsedHost {
    vss: CoordinatedVss,
    coordinator: Coordinator,
    adapter: Arc<IscsiAdapter>,
    close: Option<Close>,
}

/// What closes something.
type Close = Box<dyn FnOnce(&Runtime) -> anyhow::Result<()>>;

impl RehearsedHost {
    /// Logs in, looks for the volumes, and has the provider registered. Blocks.
    ///
    /// # Errors
    /// If the array does not let the host in, or a volume is not there.
    pub fn set_up(
        settings: &HostSettings,
        kept: KeptFile,
        portal: Portal,
        provider: ProviderRegistration,
        exposer: impl FnOnce(ExposedLuns) -> Box<dyn Exposer>,
        surroundings: &Surroundings<'_>,
    ) -> anyhow::Result<Self> {
        let Attached { windows, adapter } = Attached::log_in(settings, &portal, surroundings.runtime)?;
        let volumes = mounted_volumes(&windows, settings)?;
        let writers: Vec<_> = settings.writer.iter().map(writer).collect();
        for writer in &writers {
            windows.add_writer(Arc::clone(writer) as _);
        }
        let platform = Arc::clone(&windows) as Arc<dyn Platform>;
        let coordinator = Coordinator::new(platform, Arc::new(SystemClock::new()), Settings::default());
        coordinator.register_provider(provider)?;
        let kept = bring_back(kept, &coordinator, settings, surroundings.console)?;
        let exposer = exposer(ExposedLuns { windows, portal, initiator: settings.initiator.clone() });
        let vss = CoordinatedVss::new(coordinator.clone(), volumes, writers, Box::new(kept), exposer);
        Ok(Self { vss, coordinator, adapter, close: None })
    }

    /// Has something be closed when the host has logged out.
    #[must_use]
    pub fn closing(self, close: impl FnOnce(&Runtime) -> anyhow::Result<()> + 'static) -> Self {
        Self { close: Some(Box::new(close)), ..self }
    }

    /// What DiskShadow sees of it.
    pub(crate) fn vss(&mut self) -> &mut CoordinatedVss {
        &mut self.vss
    }

    /// Unloads the provider, as VSS does when it stops, logs out, and closes what there is to be closed. Blocks.
    pub(crate) fn tear_down(self, runtime: &Runtime) -> anyhow::Result<()> {
        let Self { vss, coordinator, adapter, close } = self;
        drop(vss);
        coordinator.unload_providers(true);
        // With it goes the provider, which may hold what is closed below.
        drop(coordinator);
        if let Err(error) = runtime.block_on(adapter.log_out()) {
            tracing::warn!(%error, "the simulated host could not log out");
        }
        close.map_or(Ok(()), |close| close(runtime))
    }
}

/// A host that is logged in.
struct Attached {
    windows: Arc<SimulatedHost>,
    adapter: Arc<IscsiAdapter>,
}

impl Attached {
    fn log_in(settings: &HostSettings, portal: &Portal, runtime: &Runtime) -> anyhow::Result<Self> {
        let (name, initiator) = (&settings.name, &settings.initiator);
        let login = IscsiAdapter::log_in(&*portal.address, initiator, &portal.target);
        let adapter = runtime.block_on(login).with_context(|| {
            format!("host {name} cannot log in as {initiator} at {}; it has no CHAP secret", portal.address)
        })?;
        let adapter = Arc::new(adapter);
        let windows = SimulatedHost::new(Arc::clone(&adapter) as _, runtime.handle().clone())
            .with_context(|| format!("host {name} cannot see its disks"))?;
        Ok(Self { windows: Arc::new(windows), adapter })
    }
}

/// Gives a host the shadow copies that it had before, and says which are not there.
fn bring_back(
    mut kept: KeptFile,
    coordinator: &Coordinator,
    settings: &HostSettings,
    console: Console<'_>,
) -> anyhow::Result<KeptFile> {
    let (name, file) = (&settings.name, settings.shadows_file().display());
    for absent in kept.bring_back(coordinator)? {
        console.complain(format_args!(
            "the disks of shadow copy {absent} are not on host {name} now; if they are gone for good, take it out of {file}"
        ));
    }
    Ok(kept)
}

fn mounted_volumes(windows: &SimulatedHost, settings: &HostSettings) -> anyhow::Result<Vec<MountedVolume>> {
    let name = &settings.name;
    let mounted = |volume: &VolumeSettings| {
        mounted(windows, volume).with_context(|| format!("host {name}: volume {}", volume.mount))
    };
    settings.volume.iter().map(mounted).collect()
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
