//! The program under test, as a process that can be killed.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lunshadow_store::POOL_FILE;

/// How long the program may take until it serves.
const START_AT_MOST: Duration = Duration::from_secs(60);

/// The program, serving. It is killed when it is dropped.
pub(super) struct Served {
    child: Child,
    pub(super) portal: SocketAddr,
}

impl Served {
    pub(super) async fn start(pool: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lunshadow"));
        command.arg("serve").arg("--pool").arg(pool).args([
            "--listen",
            "127.0.0.1:0",
            "--background",
            "50",
            "--defragment-after",
            "1s",
            "--tail",
        ]);
        command.arg(pool);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("the child has a pipe")?;
        let mut served = Self { child, portal: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let portal = tokio::task::spawn_blocking(move || {
            let mut lines = BufReader::new(output).lines();
            let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("serving ")));
            // What comes later is read too, so that the program never writes into a closed pipe.
            std::thread::spawn(move || lines.for_each(drop));
            let line = line.context("the program has ended")??;
            Ok::<_, anyhow::Error>(line.rsplit(' ').next().context("no address")?.parse()?)
        });
        served.portal = tokio::time::timeout(START_AT_MOST, portal).await???;
        Ok(served)
    }

    /// SIGKILL; the pool is free when this returns.
    pub(super) fn kill(mut self, pool: &Path) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        // The kernel ends the process's rings in the background, and holds the file until then.
        Ok(File::options().write(true).open(pool.join(POOL_FILE))?.lock()?)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may be gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(super) fn check(pool: &Path) -> anyhow::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_lunshadow")).args(["pool", "check"]).arg(pool).output()?;
    let [said, complained] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    ensure!(output.status.success(), "pool check: {said}{complained}");
    Ok(())
}

pub(super) fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
