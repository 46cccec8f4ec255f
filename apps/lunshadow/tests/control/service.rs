//! A running `lunshadow serve --control`, the commands that administer it, and hosts that are enrolled at it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use lunshadow::array::TARGET_NAME;
use lunshadow_array_client::{AdminClient, Array as _, Endpoint, Enrolment, HttpsArray, HttpsTimeouts, enrol};
use lunshadow_control::{EnrolmentString, Fingerprint, LunId, Secret, ShadowSetId};
use lunshadow_initiator::{Disk, Session};
use lunshadow_scsi::LunAddress;
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

/// How long something that happens by itself may take to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// A command of the program, with the environment that the tests want.
pub(crate) fn program<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lunshadow"));
    command.args(arguments).env("LC_ALL", "C").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run<'a>(arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Output> {
    program(arguments).output().context("the program cannot be started")
}

/// Standard output of a run that has to succeed.
pub(crate) fn succeed<'a>(arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<String> {
    let Output { status, stdout, stderr } = run(arguments)?;
    ensure!(status.success(), "{status}: {}", String::from_utf8_lossy(&stderr));
    Ok(String::from_utf8(stdout)?)
}

/// Standard error of a run that has to fail, which has to be one line.
pub(crate) fn refused<'a>(arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<String> {
    let Output { status, stdout, stderr } = run(arguments)?;
    let stderr = String::from_utf8(stderr)?;
    ensure!(status.code() == Some(2), "{status}: {stderr}");
    ensure!(stdout.is_empty(), "standard output is {:?}", String::from_utf8_lossy(&stdout));
    ensure!(stderr.lines().count() == 1 && stderr.starts_with("lunshadow: "), "standard error is\n{stderr}");
    Ok(stderr)
}

/// The service. It is killed when it is dropped.
pub(crate) struct Service {
    child: Child,
    folder: TempDir,
    /// Where hosts log in: the first portal.
    pub(crate) portal: SocketAddr,
    /// Where the control service listens, and its certificate.
    pub(crate) endpoint: Endpoint,
    beginning: String,
}

impl Service {
    /// Makes a pool and serves it.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Self::start_with(&[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(more: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let pool = folder.path().join("pool");
        succeed(["pool", "create", text(&pool), "--size", "4GiB"])?;
        Self::serve(folder, more)
    }

    fn serve(folder: TempDir, more: &[&str]) -> anyhow::Result<Self> {
        let pool = folder.path().join("pool");
        let log = std::fs::File::options().create(true).append(true).open(folder.path().join("log"))?;
        let arguments = [
            "serve",
            "--pool",
            text(&pool),
            "--listen",
            "127.0.0.1:0",
            "--control",
            "127.0.0.1:0",
            "--tail",
            text(folder.path()),
        ];
        // Beyond this the child has to be killed, so nothing may return early without it.
        let arguments = arguments.into_iter().chain(more.iter().copied());
        let mut child = program(arguments).env("RUST_LOG", "warn").stdout(Stdio::piped()).stderr(log).spawn()?;
        let begun = read_beginning(&mut child);
        match begun {
            Ok((portal, endpoint, beginning)) => Ok(Self { child, folder, portal, endpoint, beginning }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                let log = std::fs::read_to_string(folder.path().join("log"))?;
                Err(error.context(log))
            }
        }
    }

    /// Kills it as `kill -9` does; what it was about to do is not done.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Serves the pool again after [`kill`](Self::kill) or [`stop`](Self::stop), on other ports.
    pub(crate) fn serve_again(self) -> anyhow::Result<Self> {
        self.serve_again_with(&[])
    }

    /// The same with more arguments.
    pub(crate) fn serve_again_with(self, more: &[&str]) -> anyhow::Result<Self> {
        let mut ended = self;
        ensure!(ended.child.try_wait()?.is_some(), "it still runs");
        let folder = std::mem::replace(&mut ended.folder, tempfile::tempdir()?);
        drop(ended);
        Self::serve(folder, more)
    }

    /// Ends it with SIGTERM, which it has to obey in order.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &pid]).status()?;
        ensure!(sent.success(), "kill: {sent}");
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}: {}", self.log()?);
        Ok(())
    }

    /// What it has said until it listened.
    pub(crate) fn beginning(&self) -> &str {
        &self.beginning
    }

    /// The pool's folder.
    pub(crate) fn pool(&self) -> PathBuf {
        self.folder.path().join("pool")
    }

    /// What it has written to standard error, over all runs.
    pub(crate) fn log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("log"))?)
    }

    /// Waits for a line of the log that has all these parts.
    pub(crate) fn logged(&self, parts: &[&str]) -> anyhow::Result<()> {
        let until = Instant::now() + SEEN_WITHIN;
        loop {
            let log = self.log()?;
            if log.lines().any(|line| parts.iter().all(|part| line.contains(part))) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "no line has all of {parts:?}:\n{log}");
            std::thread::yield_now();
        }
    }

    /// Runs an administrator's command on this array; its standard output.
    pub(crate) fn admin(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let pool = self.pool();
        succeed(arguments.iter().copied().chain(["--pool", text(&pool)]))
    }

    /// The same with `--json`.
    pub(crate) fn admin_json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let pool = self.pool();
        let stdout = succeed(arguments.iter().copied().chain(["--json", "--pool", text(&pool)]))?;
        serde_json::from_str(&stdout).with_context(|| format!("not one JSON document:\n{stdout}"))
    }

    /// The one line that an administrator gets whose command is refused.
    pub(crate) fn admin_refused(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let pool = self.pool();
        refused(arguments.iter().copied().chain(["--pool", text(&pool)]))
    }

    /// An administrator without the command, for what the command does not let through.
    pub(crate) fn admin_client(&self) -> anyhow::Result<AdminClient> {
        let credential = std::fs::read_to_string(self.pool().join("control-credential"))?;
        let credential = Secret::new(credential.trim());
        Ok(AdminClient::new(self.endpoint.clone(), credential, HttpsTimeouts::default()))
    }

    /// Makes a host known and returns the enrolment string that is to be carried to it.
    pub(crate) fn add_host(&self, name: &str) -> anyhow::Result<EnrolmentString> {
        let printed = self.admin(&["host", "add", name, "--iqn", &initiator(name)])?;
        printed.parse().with_context(|| format!("more or less than an enrolment string: {printed}"))
    }

    /// Makes a host known and enrols it.
    pub(crate) fn enrolled(&self, name: &str) -> anyhow::Result<Enrolment> {
        Ok(enrol(&self.add_host(name)?, HttpsTimeouts::default())?)
    }

    /// Makes a LUN that a host sees.
    pub(crate) fn lun_of(&self, host: &str, name: &str) -> anyhow::Result<LunId> {
        let made = self.admin_json(&["lun", "create", name, "--size", "1MiB"])?;
        self.admin(&["lun", "map", name, host])?;
        Ok(made["lun"].as_str().context("a LUN has an id")?.parse()?)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // If it has ended already there is nothing to kill and nothing to wait for.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads where it listens. Ends when the service does, if not before.
fn read_beginning(child: &mut Child) -> anyhow::Result<(SocketAddr, Endpoint, String)> {
    let stdout = child.stdout.take().context("standard output is piped")?;
    let (mut portal, mut beginning) = (None, String::new());
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        beginning.extend([&*line, "\n"]);
        if let Some((_, addresses)) = line.strip_prefix("serving ").and_then(|rest| rest.rsplit_once(" on ")) {
            portal = addresses.split(' ').next().map(str::parse).transpose()?;
        }
        let Some(rest) = line.strip_prefix("control ") else { continue };
        let (address, fingerprint) = rest.split_once(" fingerprint ").context("no fingerprint")?;
        let fingerprint: Fingerprint = fingerprint.parse()?;
        let endpoint = Endpoint { address: address.to_owned(), fingerprint };
        return Ok((portal.context("no portal")?, endpoint, beginning));
    }
    anyhow::bail!("it ended without saying where it listens")
}

/// The host's requests over TLS.
pub(crate) fn array_of(enrolment: &Enrolment) -> HttpsArray {
    HttpsArray::new(enrolment.endpoint.clone(), enrolment.credential.clone(), HttpsTimeouts::default())
}

/// The shadow LUNs of a set of these LUNs that is taken and kept now, in their order.
pub(crate) fn kept_shadows(enrolment: &Enrolment, luns: &[LunId]) -> anyhow::Result<Vec<LunId>> {
    let (array, set) = (array_of(enrolment), ShadowSetId(Uuid::new_v4()));
    array.prepare(set, luns)?;
    array.wait_prepared(set, SEEN_WITHIN)?;
    let mut channel = array.open_commit_channel(set)?;
    channel.arm(Duration::from_secs(5))?;
    channel.commit()?;
    array.keep(set)?;
    let targets = array.targets(set)?;
    let shadow_of = |lun: &LunId| targets.iter().find(|target| target.source == *lun).map(|target| target.shadow);
    luns.iter().map(|lun| shadow_of(lun).context("a LUN without a shadow LUN")).collect()
}

/// The iSCSI name of a host of the tests.
pub(crate) fn initiator(host: &str) -> String {
    format!("iqn.2026-11.org.example:{host}")
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// Fills a part of a LUN of the host `sql` with one byte, over iSCSI.
pub(crate) async fn write(
    service: &Service,
    number: u8,
    at_bytes: u64,
    len_bytes: u64,
    byte: u8,
) -> anyhow::Result<()> {
    let session = Session::login(service.portal, &initiator("sql").parse()?, TARGET_NAME).await?;
    let disk = Disk::new(session.clone(), LunAddress::peripheral(number));
    for at in (at_bytes..at_bytes + len_bytes).step_by(1 << 18) {
        disk.write(at / 512, Bytes::from(vec![byte; 1 << 18])).await?;
    }
    disk.flush().await?;
    Ok(session.logout().await?)
}
