//! qcow2 behind QEMU's storage daemon, with overlays as snapshots.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;

use super::engine::{Deletion, Engine, Load, Rate};
use super::fio::{self, Target};
use super::qmp::Qmp;
use crate::command::{program, run};
use crate::peers::QEMU_STORAGE_DAEMON;

/// What `stat` counts the space of a file in.
const STAT_BLOCK_BYTES: u64 = 512;
const CONNECTIONS_MAX: u32 = 64;
/// How long the daemon may take until it listens.
const START_AT_MOST: Duration = Duration::from_secs(30);

/// A base and an overlay for each snapshot, all with sub-clusters: the layout of qcow2 that suffers least from snapshots.
pub(super) struct Qcow2 {
    folder: PathBuf,
    lun_bytes: u64,
    daemon: Child,
    qmp: Qmp,
    /// How many overlays lie above the base.
    overlays: usize,
}

fn layer(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("layer{number}.qcow2"))
}

fn node(number: usize) -> String {
    format!("layer{number}")
}

impl Qcow2 {
    pub(super) fn make(folder: &Path, lun_bytes: u64) -> anyhow::Result<Self> {
        create_layer(folder, 0, lun_bytes)?;
        let path = layer(folder, 0);
        let mut command = Command::new(QEMU_STORAGE_DAEMON);
        command
            .arg("--blockdev")
            .arg(format!("driver=file,node-name=file0,filename={},cache.direct=on,aio=io_uring", path.display()))
            .arg("--blockdev")
            .arg(format!("driver=qcow2,node-name={},file=file0", node(0)))
            .arg("--nbd-server")
            .arg(format!("addr.type=unix,addr.path={},max-connections={CONNECTIONS_MAX}", folder.join("nbd").display()))
            .arg("--export")
            .arg(format!("type=nbd,id=lun,node-name={},name=lun,writable=on", node(0)))
            .arg("--chardev")
            .arg(format!("socket,id=qmp,path={},server=on,wait=off", folder.join("qmp").display()))
            .args(["--monitor", "chardev=qmp"]);
        let mut daemon = command.stdin(Stdio::null()).spawn().context("cannot start the storage daemon")?;
        match connect(&mut daemon, &folder.join("qmp")) {
            Ok(qmp) => Ok(Self { folder: folder.to_owned(), lun_bytes, daemon, qmp, overlays: 0 }),
            Err(error) => {
                end(&mut daemon);
                Err(error)
            }
        }
    }
}

fn create_layer(folder: &Path, number: usize, lun_bytes: u64) -> anyhow::Result<()> {
    let path = layer(folder, number);
    let mut create = program("qemu-img", &["create", "-q", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=128k"]);
    run(create.arg(path).arg(lun_bytes.to_string()))
}

fn connect(daemon: &mut Child, socket: &Path) -> anyhow::Result<Qmp> {
    let until = Instant::now() + START_AT_MOST;
    loop {
        match Qmp::connect(socket) {
            Ok(qmp) => return Ok(qmp),
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => {}
        }
        if let Some(status) = daemon.try_wait()? {
            bail!("the storage daemon ended: {status}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn end(daemon: &mut Child) {
    if let Err(error) = daemon.kill().and_then(|()| daemon.wait()) {
        eprintln!("xtask: the storage daemon does not end: {error}");
    }
}

impl Engine for Qcow2 {
    fn run(&mut self, load: &Load) -> anyhow::Result<Rate> {
        let uri = format!("nbd+unix:///lun?socket={}", self.folder.join("nbd").display());
        fio::run(&Target::Nbd(uri), self.lun_bytes, load)
    }

    fn snapshot(&mut self) -> anyhow::Result<Option<Duration>> {
        let number = self.overlays + 1;
        create_layer(&self.folder, number, self.lun_bytes)?;
        let file = json!({
            "driver": "file",
            "filename": layer(&self.folder, number),
            "cache": { "direct": true },
            "aio": "io_uring",
        });
        let overlay = json!({ "driver": "qcow2", "node-name": node(number), "file": file, "backing": null });
        self.qmp.run("blockdev-add", overlay)?;
        let begin = Instant::now();
        self.qmp.run("blockdev-snapshot", json!({ "node": node(self.overlays), "overlay": node(number) }))?;
        let taken = begin.elapsed();
        self.overlays = number;
        Ok(Some(taken))
    }

    fn delete_snapshots(&mut self) -> anyhow::Result<Deletion> {
        let begin = Instant::now();
        if self.overlays > 0 {
            let job = json!({ "job-id": "commit", "device": node(self.overlays), "base-node": node(0) });
            self.qmp.run("block-commit", job)?;
            self.qmp.wait_for_job("commit", "ready")?;
            self.qmp.run("job-complete", json!({ "id": "commit" }))?;
            self.qmp.wait_for_job("commit", "concluded")?;
        }
        for number in (1..=self.overlays).rev() {
            self.qmp.run("blockdev-del", json!({ "node-name": node(number) }))?;
            std::fs::remove_file(layer(&self.folder, number))?;
        }
        self.overlays = 0;
        Ok(Deletion { answered: begin.elapsed(), space_back: begin.elapsed() })
    }

    fn used_bytes(&mut self) -> anyhow::Result<u64> {
        let blocks = (0..=self.overlays).map(|number| Ok(layer(&self.folder, number).metadata()?.blocks()));
        Ok(blocks.sum::<anyhow::Result<u64>>()? * STAT_BLOCK_BYTES)
    }
}

impl Drop for Qcow2 {
    fn drop(&mut self) {
        end(&mut self.daemon);
    }
}
