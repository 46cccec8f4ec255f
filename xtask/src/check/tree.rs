//! What the laws look at: packages and files, as plain data.

use std::path::Path;

use anyhow::{Context, ensure};
use cargo_metadata::{DependencyKind, MetadataCommand};

use super::tokens::{Token, tokens_of};
use crate::command::program;

/// The whole tree. All paths are relative to its root and have forward slashes.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// The members of the workspace.
    pub(crate) packages: Vec<Package>,
    /// Every file that is or can be committed and is text.
    pub(crate) files: Vec<File>,
}

/// One member of the workspace.
#[derive(Debug, Default)]
pub(crate) struct Package {
    /// The name in the manifest.
    pub(crate) name: String,
    /// Where it is, such as `array/store`.
    pub(crate) folder: String,
    /// What it depends on.
    pub(crate) dependencies: Vec<Dependency>,
    /// The files at which its crates begin: `lib.rs`, `main.rs`, each test.
    pub(crate) roots: Vec<String>,
}

/// One line of a manifest's dependencies.
#[derive(Debug)]
pub(crate) struct Dependency {
    /// The name by which the code calls it.
    pub(crate) crate_name: String,
    /// The package.
    pub(crate) package: String,
    /// Its folder, if it is ours.
    pub(crate) folder: Option<String>,
    /// Whether only tests, benches and examples see it.
    pub(crate) dev: bool,
}

/// One text file.
#[derive(Debug)]
pub(crate) struct File {
    /// Where it is.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
    /// Its code without comments, if it is Rust that can be read.
    pub(crate) tokens: Vec<Token>,
}

impl Tree {
    /// Reads the tree of the workspace that we are in.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
        let root = metadata.workspace_root.as_std_path();
        let relative = |path: &Path| -> anyhow::Result<String> {
            let inside = path.strip_prefix(root).with_context(|| format!("{} is not in the tree", path.display()))?;
            Ok(inside.to_string_lossy().replace('\\', "/"))
        };
        let mut packages = Vec::new();
        for package in metadata.workspace_packages() {
            let folder = package.manifest_path.parent().context("a manifest lies in a folder")?;
            let mut dependencies = Vec::new();
            for dependency in &package.dependencies {
                let called = dependency.rename.as_deref().unwrap_or(&dependency.name);
                dependencies.push(Dependency {
                    crate_name: called.replace('-', "_"),
                    package: dependency.name.clone(),
                    folder: dependency.path.as_ref().map(|path| relative(path.as_std_path())).transpose()?,
                    dev: dependency.kind == DependencyKind::Development,
                });
            }
            packages.push(Package {
                name: package.name.to_string(),
                folder: relative(folder.as_std_path())?,
                dependencies,
                roots: package.targets.iter().map(|t| relative(t.src_path.as_std_path())).collect::<Result<_, _>>()?,
            });
        }
        Ok(Self { packages, files: read_files(root)? })
    }

    /// The Rust files.
    pub(crate) fn rust_files(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    /// The file at a path.
    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl File {
    /// A file with this text. Rust that cannot be split into tokens has none; the compiler says more about it than we could.
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let mut file = Self { path: path.into(), text: text.into(), tokens: Vec::new() };
        if file.is_rust() {
            file.tokens = tokens_of(&file.text).unwrap_or_default();
        }
        file
    }

    /// Whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it lies in the folder, at any depth.
    pub(crate) fn is_in(&self, folder: &str) -> bool {
        self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// The files that git knows or would take, less the deleted ones and those that are not text.
fn read_files(root: &Path) -> anyhow::Result<Vec<File>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = program("git", &arguments).current_dir(root).output().context("cannot start git")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let paths = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    let mut files = Vec::new();
    for path in paths.split_terminator('\0') {
        let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File::new(path, text));
        }
    }
    Ok(files)
}

/// Whether a folder is meant by a pattern: `wire/*` means every folder in `wire`, anything else itself.
pub(crate) fn matches(pattern: &str, folder: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some(parent) => folder.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/')),
        None => pattern == folder,
    }
}
