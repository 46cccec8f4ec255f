//! The built program, as a user runs it: `try` on real disk images, and on what is none; `serve` until it is told to stop.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use lunshadow_end_to_end::images::{self, PartitionTable};
use lunshadow_end_to_end::peer::{Finished, Peer, argument};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long `serve` may take to begin or to end.
const SERVE_AT_MOST: Duration = Duration::from_secs(60);

fn lunshadow() -> Peer {
    Peer::at(PathBuf::from(env!("CARGO_BIN_EXE_lunshadow")))
}

/// Runs `try --json`, which has to succeed, and returns its report.
async fn report_of(image: Option<&Path>) -> anyhow::Result<Value> {
    let arguments = ["try", "--json"].into_iter().chain(image.map(argument));
    let stdout = lunshadow().succeed(arguments).await?;
    serde_json::from_str(&stdout).with_context(|| format!("not one JSON document:\n{stdout}"))
}

/// Takes a shadow copy of the image; all its proofs have to hold, its one volume has to be of this file system with all files
/// in it, and the image has to stay as it was.
async fn check_image(image: &Path, file_system: &str) -> anyhow::Result<()> {
    let before = Sha256::digest(std::fs::read(image)?);
    let report = report_of(Some(image)).await?;
    check_verdicts(&report)?;
    // The first disk is the image; the other one is the program's own companion.
    let volumes = report["host"]["disks"][0]["volumes"].as_array().context("no volumes")?;
    ensure!(volumes.len() == 1, "{} volumes in {:#}", volumes.len(), report["host"]);
    ensure!(volumes[0]["file_system"] == file_system, "not {file_system}: {:#}", report["host"]);
    ensure!(volumes[0]["file_count"] == images::files().len(), "other files: {:#}", report["host"]);
    let after = Sha256::digest(std::fs::read(image)?);
    ensure!(before == after, "the image was changed");
    Ok(())
}

/// Every proof of a report held, and there are some.
fn check_verdicts(report: &Value) -> anyhow::Result<()> {
    let proofs = report["proofs"].as_array().context("no proofs")?;
    let held = proofs.iter().filter(|proof| proof["held"] == true).count();
    ensure!(!proofs.is_empty() && held == proofs.len(), "not all proofs held: {:#}", report["proofs"]);
    ensure!(report["verdict"] == true, "the verdict is {}", report["verdict"]);
    Ok(())
}

#[tokio::test]
async fn an_ext4_image_without_partitions() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(image) = images::ext4(folder.path()).await? else { return Ok(()) };
    check_image(&image, "ext2/3/4").await
}

#[tokio::test]
async fn an_ntfs_image_without_partitions() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(image) = images::ntfs(folder.path()).await? else { return Ok(()) };
    check_image(&image, "NTFS").await
}

#[tokio::test]
async fn a_fat_volume_in_an_mbr_partition() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(image) = images::fat_disk(folder.path(), PartitionTable::Mbr).await? else { return Ok(()) };
    check_image(&image, "FAT").await
}

#[tokio::test]
async fn a_fat_volume_in_a_gpt_partition() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(image) = images::fat_disk(folder.path(), PartitionTable::Gpt).await? else { return Ok(()) };
    check_image(&image, "FAT").await
}

#[tokio::test]
async fn the_sample_disk() -> anyhow::Result<()> {
    check_verdicts(&report_of(None).await?)
}

/// The same over the channel that a Windows host has; the report says which one it was, and the pool's folder keeps no trace of a
/// service that has ended.
#[tokio::test]
async fn the_sample_disk_over_https() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let pool = folder.path().join("pool");
    let stdout = lunshadow().succeed(["try", "--json", "--over", "https", "--pool", argument(&pool)]).await?;
    let report: Value = serde_json::from_str(&stdout)?;
    check_verdicts(&report)?;
    let channel = &report["array"]["channel"];
    ensure!(channel["over"] == "https" && channel["enrolled_as"] == "trial-host", "another channel: {channel}");
    ensure!(pool.join("control-credential").exists() && !pool.join("control-endpoint.json").exists());
    let report = report_of(None).await?;
    ensure!(report["array"]["channel"]["over"] == "in-process", "{}", report["array"]["channel"]);
    Ok(())
}

/// What a person sees: the calls in the order of the contract, how to attach, the proofs; and an exit status of 0.
#[tokio::test]
async fn the_timeline_is_printed_in_order() -> anyhow::Result<()> {
    let stdout = lunshadow().succeed(["try"]).await?;
    let parts = [
        "iscsi://127.0.0.1:",
        "AreLunsSupported",
        "BeginPrepareSnapshot",
        "EndPrepareSnapshots",
        "PreCommitSnapshots",
        "CommitSnapshots",
        "PostCommitSnapshots",
        "GetTargetLuns",
        "LocateLuns",
        "FillInLunInfo",
        "PreFinalCommitSnapshots",
        "PostFinalCommitSnapshots",
        "OnLunEmpty",
        "the space came back",
    ];
    let mut rest = stdout.as_str();
    for part in parts {
        let at = rest.find(part).with_context(|| format!("no {part} after what came before it:\n{stdout}"))?;
        rest = &rest[at + part.len()..];
    }
    Ok(())
}

/// One clear line on standard error with the file's name in it, nothing on standard output, and an exit status that is not 0.
async fn check_refused(program: &Peer, arguments: &[&str], image: &Path) -> anyhow::Result<()> {
    let Finished { status, stdout, stderr } = program.run(arguments).await?;
    let name = image.file_name().context("an image has a name")?.to_string_lossy();
    ensure!(!status.success() && status.code().is_some(), "{name}: {status}");
    ensure!(stderr.lines().count() == 1 && stderr.contains(&*name), "{name}: standard error is\n{stderr}");
    ensure!(stdout.is_empty(), "{name}: standard output is\n{stdout}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_image_is_refused() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let empty = folder.path().join("empty.img");
    std::fs::write(&empty, [])?;
    let ragged = folder.path().join("ragged.img");
    std::fs::write(&ragged, [7; 1000])?;
    let directory = folder.path().join("directory.img");
    std::fs::create_dir(&directory)?;
    let missing = folder.path().join("missing.img");
    for image in [empty, ragged, directory, missing] {
        check_refused(&lunshadow(), &["try", argument(&image)], &image).await?;
        check_refused(&lunshadow(), &["try", "--json", argument(&image)], &image).await?;
    }
    Ok(())
}

/// Also for an administrator, if the right to read everything is taken away first.
#[tokio::test]
async fn an_unreadable_image_is_refused() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir()?;
    let image = folder.path().join("secret.img");
    std::fs::write(&image, [0; 1 << 20])?;
    std::fs::set_permissions(&image, std::fs::Permissions::from_mode(0o000))?;
    if std::fs::File::open(&image).is_err() {
        return check_refused(&lunshadow(), &["try", argument(&image)], &image).await;
    }
    let Some(setpriv) = Peer::find("setpriv") else { return Ok(()) };
    let bounds = "--bounding-set=-dac_override,-dac_read_search";
    let program = env!("CARGO_BIN_EXE_lunshadow");
    check_refused(&setpriv, &[bounds, program, "try", argument(&image)], &image).await
}

/// A running `serve`.
struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
    /// What it has said by then.
    said: String,
}

impl Serving {
    /// Starts it and waits until it says where it listens.
    async fn start(pool: &Path) -> anyhow::Result<Self> {
        Self::start_on(pool, &["127.0.0.1:0"]).await
    }

    async fn start_on(pool: &Path, portals: &[&str]) -> anyhow::Result<Self> {
        let listen = portals.iter().flat_map(|portal| ["--listen", portal]);
        let mut command = lunshadow()
            .command(["serve", "--pool", argument(pool), "--tail", argument(pool)].into_iter().chain(listen));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("standard output is piped")?);
        let found = timeout(SERVE_AT_MOST, address_in(&mut stdout)).await.context("it did not begin in time")??;
        let (address, said) = found;
        Ok(Self { child, stdout, address, said })
    }

    /// Sends it a signal and waits for its end, which has to be a success.
    async fn stop(mut self, signal: &str) -> anyhow::Result<()> {
        let pid = self.child.id().context("it ended by itself")?.to_string();
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid]).status().await?;
        ensure!(sent.success(), "kill: {sent}");
        let mut rest = String::new();
        let end = async {
            self.stdout.read_to_string(&mut rest).await?;
            self.child.wait().await
        };
        let status = timeout(SERVE_AT_MOST, end).await.with_context(|| format!("it did not end on {signal}"))??;
        ensure!(status.success(), "{status} on {signal}:\n{rest}");
        Ok(())
    }
}

/// The address in the first line that has one, and all text up to there.
async fn address_in(stdout: &mut BufReader<ChildStdout>) -> anyhow::Result<(String, String)> {
    let mut text = String::new();
    loop {
        let start = text.len();
        ensure!(stdout.read_line(&mut text).await? > 0, "it ended without saying where it listens:\n{text}");
        if let Some(at) = text[start..].find("127.0.0.1:") {
            let address = &text[start + at..];
            let end = address.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(address.len());
            let address = address[..end].trim_end_matches(['.', ':']).to_owned();
            return Ok((address, text));
        }
    }
}

#[tokio::test]
async fn serve_stops_cleanly_and_the_pool_opens_again() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let pool = folder.path().join("pool");
    lunshadow().succeed(["try", "--json", "--pool", argument(&pool)]).await?;
    for signal in ["TERM", "INT", "TERM"] {
        let serving = Serving::start(&pool).await?;
        let connected = timeout(SERVE_AT_MOST, tokio::net::TcpStream::connect(&serving.address)).await?;
        drop(connected.with_context(|| format!("nobody listens on {}", serving.address))?);
        serving.stop(signal).await?;
    }
    Ok(())
}

/// A host that is logged in does not keep `serve` from stopping.
#[tokio::test]
async fn serve_stops_while_somebody_is_connected() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let pool = folder.path().join("pool");
    lunshadow().succeed(["try", "--json", "--pool", argument(&pool)]).await?;
    let serving = Serving::start(&pool).await?;
    let connected = tokio::net::TcpStream::connect(&serving.address).await?;
    serving.stop("TERM").await?;
    drop(connected);
    Ok(())
}

#[tokio::test]
async fn serve_puts_portals_into_groups() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let pool = folder.path().join("pool");
    lunshadow().succeed(["try", "--json", "--pool", argument(&pool)]).await?;
    let serving = Serving::start_on(&pool, &["127.0.0.1:0", "127.0.0.1:0,2"]).await?;
    let portals: Vec<_> = serving.said.split_whitespace().filter(|word| word.starts_with("127.0.0.1:")).collect();
    let [first, second] = portals[..] else { anyhow::bail!("not two portals: {}", serving.said) };
    ensure!(!first.contains(',') && second.ends_with(",2"), "{}", serving.said);
    serving.stop("TERM").await?;
    for portal in ["127.0.0.1:0,0", "127.0.0.1:0,group", "127.0.0.1"] {
        let finished = lunshadow().run(["serve", "--pool", argument(&pool), "--listen", portal]).await?;
        ensure!(!finished.status.success() && finished.stderr.contains("1 to 65535"), "{portal}: {}", finished.stderr);
    }
    Ok(())
}
