//! Programs of an unpacked system, without installing it: where they are, which libraries they need, and how they run here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::command::program;

const PROGRAM_FOLDERS: &[&str] = &["usr/bin", "usr/sbin", "bin", "sbin"];
const LIBRARY_FOLDERS: &[&str] = &["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
const LOADER: &str = "ld-linux-x86-64.so.2";

/// The unpacked system's own loader (ld.so(8)), which takes its libraries and not this machine's.
pub(super) struct Loader {
    root: PathBuf,
    path: PathBuf,
    libraries: String,
}

impl Loader {
    pub(super) fn of(root: &Path) -> anyhow::Result<Self> {
        let folders: Vec<PathBuf> = LIBRARY_FOLDERS.iter().map(|folder| root.join(folder)).collect();
        let path = folders.iter().map(|folder| folder.join(LOADER)).find(|path| path.is_file());
        let path = path.with_context(|| format!("no {LOADER} below {}", root.display()))?;
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        Ok(Self { root: root.to_owned(), path, libraries: folders.join(":") })
    }

    /// The loader itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a program.
    pub(super) fn find(&self, name: &str) -> anyhow::Result<PathBuf> {
        let mut paths = PROGRAM_FOLDERS.iter().map(|folder| self.root.join(folder).join(name));
        paths.find(|path| path.is_file()).with_context(|| format!("the packages for the guest have no program {name}"))
    }

    /// A program that runs here, by another name if it has several.
    pub(super) fn command(&self, name: &str, called: Option<&str>) -> anyhow::Result<Command> {
        let mut command = program(&self.path.display().to_string(), &["--library-path", &self.libraries]);
        if let Some(called) = called {
            command.args(["--argv0", called]);
        }
        command.arg(self.find(name)?);
        Ok(command)
    }

    /// The libraries that a program needs: name and file.
    pub(super) fn libraries_of(&self, file: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let mut list = program(&self.path.display().to_string(), &["--library-path", &self.libraries, "--list"]);
        let output = list.arg(file).output().with_context(|| format!("cannot start {list:?}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{list:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        libraries_in(&text).with_context(|| format!("{} does not find all its libraries:\n{text}", file.display()))
    }
}

/// What `ldd` and the loader's `--list` print: `NAME => FILE (ADDRESS)`. The loader itself has no such line, or names itself.
fn libraries_in(list: &str) -> Option<Vec<(String, PathBuf)>> {
    let pairs = list.lines().filter_map(|line| line.trim().split_once(" => "));
    let libraries = pairs.filter(|(name, _)| !name.ends_with(LOADER)).map(|(name, found)| {
        let file = found.split(" (").next().filter(|file| file.starts_with('/'))?;
        Some((name.to_owned(), PathBuf::from(file)))
    });
    libraries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_what_the_loader_lists() {
        let list = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibtinfo.so.6 => /r/lib/libtinfo.so.6 (0x00007f1)\n\t\
                    /lib64/ld-linux-x86-64.so.2 => /r/lib/ld-linux-x86-64.so.2 (0x00007f2)\n\tlibc.so.6 => /r o/lib/libc.so.6 (0x1)\n";
        let libraries = libraries_in(list).expect("all are there");
        let expected = [("libtinfo.so.6", "/r/lib/libtinfo.so.6"), ("libc.so.6", "/r o/lib/libc.so.6")];
        assert_eq!(libraries, expected.map(|(name, file)| (name.to_owned(), PathBuf::from(file))));
        assert_eq!(libraries_in("\tstatically linked\n"), Some(Vec::new()));
    }

    #[test]
    fn a_library_that_is_missing_is_noticed() {
        assert_eq!(libraries_in("\tlibisns.so.0 => not found\n"), None);
    }
}
