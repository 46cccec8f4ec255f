//! fio with its engine for iSCSI, which Debian's package is built without: from Debian's source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};

use crate::command::{program, run};
use crate::peers::apt_get;

const SOURCES: &str = "/etc/apt";
/// What fio would look for besides, and need not have here.
const WITHOUT: [&str; 6] =
    ["--disable-rdma", "--disable-rados", "--disable-rbd", "--disable-gfapi", "--disable-http", "--disable-pmem"];

/// The program, which is built in a folder if it is not there yet.
pub(super) fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    let fio = folder.join("source/fio");
    if fio.is_file() {
        return Ok(fio);
    }
    if folder.exists() {
        // What an interrupted attempt has left.
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    println!("building fio with its engine for iSCSI");
    let source = folder.join("source");
    fs::create_dir_all(&source).with_context(|| source.display().to_string())?;
    let archive = download(folder)?;
    run(program("tar", &["--extract", "--strip-components=1", "--file"]).arg(archive).arg("--directory").arg(&source))?;
    let quiet = |mut command: std::process::Command| run(command.current_dir(&source).stdout(Stdio::null()));
    quiet(program("./configure", &[&["--enable-libiscsi"][..], &WITHOUT].concat()))?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    quiet(program("make", &[&format!("--jobs={jobs}")]))?;
    let engines = crate::command::output_of(program("./fio", &["--enghelp"]).current_dir(&source));
    let engines = engines.context("fio does not run")?;
    ensure!(engines.lines().any(|line| line.trim() == "libiscsi"), "fio was built without libiscsi:\n{engines}");
    Ok(fio)
}

/// Fetches the archive of the source. The machine's own lists of packages stay as they are.
fn download(folder: &Path) -> anyhow::Result<PathBuf> {
    let (parts, lists) = (folder.join("apt/sources.list.d"), folder.join("apt/lists"));
    fs::create_dir_all(&parts)?;
    fs::create_dir_all(lists.join("partial"))?;
    let list = folder.join("apt/sources.list");
    fs::write(&list, source_lines(&fs::read_to_string(Path::new(SOURCES).join("sources.list")).unwrap_or_default()))?;
    for entry in fs::read_dir(Path::new(SOURCES).join("sources.list.d"))? {
        let entry = entry?;
        let text = fs::read_to_string(entry.path())?;
        let is_list = entry.path().extension().is_some_and(|extension| extension == "list");
        let text = if is_list { source_lines(&text) } else { source_stanzas(&text) };
        fs::write(parts.join(entry.file_name()), text)?;
    }
    let options = [
        format!("Dir::Etc::sourcelist={}", list.display()),
        format!("Dir::Etc::sourceparts={}", parts.display()),
        format!("Dir::State::lists={}", lists.display()),
    ];
    let apt = |arguments: &[&str]| {
        let mut command = apt_get(&["--quiet=2"]);
        for option in &options {
            command.args(["--option", option]);
        }
        command.args(arguments).current_dir(folder).stdout(Stdio::null());
        command
    };
    // Other archives of this machine may have no sources; whether fio's are there is seen next.
    apt(&["update"]).stderr(Stdio::null()).status().context("cannot start apt-get")?;
    run(&mut apt(&["source", "--download-only", "fio"]))
        .context("the archives of this machine have no source of fio")?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().contains(".orig.tar.")) {
            return Ok(path);
        }
    }
    anyhow::bail!("the source of fio has no archive")
}

/// Lines of a list of packages, as a list of sources.
fn source_lines(text: &str) -> String {
    let source = |line: &str| line.strip_prefix("deb ").map(|rest| format!("deb-src {rest}\n"));
    text.lines().filter_map(source).collect()
}

/// The same in the other format: stanzas with fields.
fn source_stanzas(text: &str) -> String {
    let source =
        |line: &str| if line.starts_with("Types:") { "Types: deb-src\n".to_owned() } else { format!("{line}\n") };
    text.lines().map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_packages_become_lists_of_sources() {
        assert_eq!(source_lines("# deb no\ndeb [a=b] x main\ndeb-src x main\n"), "deb-src [a=b] x main\n");
        assert_eq!(
            source_stanzas("Types: deb\nURIs: x\n\nTypes: deb deb-src\n"),
            "Types: deb-src\nURIs: x\n\nTypes: deb-src\n"
        );
    }
}
