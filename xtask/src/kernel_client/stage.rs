//! The array and its guests.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::guest::{Guest, Image};
use crate::daemon::Daemon;

const TARGET: &str = "iqn.2026-11.org.lunshadow:array";
const POOL_SIZE: &str = "16GiB";

/// The guests, which are hosts of the array, and the names of their initiators.
const GUESTS: [(&str, &str); 2] =
    [("guest-1", "iqn.2026-11.org.example:guest-1"), ("guest-2", "iqn.2026-11.org.example:guest-2")];

/// The portal groups of the array. Guests log in by the first one.
pub(super) const FIRST_GROUP: u16 = 1;
pub(super) const SECOND_GROUP: u16 = 2;

/// The guest that does what takes only one.
pub(super) const FIRST: usize = 0;
pub(super) const SECOND: usize = 1;

/// How often something is looked at that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long the array may take to end in order.
pub(super) const STOP_AT_MOST: Duration = Duration::from_secs(30);

pub(super) struct Stage {
    pub(super) array: Daemon,
    pub(super) guests: Vec<Guest>,
    /// For files of the checks.
    pub(super) folder: PathBuf,
    /// The LUNs that the check at hand has made.
    luns: Vec<String>,
    /// How many LUNs there have been.
    count: u32,
}

/// A LUN that a guest sees.
pub(super) struct Mapped {
    pub(super) name: String,
    pub(super) number: u64,
}

impl Stage {
    /// Starts the array, and boots the guests side by side.
    pub(super) fn set(lunshadow: &Path, image: &Image, folder: &Path) -> anyhow::Result<Self> {
        let mut array =
            Daemon::with_new_pool(lunshadow.to_owned(), folder, &["--size", POOL_SIZE], &[FIRST_GROUP, SECOND_GROUP])?;
        array.start()?;
        let port = array.portals().first().context("it has a portal")?.port();
        let mut guests = Vec::new();
        for (name, initiator) in GUESTS {
            array.ask(&["host", "add", name, "--iqn", initiator])?;
            guests.push(Guest::start(name, initiator, image, port, TARGET, folder)?);
        }
        Ok(Self { array, guests, folder: folder.to_owned(), luns: Vec::new(), count: 0 })
    }

    pub(super) fn wait_booted(&mut self) -> anyhow::Result<()> {
        self.guests.iter_mut().try_for_each(Guest::wait_booted)
    }

    /// The guest that does what takes only one.
    pub(super) fn guest(&mut self) -> &mut Guest {
        &mut self.guests[FIRST]
    }

    /// Makes a LUN, which no guest sees yet, and answers its name.
    pub(super) fn make_lun(&mut self, size: &str) -> anyhow::Result<String> {
        self.count += 1;
        let name = format!("lun-{}", self.count);
        self.array.ask(&["lun", "create", &name, "--size", size])?;
        self.luns.push(name.clone());
        Ok(name)
    }

    /// Lets a guest see a LUN, and answers its number there.
    pub(super) fn map(&mut self, name: &str, guest: usize) -> anyhow::Result<u64> {
        let mapped = self.json(&["lun", "map", name, self.guests[guest].name])?;
        mapped["number"].as_u64().with_context(|| format!("no LUN number in {mapped}"))
    }

    /// Makes a LUN for the first guest.
    pub(super) fn mapped_lun(&mut self, size: &str) -> anyhow::Result<Mapped> {
        let name = self.make_lun(size)?;
        let number = self.map(&name, FIRST)?;
        Ok(Mapped { name, number })
    }

    /// Asks the array for something in JSON.
    pub(super) fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let said = self.array.ask(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&said).with_context(|| format!("no JSON: {said}"))
    }

    /// How much of the pool is in use, less what comes back with the next checkpoint: an idle pool makes none for that.
    pub(super) fn used_bytes(&self) -> anyhow::Result<u64> {
        let status = self.json(&["pool", "status"])?;
        let bytes = |name: &str| status[name].as_u64().with_context(|| format!("no {name} in {status}"));
        Ok(bytes("used_bytes")?.saturating_sub(bytes("freed_bytes")?))
    }

    /// Takes back what a check has left behind.
    pub(super) fn clear(&mut self) -> anyhow::Result<()> {
        if !self.array.is_running() {
            self.array.start()?;
        }
        for guest in &mut self.guests {
            guest.run("clean")?;
        }
        for name in std::mem::take(&mut self.luns) {
            self.array.ask(&["lun", "delete", &name, "--unmap"])?;
        }
        Ok(())
    }

    /// Ends the guests and the array in order, and has the pool checked.
    pub(super) fn strike(mut self) -> anyhow::Result<()> {
        self.guests.clear();
        self.array.stop(STOP_AT_MOST).context("the array does not end in order")?;
        self.array.check_pool()
    }
}

/// Looks again and again, until something is as it should be.
///
/// # Errors
/// If that takes too long, or looking fails.
pub(super) fn wait_until<T>(
    what: &str,
    at_most: Duration,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let until = Instant::now() + at_most;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= until {
            bail!("after {} s still not: {what}", at_most.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// As `ensure!` for a fact about what a command printed.
pub(super) fn expect(what: &str, found: &str, expected: &str) -> anyhow::Result<()> {
    ensure!(found == expected, "{what}: {found:?} instead of {expected:?}");
    Ok(())
}
