//! Who may depend on whom.

use std::collections::BTreeSet;

use super::Violation;
use super::tokens::paths_of;
use super::tree::{Dependency, File, Package, Tree, matches};

/// What a folder may depend on, of what is ours.
struct Arrows {
    from: &'static str,
    to: &'static [&'static str],
}

/// The arrows between the folders. The first row that names a folder holds for it; a folder without a row may not exist.
///
/// `wire/*` is open to all, since it is what travels between all. Tests of any crate may use `testing/*` besides. Nobody but
/// `apps/*` and `testing/*` has a row that names both `host/` and `array/`, or a concrete pool. Apps do not depend on each other, but for what
/// several of them are made of.
const ARROWS: &[Arrows] = &[
    Arrows { from: "wire/*", to: &["wire/*"] },
    Arrows { from: "host/vss", to: &["wire/*"] },
    Arrows { from: "host/array-client", to: &["wire/*"] },
    Arrows { from: "host/provider", to: &["wire/*", "host/vss", "host/array-client"] },
    Arrows { from: "host/vss-com", to: &["wire/*", "host/vss"] },
    Arrows {
        from: "host/provider-com",
        to: &["wire/*", "host/vss", "host/vss-com", "host/array-client", "host/provider"],
    },
    Arrows { from: "host/initiator", to: &["wire/*"] },
    Arrows { from: "host/coordinator", to: &["wire/*", "host/vss", "host/initiator"] },
    Arrows { from: "host/diskshadow", to: &["wire/*", "host/vss", "host/coordinator"] },
    Arrows { from: "host/conform", to: &["wire/*", "host/vss", "host/coordinator"] },
    Arrows { from: "array/lun", to: &["wire/*"] },
    Arrows { from: "array/store", to: &["wire/*", "array/lun"] },
    Arrows { from: "array/rbd", to: &["wire/*", "array/lun"] },
    Arrows { from: "array/catalog", to: &["wire/*", "array/lun"] },
    Arrows { from: "array/target", to: &["wire/*", "array/lun"] },
    Arrows { from: "array/server", to: &["wire/*", "array/lun", "array/catalog"] },
    Arrows { from: "apps/rehearsal", to: &["wire/*", "host/vss", "host/coordinator", "host/diskshadow"] },
    Arrows { from: "apps/*", to: &["wire/*", "host/*", "array/*", "apps/rehearsal"] },
    Arrows { from: "testing/*", to: &["wire/*", "host/*", "array/*", "apps/*", "testing/*"] },
    Arrows { from: "fuzz", to: &["wire/*", "host/*", "array/*", "testing/*"] },
    Arrows { from: "xtask", to: &[] },
];

/// Foreign crates that some folders may not use, for tests or not.
struct Ban {
    crates: &'static [&'static str],
    folders: &'static [&'static str],
    why: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        crates: &["anyhow", "eyre"],
        folders: &["wire/*", "host/*", "array/*"],
        why: "an error without variants leaves a caller nothing to act on",
    },
    Ban {
        crates: &["tokio", "mio", "async-std", "smol", "socket2", "rustix", "nix", "libc"],
        folders: &["wire/*", "host/vss"],
        why: "no I/O, clock, thread or operating system here",
    },
    Ban {
        crates: &["windows", "windows-sys", "windows-core", "windows-service"],
        folders: &["wire/*", "host/vss", "host/provider", "host/array-client", "host/initiator", "array/*"],
        why: "Windows is behind host/vss-com and host/provider-com",
    },
];

/// Dependencies on our own crates that no arrow goes along.
pub(crate) fn against_the_arrows(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in &tree.packages {
        let Some(arrows) = ARROWS.iter().find(|arrows| matches(arrows.from, &package.folder)) else {
            found.push(Violation::new(&package.folder, "no arrows are written down for this folder"));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(to) = &dependency.folder else { continue };
            let may = arrows.to.iter().any(|pattern| matches(pattern, to));
            let test_only = dependency.dev && matches("testing/*", to);
            if !may && !test_only {
                let allowed = if arrows.to.is_empty() { "nothing of ours".to_owned() } else { arrows.to.join(", ") };
                found.push(Violation::new(
                    &package.folder,
                    format!("depends on {to}, but may depend on {allowed} only"),
                ));
            }
        }
    }
    found
}

/// Foreign crates where they do not belong.
pub(crate) fn misplaced_crates(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in &tree.packages {
        for dependency in &package.dependencies {
            let ban = BANS.iter().find(|ban| {
                ban.crates.contains(&dependency.package.as_str())
                    && ban.folders.iter().any(|pattern| matches(pattern, &package.folder))
            });
            if let Some(ban) = ban {
                let what = format!("depends on {}, but {}", dependency.package, ban.why);
                found.push(Violation::new(&package.folder, what));
            }
        }
    }
    found
}

/// Dependencies whose crate no path of the package's code begins with: for dependencies of the library or program the code
/// outside tests, benches and examples counts.
pub(crate) fn unused(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in &tree.packages {
        let (built, extra): (Vec<&File>, Vec<&File>) =
            tree.rust_files().filter(|file| file.is_in(&package.folder)).partition(|file| {
                !["tests", "benches", "examples"].iter().any(|part| file.is_in(&format!("{}/{part}", package.folder)))
            });
        let built = crates_used(&built);
        let extra = crates_used(&extra);
        let is_used = |dependency: &Dependency| {
            built.contains(&dependency.crate_name) || (dependency.dev && extra.contains(&dependency.crate_name))
        };
        found.extend(unused_of(package, is_used));
    }
    found
}

fn unused_of(package: &Package, is_used: impl Fn(&Dependency) -> bool) -> Vec<Violation> {
    let unused = package.dependencies.iter().filter(|dependency| !is_used(dependency));
    unused.map(|dependency| Violation::new(&package.folder, format!("does not use {}", dependency.package))).collect()
}

/// The first segments of all paths that have more than one, and whatever follows `use`.
fn crates_used(files: &[&File]) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for file in files {
        let in_paths = paths_of(&file.tokens)
            .into_iter()
            .filter_map(|path| path.text.split_once("::").map(|(first, _)| first.to_owned()));
        used.extend(in_paths);
        // `use a::{…}` is spread out above; this is for `use a;` and `use a as b;`.
        let imported = file.tokens.windows(2).filter(|pair| pair[0].text == "use").map(|pair| pair[1].text.clone());
        used.extend(imported);
    }
    used
}
