//! The array and the simulated hosts of `docs/diskshadow.md`, set up for scripts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context as _, ensure};
use lunshadow_coordinator::disk::make_sample_disk;
use serde_json::Value;
use tempfile::TempDir;

use crate::service::{Service, initiator, program, text};

const PAGE: &str = include_str!("../../../../docs/diskshadow.md");

/// The block of the page that begins after these words.
fn block(after: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(after).expect(after);
    let (_, rest) = rest.split_once("```").expect("a block follows");
    let (_, rest) = rest.split_once('\n').expect("it has a kind");
    rest.split_once("```").expect("it ends").0
}

/// The array and the two hosts of the page.
pub(crate) struct Rehearsal {
    pub(crate) service: Service,
    pub(crate) folder: TempDir,
}

impl Rehearsal {
    pub(crate) fn set_up() -> anyhow::Result<Self> {
        let service = Service::start()?;
        let folder = tempfile::tempdir()?;
        for (lun, seed) in [("data", 1), ("logs", 2)] {
            let image = folder.path().join(lun);
            make_sample_disk(&image, 16 << 20, seed)?;
            service.admin(&["lun", "import", text(&image), lun])?;
        }
        let sql = service.admin(&["host", "add", "sql", "--iqn", &initiator("sql")])?;
        let add = ["host", "add", "backup", "--iqn", &initiator("backup"), "--imports-from", "sql"];
        let backup = service.admin(&add)?;
        for lun in ["data", "logs"] {
            service.admin(&["lun", "map", lun, "sql"])?;
        }
        let hosts = block("in a file from then on.")
            .replace("array.example:3260", &service.portal.to_string())
            .replace("lunshadow-enrol/sql", sql.trim())
            .replace("lunshadow-enrol/backup", backup.trim());
        let rehearsal = Self { service, folder };
        rehearsal.file("hosts.toml", &hosts)?;
        rehearsal.file("c/backup/copy.cmd", block("finds the aliases in its environment:"))?;
        let mut mode = fs::metadata(rehearsal.path("c/backup/copy.cmd"))?.permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
        fs::set_permissions(rehearsal.path("c/backup/copy.cmd"), mode)?;
        rehearsal.file("create.dsh", block("nothing of them appears on this one:"))?;
        rehearsal.file("copy.dsh", block("saves them, and deletes them:"))?;
        Ok(rehearsal)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        Ok(fs::write(path, content)?)
    }

    pub(crate) fn run(&self, arguments: &[&str], host: &str) -> anyhow::Result<Output> {
        let host = ["--host", host];
        let arguments = ["shadow"].iter().chain(arguments).chain(&host).copied();
        Ok(program(arguments).current_dir(self.folder.path()).output()?)
    }

    /// Runs a script that has to come to its end.
    pub(crate) fn succeed(&self, script: &str, host: &str) -> anyhow::Result<String> {
        let Output { status, stdout, stderr } = self.run(&["script", script], host)?;
        ensure!(status.success(), "{script}: {status}: {}", String::from_utf8_lossy(&stderr));
        Ok(String::from_utf8(stdout)?)
    }

    /// Runs these lines as a script that has to come to its end.
    pub(crate) fn lines(&self, lines: &str, host: &str) -> anyhow::Result<String> {
        self.file("lines.dsh", lines)?;
        self.succeed("lines.dsh", host)
    }

    /// The one line that a script is refused with.
    pub(crate) fn refused(&self, lines: &str, host: &str) -> anyhow::Result<String> {
        self.refused_with(lines, host, 1)
    }

    /// The same, with what a program that the script runs says besides: so many lines in all.
    pub(crate) fn refused_with(&self, lines: &str, host: &str, count: usize) -> anyhow::Result<String> {
        self.file("lines.dsh", lines)?;
        let Output { status, stderr, .. } = self.run(&["script", "lines.dsh"], host)?;
        let stderr = String::from_utf8(stderr)?;
        ensure!(status.code() == Some(1) && stderr.lines().count() == count, "{status}: {stderr}");
        Ok(stderr)
    }

    /// The sets that have shadow LUNs in the array; those that were aborted are listed with what they would have had.
    pub(crate) fn sets(&self) -> anyhow::Result<Vec<Value>> {
        let answer = self.service.admin_json(&["shadow", "list"])?;
        let has_luns = |set: &&Value| set["luns"].as_array().is_some_and(|luns| !luns.is_empty());
        let is_real = |set: &&Value| has_luns(set) && set["summary"]["phase"] != "aborted";
        Ok(answer["sets"].as_array().context("a list")?.iter().filter(is_real).cloned().collect())
    }

    /// Whom the array shows the shadow LUNs of its only set.
    pub(crate) fn shadow_hosts(&self) -> anyhow::Result<Vec<Vec<String>>> {
        let sets = self.sets()?;
        ensure!(sets.len() == 1, "{sets:#?}");
        let luns = sets[0]["luns"].as_array().context("a list")?;
        Ok(luns.iter().map(|lun| names(&lun["hosts"], "host")).collect())
    }
}

/// A field of all entries of a list.
pub(crate) fn names(list: &Value, key: &str) -> Vec<String> {
    let names = list.as_array().into_iter().flatten().filter_map(|entry| entry[key].as_str());
    names.map(str::to_owned).collect()
}
