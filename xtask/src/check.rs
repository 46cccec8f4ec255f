//! `cargo xtask check`: the laws of the tree.
//!
//! A law is a function from the [`Tree`], which is plain data, to the [`Violation`]s that it found. So each is tested with a
//! planted violation and needs no files.

mod dependency_laws;
mod iscsi_coverage;
mod manifest_laws;
mod modules;
mod source_laws;
#[cfg(test)]
mod tests;
mod tokens;
mod tree;

use std::path::Path;

use anyhow::{Context, bail};

use tree::Tree;

/// One thing that is against a law.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    /// The file, with a line where there is one, or the folder of the crate.
    place: String,
    /// What is wrong there.
    what: String,
}

impl Violation {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

struct Law {
    /// The law, as one says it.
    text: &'static str,
    /// What to do about a violation.
    remedy: &'static str,
    find: fn(&Tree) -> Vec<Violation>,
}

/// Every law of the tree.
const LAWS: &[Law] = &[
    Law {
        text: "dependencies follow the arrows between the folders",
        remedy: "turn the dependency round or put a trait between the two; the arrows are drawn in ARCHITECTURE.md and written \
                 down in xtask/src/check/dependency_laws.rs",
        find: dependency_laws::against_the_arrows,
    },
    Law {
        text: "what is bound to a program or to an operating system stays out of the libraries",
        remedy: "give errors a thiserror enum, and leave I/O, clocks and threads to the caller",
        find: dependency_laws::misplaced_crates,
    },
    Law {
        text: "every dependency is used",
        remedy: "remove it from Cargo.toml, or move it to dev-dependencies if only tests use it",
        find: dependency_laws::unused,
    },
    Law {
        text: "a package is called lunshadow-<folder>",
        remedy: "rename the package or its folder",
        find: manifest_laws::misnamed_packages,
    },
    Law {
        text: "nothing is called common, util, core, base, helper, manager or types",
        remedy: "name it after what it provides",
        find: manifest_laws::empty_names,
    },
    Law {
        text: "every crate has the workspace's lints, and these are complete",
        remedy: "add `[lints] workspace = true` to the crate, or the lint to the workspace's Cargo.toml",
        find: manifest_laws::missing_lints,
    },
    Law {
        text: "every source file is part of a crate",
        remedy: "declare the module or delete the file",
        find: modules::orphans,
    },
    Law {
        text: "every source file says in its first line what it is for",
        remedy: "open the file with a `//!` comment",
        find: source_laws::missing_headers,
    },
    Law {
        text: "no source file is longer than 600 lines",
        remedy: "split it along a real seam",
        find: source_laws::long_files,
    },
    Law {
        text: "wire/* and host/vss know no I/O, clock, thread or operating system",
        remedy: "take bytes and times as arguments, return bytes and decisions",
        find: source_laws::impure_paths,
    },
    Law {
        text: "unsafe stands in the named places only",
        remedy: "do it safely; the places are named in xtask/src/check/source_laws.rs",
        find: source_laws::unsafe_code,
    },
    Law {
        text: "nothing is unfinished, switched off or allowed without a reason",
        remedy: "finish it; for a lint use `#[expect(…, reason = \"…\")]`",
        find: source_laws::unfinished,
    },
    Law {
        text: "no host names of package registries",
        remedy: "leave the choice of registry to the machine's own set-up",
        find: source_laws::registry_hosts,
    },
    Law {
        text: "what RFC 7143 asks of a target is cited where it is done and where it is proved, and docs/iscsi_coverage.md says where",
        remedy: "cite it in the same words at both places, then `cargo xtask coverage`",
        find: iscsi_coverage::gaps,
    },
];

/// Writes the page of what RFC 7143 asks of a target.
pub(crate) fn write_coverage() -> anyhow::Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(iscsi_coverage::PAGE);
    std::fs::write(&page, iscsi_coverage::page(&Tree::read()?)).with_context(|| page.display().to_string())
}

/// Checks the tree that we are in.
pub(crate) fn run() -> anyhow::Result<()> {
    let tree = Tree::read()?;
    let mut found = 0;
    for law in LAWS {
        let violations = (law.find)(&tree);
        if violations.is_empty() {
            continue;
        }
        println!("against the law: {}", law.text);
        for Violation { place, what } in &violations {
            println!("  {place}: {what}");
        }
        println!("  what to do: {}\n", law.remedy);
        found += violations.len();
    }
    if found > 0 {
        bail!("{found} violations of the tree's laws");
    }
    println!(
        "{} laws hold in {} crates and {} source files",
        LAWS.len(),
        tree.packages.len(),
        tree.rust_files().count()
    );
    Ok(())
}
