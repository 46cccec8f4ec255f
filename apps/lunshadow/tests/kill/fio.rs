//! The same under load by fio, which verifies what it has written.
//!
//! fio writes by NBD to `qemu-nbd`, which passes each write on by iSCSI and flushes it before it answers. When the array is killed it logs in again
//! and goes on, so that fio sees nothing but a pause: at its end every block has to hold what fio wrote there, or fio fails.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lunshadow::array::TARGET_NAME;
use lunshadow_end_to_end::peer::{Peer, argument};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::Child;
use tokio::sync::watch;

use crate::make_pool;
use crate::served::{Served, check, from_environment};

/// What fio writes and reads again in each of its runs.
const SIZE: &str = "8M";
/// The array is killed when so many bytes have passed at most since it was started.
const BYTES_MAX: u64 = 12 << 20;
/// How long a run of fio may take, the array's restarts included.
const RUN_AT_MOST: Duration = Duration::from_secs(300);

/// What stands between initiator and array, so that the array can come again at another port. It counts what passes.
struct Relay {
    portal: watch::Sender<Option<SocketAddr>>,
    passed: Arc<watch::Sender<u64>>,
    address: SocketAddr,
}

impl Relay {
    async fn new() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (portal, to) = watch::channel(None);
        let passed = Arc::new(watch::Sender::new(0));
        let counter = Arc::clone(&passed);
        tokio::spawn(async move {
            while let Ok((initiator, _)) = listener.accept().await {
                let (mut to, counter) = (to.clone(), Arc::clone(&counter));
                tokio::spawn(async move {
                    // Whoever comes while there is no array waits for it.
                    let Ok(portal) = to.wait_for(Option::is_some).await.map(|portal| *portal) else { return };
                    let Some(portal) = portal else { return };
                    let Ok(array) = TcpStream::connect(portal).await else { return };
                    let (from_initiator, to_initiator) = initiator.into_split();
                    let (from_array, to_array) = array.into_split();
                    tokio::select! {
                        () = pass(from_initiator, to_array, &counter) => {}
                        () = pass(from_array, to_initiator, &counter) => {}
                    }
                });
            }
        });
        Ok(Self { portal, passed, address })
    }

    /// Waits until so many bytes more have passed.
    async fn wait_for(&self, bytes: u64) -> anyhow::Result<()> {
        let mut passed = self.passed.subscribe();
        let end = *passed.borrow() + bytes;
        passed.wait_for(|passed| *passed >= end).await?;
        Ok(())
    }
}

/// Passes bytes on until one end closes.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, counter: &watch::Sender<u64>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        counter.send_modify(|passed| *passed += u64::try_from(count).unwrap_or_default());
    }
}

/// `qemu-nbd`, when it listens. It is killed when it is dropped.
async fn nbd_server(program: &Peer, socket: &Path, portal: SocketAddr, lun: u8) -> anyhow::Result<Child> {
    let mut command = program.command(["--cache=writethrough", "--persistent", "--shared=4", "--format=raw"]);
    command.args(["--socket", argument(socket)]).arg(format!("iscsi://{portal}/{TARGET_NAME}/{lun}"));
    let mut server = command.stdin(Stdio::null()).kill_on_drop(true).spawn()?;
    while UnixStream::connect(socket).await.is_err() {
        ensure!(server.try_wait()?.is_none(), "qemu-nbd has ended");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(server)
}

/// A run of fio: it writes every block in an order of its own, then reads all and verifies.
async fn verify_run(program: &Peer, socket: &Path, seed: u64) -> anyhow::Result<()> {
    let mut command = program.command(["--name=verify", "--ioengine=nbd", "--rw=randwrite", "--bs=4k", "--iodepth=16"]);
    command.args(["--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--verify_state_save=0"]);
    command.arg(format!("--size={SIZE}")).arg(format!("--randseed={seed}"));
    command.arg(format!("--uri=nbd+unix:///?socket={}", socket.display()));
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(RUN_AT_MOST, output).await.context("fio does not end")??;
    let [said, complained] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    ensure!(output.status.success(), "fio: {said}{complained}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fio_finds_all_that_it_wrote_to_an_array_that_is_killed() -> anyhow::Result<()> {
    let (rounds, seed) = (from_environment("LUNSHADOW_KILL_ROUNDS", 3), from_environment("LUNSHADOW_KILL_SEED", 1));
    let Some(qemu_nbd) = Peer::find_with_iscsi("qemu-nbd").await else { return Ok(()) };
    let Some(fio) = Peer::find("fio") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let (pool, socket) = (folder.path().join("pool"), folder.path().join("nbd"));
    let lun = make_pool(&pool, 1).await?[0];
    let relay = Relay::new().await?;
    let mut served = Served::start(&pool).await?;
    relay.portal.send(Some(served.portal))?;
    let _server = nbd_server(&qemu_nbd, &socket, relay.address, lun).await?;
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut kills, mut runs) = (0, 0);
    while kills < rounds || runs == 0 {
        runs += 1;
        let run = verify_run(&fio, &socket, seed + runs);
        let mut run = std::pin::pin!(run);
        let what = || format!("seed {seed}, run {runs} of fio");
        while kills < rounds {
            tokio::select! {
                ended = &mut run => {
                    ended.with_context(what)?;
                    break;
                }
                passed = relay.wait_for(random.random_range(1..BYTES_MAX)) => passed?,
            }
            relay.portal.send(None)?;
            served.kill(&pool)?;
            kills += 1;
            served = Served::start(&pool).await?;
            relay.portal.send(Some(served.portal))?;
        }
        if kills == rounds {
            run.await.with_context(what)?;
        }
    }
    served.kill(&pool)?;
    check(&pool)?;
    eprintln!("{kills} kills, {runs} runs of fio");
    Ok(())
}
