//! A host whose provider is in this process, and perhaps its array.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use lunshadow_array_client::{Array, Endpoint, HttpsArray, HttpsTimeouts, enrol};
use lunshadow_control::{Secret, TARGET_NAME};
use lunshadow_rehearsal::{ArrayPlace, Control, Folders, HostSettings, KeptFile, Portal, RehearsedHost, Surroundings};
use lunshadow_server::read_credential;
use lunshadow_target::Target;
use tokio::runtime::Runtime;

use super::exposure::FolderExposer;
use super::mounts::Mounts;
use crate::array::{Admission, Storage};
use crate::in_process::InProcessArray;
use crate::provider;

/// The way to an array.
struct Way {
    portal: Portal,
    array: Arc<dyn Array>,
    inside: Inside,
}

/// The array, if it is in this process.
type Inside = Option<(Storage, Target)>;

/// Sets a host up. Blocks.
pub(super) fn set_up(settings: &HostSettings, surroundings: &Surroundings<'_>) -> anyhow::Result<RehearsedHost> {
    let runtime = surroundings.runtime;
    let kept = KeptFile::lock(settings.shadows_file())?;
    let way = Way::to(settings, runtime).with_context(|| format!("host {}", settings.name))?;
    let Way { portal, array, inside } = way;
    let (folders, mounts) = (Folders::new(settings), Mounts::new(runtime.handle().clone()));
    let set_up = RehearsedHost::set_up(
        settings,
        kept,
        portal,
        provider::registration(array),
        |luns| Box::new(FolderExposer { luns, folders, mounts }),
        surroundings,
    );
    match set_up {
        Ok(host) => Ok(host.closing(|runtime| runtime.block_on(close(inside)))),
        // What was to be done is in the error; a pool is closed in order nonetheless.
        Err(error) => runtime.block_on(close(inside)).and(Err(error)),
    }
}

async fn close(inside: Inside) -> anyhow::Result<()> {
    if let Some((storage, target)) = inside {
        target.shutdown().await;
        storage.close().await?;
    }
    Ok(())
}

impl Way {
    fn to(settings: &HostSettings, runtime: &Runtime) -> anyhow::Result<Self> {
        match settings.array()? {
            ArrayPlace::Pool(pool) => runtime.block_on(Self::inside(settings, pool, runtime)),
            ArrayPlace::Served { portal, control } => {
                let credential = credential(&control)?;
                let endpoint = Endpoint { address: control.address, fingerprint: control.fingerprint };
                let array = HttpsArray::new(endpoint, credential, HttpsTimeouts::default());
                array.who_am_i().context("its array does not know it")?;
                Ok(Self { portal, array: Arc::new(array), inside: None })
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
        let portal = Portal { address: target.local_addr().to_string(), target: TARGET_NAME.to_owned() };
        let array = InProcessArray::new(Arc::clone(&storage.catalog), runtime.handle().clone(), host);
        Ok(Self { portal, array: Arc::new(array), inside: Some((storage, target)) })
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
