//! `apt-get` with a state of its own: it downloads from where this machine's packages come from, installs nothing, and needs no rights.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::command::{output_of, program, run};

/// Depends on the kernel of a release, and has nothing else.
pub(super) const KERNEL: &str = "linux-image-amd64";

/// Debian's kernels have their own NTFS from this version on. Of older releases the one from the backports is taken.
const NTFS_SINCE: (u32, u32) = (6, 12);

/// Where the sources of packages are named that a machine has no folder for.
const SOURCES: &str = "/etc/apt/sources.list";

/// The state, below one folder.
pub(super) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Learns which packages there are.
    pub(super) fn new(folder: PathBuf) -> anyhow::Result<Self> {
        for part in ["archives/partial", "lists/partial"] {
            fs::create_dir_all(folder.join(part))?;
        }
        // Nothing is installed: so libraries are downloaded although this machine has them.
        fs::write(folder.join("status"), "")?;
        fs::write(folder.join("sources.list"), fs::read_to_string(SOURCES).unwrap_or_default())?;
        let apt = Self { folder };
        apt.update()?;
        Ok(apt)
    }

    /// Where the packages are when they are downloaded.
    pub(super) fn archives(&self) -> PathBuf {
        self.folder.join("archives")
    }

    /// Downloads packages and all that they need.
    pub(super) fn download_with_libraries(&self, packages: &[&str]) -> anyhow::Result<()> {
        let mut install = self.apt_get(&["--no-install-recommends", "--download-only", "install"]);
        run(install.args(packages)).context("the packages for the guests cannot be downloaded")
    }

    /// Downloads a kernel that knows NTFS, and answers the name of its package.
    pub(super) fn download_kernel(&self) -> anyhow::Result<String> {
        let mut kernel = self.kernel_of(None)?;
        if version_in(&kernel).is_none_or(|version| version < NTFS_SINCE) {
            let backports = self.add_backports()?;
            kernel = self.kernel_of(Some(&backports))?;
        }
        let version = version_in(&kernel).with_context(|| format!("{kernel} has no version"))?;
        ensure!(version >= NTFS_SINCE, "{kernel} is too old: Linux {}.{} knows NTFS", NTFS_SINCE.0, NTFS_SINCE.1);
        run(self.apt_get(&["download", &kernel]).current_dir(self.archives()))
            .with_context(|| format!("{kernel} cannot be downloaded"))?;
        Ok(kernel)
    }

    /// The package that the meta package depends on, by default in the release of this machine.
    fn kernel_of(&self, release: Option<&str>) -> anyhow::Result<String> {
        let mut depends = self.with_state("apt-cache", &["depends", KERNEL]);
        if let Some(release) = release {
            depends.args(["-o", &format!("APT::Default-Release={release}")]);
        }
        let said = output_of(&mut depends).with_context(|| format!("there is no package {KERNEL} here"))?;
        let kernel = kernel_in(&said).with_context(|| format!("{KERNEL} depends on no kernel:\n{said}"))?;
        Ok(kernel.to_owned())
    }

    /// Adds the backports, which are where the release itself is, and answers their name.
    fn add_backports(&self) -> anyhow::Result<String> {
        let os = fs::read_to_string("/etc/os-release").context("/etc/os-release")?;
        let release = release_in(&os).context("/etc/os-release names no release")?;
        let mut targets = self.with_state("apt-get", &["indextargets", "--format", "$(CODENAME) $(REPO_URI)"]);
        let said = output_of(&mut targets).context("apt-get indextargets fails")?;
        let uri = said.lines().find_map(|line| line.strip_prefix(&format!("{release} ")));
        let uri = uri.with_context(|| format!("the sources of packages have no {release}"))?;
        let path = self.folder.join("sources.list");
        let sources = fs::read_to_string(&path)?;
        let backports = format!("{release}-backports");
        fs::write(&path, format!("{sources}\ndeb {uri} {backports} main\n"))?;
        self.update()?;
        Ok(backports)
    }

    fn update(&self) -> anyhow::Result<()> {
        run(&mut self.apt_get(&["update"])).context("the lists of packages cannot be downloaded")
    }

    fn apt_get(&self, arguments: &[&str]) -> Command {
        let mut command = self.with_state("apt-get", &["--quiet=2", "--yes"]);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn with_state(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = program(name, arguments);
        let own = |option: &str, path: &str| format!("{option}={}", self.folder.join(path).display());
        for option in [
            own("Dir::Etc::sourcelist", "sources.list"),
            own("Dir::State::lists", "lists"),
            own("Dir::State::status", "status"),
            own("Dir::Cache::archives", "archives"),
            "Dir::Cache::pkgcache=".to_owned(),
            "Dir::Cache::srcpkgcache=".to_owned(),
            "Debug::NoLocking=true".to_owned(),
            // Root's downloads would be another user's work, who may not write here.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

/// Whether packages are unpacked on this machine as on Debian.
pub(super) fn is_here(architecture: &str) -> bool {
    output_of(&mut program("dpkg", &["--print-architecture"])).is_some_and(|found| found.trim() == architecture)
}

/// Unpacks a package.
pub(super) fn unpack(package: &Path, root: &Path) -> anyhow::Result<()> {
    run(program("dpkg", &["-x"]).arg(package).arg(root))
}

/// The package of the kernel in what `apt-cache depends` prints.
fn kernel_in(depends: &str) -> Option<&str> {
    let mut names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.find(|name| name.starts_with("linux-image-"))
}

/// The version in the name of a kernel's package.
fn version_in(kernel: &str) -> Option<(u32, u32)> {
    let mut numbers = kernel.strip_prefix("linux-image-")?.split(['.', '+', '-']).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The code name in `/etc/os-release`.
fn release_in(os: &str) -> Option<&str> {
    os.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).map(|name| name.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_what_the_meta_package_depends_on() {
        let depends = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n  Suggests: x\n";
        assert_eq!(kernel_in(depends), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(kernel_in("linux-image-amd64\n"), None);
    }

    #[test]
    fn versions_of_kernels_are_compared_as_numbers() {
        assert_eq!(version_in("linux-image-6.1.0-56-amd64"), Some((6, 1)));
        assert!(version_in("linux-image-6.1.0-56-amd64") < Some(NTFS_SINCE));
        assert!(version_in("linux-image-6.12.95+deb12-amd64") >= Some(NTFS_SINCE));
        assert_eq!(version_in("linux-image-7.0+1-amd64"), Some((7, 0)));
        assert_eq!(version_in("linux-image-amd64"), None);
    }

    #[test]
    fn the_release_is_found() {
        assert_eq!(release_in("NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n"), Some("bookworm"));
        assert_eq!(release_in("VERSION_CODENAME=\"trixie\"\n"), Some("trixie"));
        assert_eq!(release_in("ID=debian\n"), None);
    }
}
