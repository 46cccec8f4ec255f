//! Pools on block devices, with loop devices where this machine lets the tests have some.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use lunshadow::array::TARGET_NAME;
use lunshadow::location::RECORDS_VARIABLE;
use lunshadow_initiator::{Disk, Session};
use lunshadow_lun::{BlockCount, Lba, LunId, Pool as _};
use lunshadow_scsi::LunAddress;
use lunshadow_store::{OpenError, StoreConfig, StorePool, pool_id};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// A loop device over a sparse file, which goes away with this.
struct LoopDevice {
    path: PathBuf,
    backing: PathBuf,
    folder: TempDir,
}

impl LoopDevice {
    /// `None`, and one line that says so, if this machine has no loop devices for us.
    #[expect(clippy::print_stderr, reason = "whoever runs the tests should know what they did not prove")]
    fn new(len_bytes: u64) -> anyhow::Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let backing = folder.path().join("backing");
        File::create(&backing)?.set_len(len_bytes)?;
        let made = Command::new("losetup").args(["--find", "--show"]).arg(&backing).output();
        match made {
            Ok(output) if output.status.success() => {
                let path = PathBuf::from(String::from_utf8(output.stdout)?.trim());
                Ok(Some(Self { path, backing, folder }))
            }
            Ok(output) => {
                eprintln!(
                    "no loop devices here, pools on devices are not tested: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                Ok(None)
            }
            Err(error) => {
                eprintln!("no loop devices here, pools on devices are not tested: {error}");
                Ok(None)
            }
        }
    }

    fn grow(&self, len_bytes: u64) -> anyhow::Result<()> {
        File::options().write(true).open(&self.backing)?.set_len(len_bytes)?;
        let status = Command::new("losetup").arg("--set-capacity").arg(&self.path).status()?;
        ensure!(status.success(), "the loop device does not grow");
        Ok(())
    }

    fn lunshadow(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lunshadow"));
        command.args(arguments).arg(&self.path).env(RECORDS_VARIABLE, self.folder.path().join("records"));
        command.output().context("the program does not start")
    }

    /// The standard output of a command that succeeds.
    fn said(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.lunshadow(arguments)?;
        if !output.status.success() {
            bail!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The standard error of a command that fails.
    fn complained(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.lunshadow(arguments)?;
        ensure!(!output.status.success(), "{arguments:?} succeeded");
        Ok(String::from_utf8(output.stderr)?)
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        drop(Command::new("losetup").arg("--detach").arg(&self.path).status());
    }
}

async fn open(device: &Path) -> anyhow::Result<StorePool> {
    Ok(StorePool::open(device, &StoreConfig::default())?)
}

#[tokio::test]
async fn a_pool_on_a_device_keeps_what_it_is_given_and_grows() -> anyhow::Result<()> {
    let Some(device) = LoopDevice::new(256 * MIB)? else { return Ok(()) };
    ensure!(device.complained(&["pool", "status"])?.contains("there is no pool"));
    let said = device.said(&["pool", "create"])?;
    ensure!(said.contains("a pool of 256.0 MiB") || said.contains("256"), "{said}");
    let id = pool_id(&device.path)?;
    ensure!(device.folder.path().join("records").join(id.to_string()).join("catalog.redb").exists(), "{said}");

    let (lun, data) = (LunId::random(), Bytes::from(vec![9; 1 << 20]));
    let pool = open(&device.path).await?;
    let handle = pool.create(lun, BlockCount(MIB / 64)).await?;
    handle.write(Lba(8), data.clone()).await?;
    ensure!(matches!(StorePool::open(&device.path, &StoreConfig::default()), Err(OpenError::InUse)));
    ensure!(pool_id(&device.path)? == id, "the id can be read while the pool is open");
    pool.close().await?;
    drop((handle, pool));

    device.grow(512 * MIB)?;
    ensure!(device.said(&["pool", "grow"])?.contains("512"));
    ensure!(device.complained(&["pool", "grow", "--size", "1GiB"])?.contains("the medium cannot hold"));
    let pool = open(&device.path).await?;
    ensure!(pool.usage().capacity_bytes == 512 * MIB, "{:?}", pool.usage());
    ensure!(pool.open(lun)?.read(Lba(8), BlockCount(2048)).await? == data, "the data is another one");
    pool.close().await?;
    drop(pool);
    ensure!(device.said(&["pool", "check"])?.contains("the pool is whole"));
    Ok(())
}

#[tokio::test]
async fn what_is_on_a_device_is_lost_only_by_force() -> anyhow::Result<()> {
    let Some(device) = LoopDevice::new(256 * MIB)? else { return Ok(()) };
    let made = Command::new("mkfs.ext4").args(["-q", "-L", "precious"]).arg(&device.path).status();
    ensure!(made.is_ok_and(|status| status.success()), "no ext4 can be made");
    let complained = device.complained(&["pool", "create"])?;
    ensure!(complained.contains("ext4") && complained.contains("--force"), "{complained}");
    let chosen = device.folder.path().join("chosen");
    let chosen_text = chosen.to_str().context("a plain path")?;
    let said = device.said(&["pool", "create", "--force", "--size", "128MiB", "--records", chosen_text])?;
    ensure!(said.contains("ext4") && said.contains("lost"), "{said}");
    ensure!(chosen.join("catalog.redb").exists(), "the records are elsewhere");

    // Commands find the folder that was chosen, by the pool's id.
    let status = device.said(&["pool", "status"])?;
    ensure!(status.contains("128"), "{status}");
    ensure!(device.complained(&["pool", "create"])?.contains("holds the pool"));
    let _held = open(&device.path).await?;
    let complained = device.complained(&["pool", "create", "--force"])?;
    ensure!(complained.contains("is mounted, served, or part of something else"), "{complained}");
    Ok(())
}

#[test]
fn a_device_that_is_too_small_is_refused() -> anyhow::Result<()> {
    let Some(device) = LoopDevice::new(256 * MIB)? else { return Ok(()) };
    ensure!(device.complained(&["pool", "create", "--size", "1GiB"])?.contains("only"));
    let Some(tiny) = LoopDevice::new(16 * MIB)? else { return Ok(()) };
    ensure!(tiny.complained(&["pool", "create"])?.contains("is not possible"));
    Ok(())
}

/// `lunshadow serve` on a device. It is killed when this is dropped.
struct Served {
    child: Child,
    portal: SocketAddr,
}

impl Served {
    fn start(device: &LoopDevice) -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lunshadow"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--pool"]).arg(&device.path);
        command.arg("--tail").arg(device.folder.path());
        command.env(RECORDS_VARIABLE, device.folder.path().join("records"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take();
        let mut served = Self { child, portal: SocketAddr::from(([127, 0, 0, 1], 0)) };
        for line in BufReader::new(stdout.context("standard output is piped")?).lines() {
            if let Some((_, address)) = line?.strip_prefix("serving ").and_then(|rest| rest.rsplit_once(" on ")) {
                served.portal = address.parse()?;
                return Ok(served);
            }
        }
        bail!("it ended without saying where it listens")
    }

    /// Ends it with SIGTERM, which it has to obey in order.
    fn stop(mut self) -> anyhow::Result<()> {
        let sent = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &self.child.id().to_string()]).status()?;
        ensure!(sent.success(), "kill: {sent}");
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // If it has ended already there is nothing to kill and nothing to wait for.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_on_a_device_is_served_and_served_again() -> anyhow::Result<()> {
    let Some(device) = LoopDevice::new(256 * MIB)? else { return Ok(()) };
    device.said(&["pool", "create"])?;
    let image = device.folder.path().join("image");
    std::fs::write(&image, vec![5; 1 << 20])?;
    device.said(&["lun", "import", image.to_str().context("a plain path")?, "disk", "--pool"])?;
    for byte in [5, 6] {
        let served = Served::start(&device)?;
        ensure!(matches!(StorePool::open(&device.path, &StoreConfig::default()), Err(OpenError::InUse)));
        let initiator = "iqn.2026-11.org.example:anybody".parse()?;
        let session = Session::login(served.portal, &initiator, TARGET_NAME).await?;
        let disk = Disk::new(session.clone(), LunAddress::peripheral(1));
        ensure!(disk.read(8, 64).await?.iter().all(|found| *found == byte), "the data is another one");
        disk.write(8, Bytes::from(vec![byte + 1; 64 * 512])).await?;
        disk.flush().await?;
        session.logout().await?;
        served.stop()?;
    }
    ensure!(device.said(&["pool", "check"])?.contains("the pool is whole"));
    Ok(())
}
