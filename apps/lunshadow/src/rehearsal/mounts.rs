//! What this program has mounted. Nothing of it outlives the program, unless that is killed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lunshadow_coordinator::disk::VolumeFiles;
use lunshadow_vss::SnapshotId;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::mount::VolumeMount;
use crate::console;

/// How long a signal waits for a mount that is being made or ended. That may hang if the array does.
const UNMOUNTED_WITHIN: Duration = Duration::from_secs(10);

/// What shells report for a program that a signal ended: this and the signal's number.
const ENDED_BY_SIGNAL: i32 = 128;

type Mounted = Arc<Mutex<BTreeMap<SnapshotId, VolumeMount>>>;

/// The mounts of shadow copies.
pub(super) struct Mounts {
    runtime: Handle,
    mounted: Mounted,
    watches_signals: bool,
}

impl Mounts {
    pub(super) fn new(runtime: Handle) -> Self {
        Self { runtime, mounted: Arc::default(), watches_signals: false }
    }

    /// Mounts a shadow copy's files, and answers where they are.
    ///
    /// # Errors
    /// Why it cannot be mounted here.
    pub(super) fn mount(&mut self, copy: SnapshotId, files: VolumeFiles, folder: &Path) -> anyhow::Result<PathBuf> {
        if !self.watches_signals {
            // From now on it does not end by itself any more when one comes.
            watch_signals(&self.runtime, &self.mounted)?;
            self.watches_signals = true;
        }
        // A signal waits until it is among the others.
        let mut mounted = self.mounted.lock();
        let mount = VolumeMount::new(files, folder)?;
        let folder = mount.folder().to_owned();
        mounted.insert(copy, mount);
        Ok(folder)
    }

    /// Unmounts a shadow copy's files, if they are mounted.
    ///
    /// # Errors
    /// If they still are.
    pub(super) fn unmount(&self, copy: SnapshotId) -> anyhow::Result<()> {
        let mut mounted = self.mounted.lock();
        mounted.remove(&copy).map_or(Ok(()), VolumeMount::unmount)
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for mount in std::mem::take(&mut *self.mounted.lock()).into_values() {
            complain_of(mount.unmount());
        }
    }
}

/// Unmounts everything and ends the program, whatever the array is doing.
fn end(mounted: &Mounted, signal: i32) -> ! {
    // Who has it makes a mount or ends one.
    if let Some(mut mounted) = mounted.try_lock_for(UNMOUNTED_WITHIN) {
        mounted.values_mut().for_each(|mount| complain_of(mount.detach()));
    }
    std::process::exit(ENDED_BY_SIGNAL + signal)
}

fn complain_of(unmounted: anyhow::Result<()>) {
    if let Err(error) = unmounted {
        console::complain(&format!("lunshadow: {error:#}"));
    }
}

/// Unmounts everything when a signal comes that would have ended the program, and ends it then.
fn watch_signals(runtime: &Handle, mounted: &Mounted) -> anyhow::Result<()> {
    let _inside = runtime.enter();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        // Who starts it so that a signal does nothing, as `nohup` does, means it.
        if is_ignored(kind)? {
            continue;
        }
        let mut signals: Signal = signal(kind)?;
        let mounted = Arc::clone(mounted);
        runtime.spawn(async move {
            signals.recv().await;
            // It does not come back from there.
            drop(tokio::task::spawn_blocking(move || end(&mounted, kind.as_raw_value())).await);
        });
    }
    Ok(())
}

/// Whether this process ignores a signal.
fn is_ignored(kind: SignalKind) -> anyhow::Result<bool> {
    const STATUS: &str = "/proc/self/status";
    let unclear = || format!("cannot see in {STATUS} which signals are ignored");
    let status = fs::read_to_string(STATUS).with_context(unclear)?;
    ignores(&status, kind.as_raw_value()).with_context(unclear)
}

/// The line is a bit for each signal, the first on the right.
fn ignores(status: &str, signal: i32) -> io::Result<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).ok_or(io::ErrorKind::NotFound)?;
    let mask = u64::from_str_radix(mask.trim(), 16).map_err(io::Error::other)?;
    Ok(mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_told_from_others() {
        // As Linux writes it for a program under `nohup` whose SIGPIPE is ignored too.
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000440\n";
        assert!(ignores(status, 1).unwrap() && ignores(status, 13).unwrap());
        assert!(!ignores(status, 2).unwrap() && !ignores(status, 15).unwrap());
        assert!(ignores("Name:\tx\n", 1).is_err());
    }
}
