//! What no source file may hold.

use super::Violation;
use super::tokens::{Token, attributes_of, len_of_group, paths_of};
use super::tree::{File, Tree, matches};

/// How long a source file may be.
const LINES_AT_MOST: usize = 600;

/// The folders that have no I/O, clock, thread or operating system.
const PURE_FOLDERS: &[&str] = &["wire/*", "host/vss"];

/// What these folders may not name.
const IMPURE_PATHS: &[&str] = &[
    "std::net",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "std::os",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// What a `cfg` may not ask there.
const IMPURE_CONDITIONS: &[&str] = &["windows", "unix", "target_os", "target_family"];

/// Where `unsafe` may stand: both ends of COM and what tests them, the media module of the store, the foreign functions of librbd.
const UNSAFE_PLACES: &[&str] = &[
    "host/vss-com/src/",
    "host/provider-com/src/",
    "testing/windows/src/",
    "testing/windows/tests/",
    "array/store/src/media",
    "array/rbd/src/ffi",
];

/// Macros that stand for unfinished code.
const UNFINISHED: &[&str] = &["todo", "unimplemented"];

/// Attributes that silence a lint, for which a reason must be given.
const SILENCERS: &[&str] = &["allow", "expect"];

/// Host names of package registries, in pieces, so that this list is not a violation itself.
const REGISTRY_HOSTS: &[&[&str]] = &[
    &["deb", "debian", "org"],
    &["security", "debian", "org"],
    &["snapshot", "debian", "org"],
    &["archive", "ubuntu", "com"],
    &["static", "crates", "io"],
    &["index", "crates", "io"],
    &["static", "rust-lang", "org"],
    &["pypi", "org"],
    &["registry", "npmjs"],
    &["proxy", "golang", "org"],
];

/// Files that do not begin with `//!`.
pub(crate) fn missing_headers(tree: &Tree) -> Vec<Violation> {
    let without = tree.rust_files().filter(|file| !file.text.starts_with("//!"));
    without.map(|file| Violation::new(&file.path, "does not open with `//!`")).collect()
}

/// Files that are too long.
pub(crate) fn long_files(tree: &Tree) -> Vec<Violation> {
    let lengths = tree.rust_files().map(|file| (file, file.text.lines().count()));
    let long = lengths.filter(|(_, lines)| *lines > LINES_AT_MOST);
    long.map(|(file, lines)| Violation::new(&file.path, format!("has {lines} lines"))).collect()
}

/// I/O, clocks, threads and questions about the operating system in pure folders. Integration tests may read their captures.
pub(crate) fn impure_paths(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in tree.packages.iter().filter(|package| PURE_FOLDERS.iter().any(|pure| matches(pure, &package.folder)))
    {
        let sources = format!("{}/src", package.folder);
        for file in tree.rust_files().filter(|file| file.is_in(&sources)) {
            for path in paths_of(&file.tokens) {
                let is_impure = |impure: &&&str| {
                    path.text.strip_prefix(**impure).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
                };
                if let Some(impure) = IMPURE_PATHS.iter().find(is_impure) {
                    found.push(at(file, path.line, format!("names {impure}")));
                }
            }
            for (start, _) in
                file.tokens.iter().enumerate().filter(|(_, token)| ["cfg", "cfg_attr"].contains(&token.text.as_str()))
            {
                found.extend(impure_condition(file, start + 1));
            }
        }
    }
    found
}

/// `unsafe` outside its places.
pub(crate) fn unsafe_code(tree: &Tree) -> Vec<Violation> {
    let elsewhere = tree.rust_files().filter(|file| !UNSAFE_PLACES.iter().any(|place| file.path.starts_with(place)));
    let tokens = elsewhere.flat_map(|file| file.tokens.iter().map(move |token| (file, token)));
    tokens.filter(|(_, token)| token.text == "unsafe").map(|(file, token)| at(file, token.line, "unsafe")).collect()
}

/// Unfinished code, tests that are switched off, and lints that are silenced without a reason.
pub(crate) fn unfinished(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in tree.rust_files() {
        for pair in file.tokens.windows(2) {
            if UNFINISHED.contains(&pair[0].text.as_str()) && pair[1].text == "!" {
                found.push(at(file, pair[0].line, format!("{}!", pair[0].text)));
            }
        }
        for attribute in attributes_of(&file.tokens) {
            found.extend(attribute.iter().filter(|t| t.text == "ignore").map(|t| at(file, t.line, "an ignored test")));
            for (start, token) in attribute.iter().enumerate().filter(|(_, t)| SILENCERS.contains(&t.text.as_str())) {
                let has_reason =
                    attribute[start..].windows(2).any(|pair| pair[0].text == "reason" && pair[1].text == "=");
                if !has_reason {
                    found.push(at(file, token.line, format!("{} without a reason", token.text)));
                }
            }
        }
    }
    found
}

/// Host names of registries in any text file. The lock file is cargo's.
pub(crate) fn registry_hosts(tree: &Tree) -> Vec<Violation> {
    let hosts: Vec<String> = REGISTRY_HOSTS.iter().map(|labels| labels.join(".")).collect();
    let mut found = Vec::new();
    for file in tree.files.iter().filter(|file| !file.path.ends_with("Cargo.lock")) {
        for (line, text) in (1..).zip(file.text.lines()) {
            found.extend(
                hosts.iter().filter(|host| text.contains(*host)).map(|host| at(file, line, format!("names {host}"))),
            );
        }
    }
    found
}

/// What the condition in the parentheses at `start` asks of the operating system.
fn impure_condition(file: &File, start: usize) -> Option<Violation> {
    let start = if file.tokens.get(start)?.text == "!" { start + 1 } else { start };
    let rest = &file.tokens[start..];
    if rest.first()?.text != "(" {
        return None;
    }
    let condition: &[Token] = &rest[1..=len_of_group(&rest[1..])];
    let asked = condition.iter().find(|token| IMPURE_CONDITIONS.contains(&token.text.as_str()))?;
    Some(at(file, asked.line, format!("asks cfg({})", asked.text)))
}

fn at(file: &File, line: usize, what: impl Into<String>) -> Violation {
    Violation::new(format!("{}:{line}", file.path), what)
}
