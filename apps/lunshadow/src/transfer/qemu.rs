//! Images that are not raw, by `qemu-img`.

use std::io;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES, LunHandle};
use serde::Deserialize;
use tokio::process::Command;

use super::nbd;

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The part of `qemu-img info --output json` that matters.
#[derive(Deserialize)]
struct Info {
    #[serde(rename = "virtual-size")]
    len_bytes: u64,
}

/// How long the disk in an image is, in whole blocks.
pub(super) async fn length_of(file: &Path, format: &str) -> anyhow::Result<BlockCount> {
    let found = std::fs::metadata(file);
    found.with_context(|| format!("cannot read {}; give the path of a disk image", file.display()))?;
    let mut command = qemu_img("info");
    command.args(["--output", "json", "-f", format]).arg(file);
    let answer = ran(&mut command, format).await?;
    let info: Info =
        serde_json::from_slice(&answer.stdout).context("qemu-img info answered something else than expected")?;
    anyhow::ensure!(info.len_bytes > 0, "{} is empty", file.display());
    Ok(BlockCount(info.len_bytes.div_ceil(u64::from(LOGICAL_BLOCK_BYTES))))
}

/// Fills a new LUN with an image.
pub(super) async fn import(file: &Path, format: &str, lun: LunHandle, progress: impl Fn(u64)) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let device = device_in(folder.path())?;
    let mut command = qemu_img("convert");
    command.args(["-n", "--target-is-zero", "-f", format, "-O", "raw"]).arg(file).arg(&device);
    convert(command, format, folder.path(), lun.clone(), progress).await?;
    lun.flush().await.context("cannot write to the pool")
}

/// Writes the content of a LUN to an image file, whatever that holds.
pub(super) async fn export(lun: LunHandle, file: &Path, format: &str, progress: impl Fn(u64)) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let device = device_in(folder.path())?;
    let mut command = qemu_img("convert");
    command.args(["-f", "raw", "-O", format]).arg(&device).arg(file);
    convert(command, format, folder.path(), lun, progress).await
}

fn qemu_img(subcommand: &str) -> Command {
    let mut command = Command::new("qemu-img");
    command.arg(subcommand).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    command
}

const SOCKET: &str = "lun.socket";

/// How `qemu-img` calls the block device whose socket is in a folder that nobody else can enter.
fn device_in(folder: &Path) -> anyhow::Result<String> {
    let socket = folder.join(SOCKET);
    let socket = socket.to_str().context("the folder for temporary files has a name that is no UTF-8")?;
    Ok(format!("nbd+unix:///?socket={socket}"))
}

/// Runs the conversion beside the block device.
async fn convert(
    mut command: Command,
    format: &str,
    folder: &Path,
    lun: LunHandle,
    progress: impl Fn(u64),
) -> anyhow::Result<()> {
    let seen = Arc::new(nbd::Seen::default());
    let socket = folder.join(SOCKET);
    let serving = nbd::serve(lun, &socket, Arc::clone(&seen));
    let converting = async {
        // The socket is there: it is made before anything else is waited for.
        ran(&mut command, format).await.map(|_: Output| ())
    };
    let telling = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            progress(seen.reached_bytes.load(Ordering::Relaxed));
        }
    };
    let converted = tokio::select! {
        biased;
        served = serving => served.context("cannot offer the LUN to qemu-img"),
        () = telling => Ok(()),
        converted = converting => converted,
    };
    // What the LUN said says more than what qemu-img makes of it.
    let failure = seen.failure.lock().take();
    match failure {
        Some(failure) => Err(anyhow::anyhow!(failure)),
        None => converted,
    }
}

async fn ran(command: &mut Command, format: &str) -> anyhow::Result<Output> {
    let output = match command.output().await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => anyhow::bail!(
            "qemu-img, which reads and writes {format} images, is not there; install it (qemu-utils on Debian and Ubuntu), or use raw images"
        ),
        ran => ran.context("qemu-img does not start")?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or("no word").trim_start_matches("qemu-img: ");
        anyhow::bail!("qemu-img failed: {said}");
    }
    Ok(output)
}
