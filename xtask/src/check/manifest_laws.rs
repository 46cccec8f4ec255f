//! Names, and the lints that each manifest must have.

use super::Violation;
use super::tree::{Package, Tree};

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["common", "util", "utils", "core", "base", "helper", "helpers", "manager", "managers", "types", "misc"];

/// Lints of the workspace that the house rules rest on, by section of the workspace's manifest.
const LINTS: &[(&str, &[&str])] = &[
    ("[workspace.lints.rust]", &["unsafe_code", "unsafe_op_in_unsafe_fn", "missing_docs", "unreachable_pub"]),
    (
        "[workspace.lints.clippy]",
        &[
            "undocumented_unsafe_blocks",
            "allow_attributes",
            "allow_attributes_without_reason",
            "cast_possible_truncation",
            "cast_possible_wrap",
            "cast_sign_loss",
            "host_endian_bytes",
            "unwrap_used",
            "panic",
            "dbg_macro",
            "todo",
            "unimplemented",
            "print_stdout",
            "print_stderr",
            "too_many_lines",
        ],
    ),
];

/// Packages that are not called after their folder. The command itself and the chores have short names.
pub(crate) fn misnamed_packages(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in &tree.packages {
        let folder = package.folder.rsplit('/').next().unwrap_or_default();
        let right = match package.folder.as_str() {
            "apps/lunshadow" | "xtask" => folder.to_owned(),
            _ => format!("lunshadow-{folder}"),
        };
        if package.name != right {
            found.push(Violation::new(&package.folder, format!("is called {}, not {right}", package.name)));
        }
    }
    found
}

/// Crates and modules whose names say nothing: folders on the way to a source file, and the file itself.
pub(crate) fn empty_names(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in tree.rust_files() {
        let mut parts = file.path.split(['/', '-', '_', '.']);
        if let Some(name) = parts.find(|part| EMPTY_NAMES.contains(part)) {
            found.push(Violation::new(&file.path, format!("has {name} in its name")));
        }
        for pair in file.tokens.windows(2).filter(|pair| pair[0].text == "mod") {
            if EMPTY_NAMES.contains(&pair[1].text.as_str()) {
                let place = format!("{}:{}", file.path, pair[1].line);
                found.push(Violation::new(place, format!("a module is called {}", pair[1].text)));
            }
        }
    }
    found
}

/// Crates without the workspace's lints, and lints that the workspace lacks.
pub(crate) fn missing_lints(tree: &Tree) -> Vec<Violation> {
    let mut found: Vec<Violation> = tree.packages.iter().filter_map(|package| without_lints(tree, package)).collect();
    let workspace = tree.file("Cargo.toml").map_or("", |file| file.text.as_str());
    for (section, lints) in LINTS {
        let keys: Vec<&str> =
            section_of(workspace, section).filter_map(|line| line.split_once('=')).map(|(key, _)| key.trim()).collect();
        for lint in lints.iter().filter(|lint| !keys.contains(lint)) {
            found.push(Violation::new("Cargo.toml", format!("{section} lacks {lint}")));
        }
    }
    found
}

fn without_lints(tree: &Tree, package: &Package) -> Option<Violation> {
    let path = format!("{}/Cargo.toml", package.folder);
    let manifest = tree.file(&path).map_or("", |file| file.text.as_str());
    let inherits = section_of(manifest, "[lints]").any(|line| line.replace(' ', "") == "workspace=true");
    (!inherits).then(|| Violation::new(path, "does not inherit the workspace's lints"))
}

/// The lines of one section of a manifest.
fn section_of<'a>(manifest: &'a str, section: &str) -> impl Iterator<Item = &'a str> {
    let after = manifest.lines().skip_while(move |line| line.trim() != section).skip(1);
    after.map(str::trim).take_while(|line| !line.starts_with('['))
}
