//! `lunshadow lun import` and `export`: content that comes from image files or goes to them, of pools that are served and of those that
//! are not.
//!
//! Either way there is a LUN to write to or to read from: of a pool that is opened here, or [`RemoteLun`] behind a control service. Raw images
//! are read and written here, holes left out. For other formats the LUN is a block device ([`nbd`]) for `qemu-img`.

mod nbd;
mod qemu;
mod raw;
mod remote_lun;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use lunshadow_catalog::Name;
use lunshadow_control::{LunId, Outcome};
use lunshadow_lun::{BlockCount, LunHandle};
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{LunExportArgs, LunImportArgs};
use crate::console::{bytes, say};
use crate::image::{Image, format_of};
use crate::pool_care::Place;
use remote_lun::RemoteLun;

/// An import or export under way.
struct Transfer {
    place: Place,
    lun: LunHandle,
}

impl Transfer {
    async fn import(place: Place, name: &str, blocks: BlockCount) -> anyhow::Result<Self> {
        let lun = match &place {
            Place::Served(service) => {
                let begun = service.answered(service.client.begin_import(name, blocks.bytes()))?;
                LunHandle::new(RemoteLun::new(Arc::clone(&service.client), &begun))
            }
            Place::Opened(storage) => storage.catalog.begin_import(name.parse::<Name>()?, blocks).await?,
        };
        Ok(Self { place, lun })
    }

    async fn export(place: Place, source: &str) -> anyhow::Result<Self> {
        let lun = match &place {
            Place::Served(service) => {
                let begun = service.answered(service.client.begin_export(source))?;
                LunHandle::new(RemoteLun::new(Arc::clone(&service.client), &begun))
            }
            Place::Opened(storage) => {
                let named = source.parse::<Name>().ok().and_then(|name| storage.catalog.lun_named(&name));
                let lun = named.or_else(|| source.parse::<LunId>().ok());
                let lun =
                    lun.with_context(|| format!("there is no LUN {source}; `lunshadow pool status` shows all"))?;
                storage.catalog.begin_export(lun).await?
            }
        };
        Ok(Self { place, lun })
    }

    /// Ends the transfer: in order if the work was done, and otherwise so that nothing is left of it.
    async fn end(self, work: anyhow::Result<()>) -> anyhow::Result<()> {
        let transfer = self.lun.id();
        let ended = match &self.place {
            Place::Served(service) if work.is_ok() => {
                service.answered(service.client.finish_transfer(transfer)).map(|_: Outcome| ())
            }
            Place::Served(service) => service.answered(service.client.cancel_transfer(transfer)).map(|_: Outcome| ()),
            Place::Opened(storage) if work.is_ok() => {
                storage.catalog.finish_transfer(transfer).await.map(|_: Outcome| ()).map_err(Into::into)
            }
            Place::Opened(storage) => {
                let _outcome: Outcome = storage.catalog.cancel_transfer(transfer).await;
                Ok(())
            }
        };
        let closed = match self.place {
            Place::Opened(storage) => {
                // The LUN is the pool's, which is to be closed.
                drop(self.lun);
                storage.close().await
            }
            Place::Served(_) => Ok(()),
        };
        // What went wrong first is what people want to know.
        work.and(ended).and(closed)
    }
}

/// What `lun import` and `lun export` print with `--json`.
#[derive(Debug, Serialize)]
struct Transferred<'a> {
    lun: &'a str,
    file: &'a Path,
    format: &'a str,
    len_bytes: u64,
}

impl Transferred<'_> {
    fn print(&self, json: bool, text: &str) -> anyhow::Result<()> {
        say(&if json { serde_json::to_string_pretty(self)? } else { text.to_owned() });
        Ok(())
    }
}

pub(crate) async fn import(args: &LunImportArgs) -> anyhow::Result<()> {
    let format = match &args.format {
        Some(format) => format.clone(),
        None => format_of(&args.file)?.unwrap_or("raw").to_owned(),
    };
    let (image, blocks) = if format == "raw" {
        let image = Image::open_as_raw(&args.file)?;
        let blocks = image.block_count;
        (Some(image), blocks)
    } else {
        (None, qemu::length_of(&args.file, &format).await?)
    };
    let interruption = Interruption::listen()?;
    let transfer = Transfer::import(Place::find(&args.admin).await?, &args.name, blocks).await?;
    let bar = progress(blocks.bytes());
    let lun = transfer.lun.clone();
    let work = async {
        match &image {
            Some(image) => raw::import(image, &lun, |done| bar.set_position(done)).await,
            None => qemu::import(&args.file, &format, lun, |done| bar.set_position(done)).await,
        }
    };
    let done = interruption.or_done(work).await;
    bar.finish_and_clear();
    transfer.end(done).await?;
    let told = Transferred { lun: &args.name, file: &args.file, format: &format, len_bytes: blocks.bytes() };
    told.print(
        args.admin.json,
        &format!("LUN {} is made: {} from {}", args.name, bytes(blocks.bytes()), args.file.display()),
    )
}

pub(crate) async fn export(args: &LunExportArgs) -> anyhow::Result<()> {
    let (file, format) = (&args.file, args.format.as_str());
    let exists = || format!("{} exists; remove it, or say --force", file.display());
    match std::fs::symlink_metadata(file) {
        Ok(found) if !found.is_file() => anyhow::bail!("{} is there and no file", file.display()),
        Ok(_) if !args.force => anyhow::bail!(exists()),
        _ => {}
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let interruption = Interruption::listen()?;
    // It lies beside its place until it is whole.
    let unfinished = tempfile::Builder::new().prefix(".lunshadow-export-").tempfile_in(folder);
    let unfinished = unfinished.with_context(|| format!("cannot write in {}", folder.display()))?;
    let transfer = Transfer::export(Place::find(&args.admin).await?, &args.source).await?;
    let len_bytes = transfer.lun.block_count().bytes();
    let bar = progress(len_bytes);
    let lun = transfer.lun.clone();
    let work = async {
        if format == "raw" {
            raw::export(&lun, unfinished.as_file(), |done| bar.set_position(done)).await?;
        } else {
            qemu::export(lun, unfinished.path(), format, |done| bar.set_position(done)).await?;
        }
        unfinished.as_file().sync_all().with_context(|| format!("cannot write {}", file.display()))
    };
    let done = interruption.or_done(work).await;
    bar.finish_and_clear();
    transfer.end(done).await?;
    let placed = if args.force { unfinished.persist(file) } else { unfinished.persist_noclobber(file) };
    placed.map_err(|error| error.error).with_context(|| format!("cannot write {}", file.display()))?;
    let told = Transferred { lun: &args.source, file, format, len_bytes };
    told.print(args.admin.json, &format!("{} is in {}: {}", args.source, file.display(), bytes(len_bytes)))
}

/// Hears of somebody who wants the work to end. It stands before anything is begun, so that no signal ends the program half-way.
struct Interruption {
    terminate: Signal,
    interrupt: Signal,
}

impl Interruption {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The work, unless somebody wants it to end: then what has begun is to be removed in order.
    async fn or_done(mut self, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        tokio::select! {
            done = work => done,
            _ = self.terminate.recv() => Err(anyhow::anyhow!("it was interrupted; nothing is left of it")),
            _ = self.interrupt.recv() => Err(anyhow::anyhow!("it was interrupted; nothing is left of it")),
        }
    }
}

/// It draws nothing where nobody looks.
fn progress(len_bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(len_bytes);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left") {
        bar.set_style(style);
    }
    bar
}
