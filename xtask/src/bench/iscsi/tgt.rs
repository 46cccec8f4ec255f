//! The other target: tgtd, with one LUN on a file.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::bench::loop_device::write_zeros;
use crate::command::{program, run, wait_at_most};
use crate::peers::TGTD;

const TARGET: &str = "iqn.2026-11.org.example:tgtd";
/// How long it may take until it listens, also when its instructions are counted.
const START_AT_MOST: Duration = Duration::from_secs(60);
const END_AT_MOST: Duration = Duration::from_secs(30);

/// How tgtd reads and writes the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backing {
    /// `pread` and `pwrite` of threads, through the page cache.
    ReadWrite,
    /// Asynchronous direct I/O.
    Aio,
}

/// A tgtd in a process of its own. Dropping it ends the process.
pub(super) struct Tgtd {
    folder: PathBuf,
    portal: SocketAddr,
    child: Child,
}

impl Tgtd {
    /// Starts it in a folder, by itself or under another program, with a LUN that is written once before.
    pub(super) fn start(folder: &Path, under: &[OsString], backing: Backing, lun_bytes: u64) -> anyhow::Result<Self> {
        let file = folder.join("lun");
        write_zeros(&file, lun_bytes)?;
        let portal = free_address()?;
        let mut words = under.iter().map(OsString::as_os_str).chain([TGTD.as_ref()]);
        let mut command = Command::new(words.next().context("the program itself is always there")?);
        command.args(words).args(["--foreground", "--iscsi", &format!("portal={portal}")]);
        command.env(SOCKET_VARIABLE, socket(folder)).stdin(Stdio::null()).stdout(Stdio::null());
        let child =
            command.stderr(std::fs::File::create(folder.join("tgtd.txt"))?).spawn().context("cannot start tgtd")?;
        let mut target = Self { folder: folder.to_owned(), portal, child };
        target.wait_listening()?;
        target.administer(&["--op=new", "--mode=target", "--tid=1", &format!("--targetname={TARGET}")])?;
        let (kind, path) = (backing.name(), file.display().to_string());
        let lun = ["--op=new", "--mode=logicalunit", "--tid=1", "--lun=1"];
        target.administer(&[&lun[..], &["--bstype", kind, "--backing-store", &path]].concat())?;
        target.administer(&["--op=bind", "--mode=target", "--tid=1", "--initiator-address=ALL"])?;
        Ok(target)
    }

    /// Where its LUN is, in the form of libiscsi.
    pub(super) fn url(&self) -> String {
        format!("iscsi://{}/{TARGET}/1", self.portal)
    }

    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    fn administer(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = program("tgtadm", &["--lld=iscsi"]);
        run(command.args(arguments).env(SOCKET_VARIABLE, socket(&self.folder)).stdin(Stdio::null()))
    }

    fn wait_listening(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + START_AT_MOST;
        // It listens for initiators before it listens for administrators.
        while TcpStream::connect(self.portal).is_err() || !Path::new(&format!("{}.0", socket(&self.folder))).exists() {
            if let Some(status) = self.child.try_wait()? {
                bail!("tgtd ended with {status}, see {}", self.folder.join("tgtd.txt").display());
            }
            if Instant::now() >= until {
                bail!("tgtd does not listen after {} s", START_AT_MOST.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Tgtd {
    fn drop(&mut self) {
        self.child.kill().ok();
        if let Err(error) = wait_at_most(&mut self.child, END_AT_MOST) {
            eprintln!("xtask: tgtd: {error:#}");
        }
    }
}

impl Backing {
    const fn name(self) -> &'static str {
        match self {
            Self::ReadWrite => "rdwr",
            Self::Aio => "aio",
        }
    }
}

/// Where tgtd and tgtadm meet; both add a number to it.
const SOCKET_VARIABLE: &str = "TGT_IPC_SOCKET";

fn socket(folder: &Path) -> String {
    folder.join("tgtd").display().to_string()
}

/// An address that nothing listens on. tgtd does not tell which port it was given, so it cannot choose one itself.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
