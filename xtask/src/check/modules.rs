//! Which source files the crates are made of.

use std::collections::BTreeSet;

use super::Violation;
use super::tokens::Token;
use super::tree::{File, Tree};

/// A `mod name;`, which means another file.
#[derive(Debug, PartialEq, Eq)]
struct Declaration {
    /// The inline modules around it, then its name.
    segments: Vec<String>,
    /// What a `#[path]` attribute says.
    path: Option<String>,
}

/// Source files that no crate reaches.
pub(crate) fn orphans(tree: &Tree) -> Vec<Violation> {
    let roots: BTreeSet<&str> = tree.packages.iter().flat_map(|package| &package.roots).map(String::as_str).collect();
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = roots.iter().copied().collect();
    while let Some(path) = next.pop() {
        let Some(file) = tree.file(path) else { continue };
        if !reached.insert(path) {
            continue;
        }
        for declaration in declarations_of(&file.tokens) {
            let candidates = candidates_of(file, roots.contains(path), &declaration);
            next.extend(
                candidates.iter().filter_map(|candidate| tree.file(candidate)).map(|found| found.path.as_str()),
            );
        }
    }
    // The fuzz targets are a workspace of their own, since they are built with flags of their own.
    let ours = tree.rust_files().filter(|file| !file.path.starts_with("fuzz/"));
    let unreached = ours.filter(|file| !reached.contains(file.path.as_str()));
    unreached.map(|file| Violation::new(&file.path, "no crate has this module")).collect()
}

/// Where the file of a declared module may lie (Rust Reference, "Modules", module source file names).
fn candidates_of(file: &File, is_root: bool, declaration: &Declaration) -> Vec<String> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    if let Some(path) = &declaration.path {
        return vec![format!("{folder}/{path}")];
    }
    let stem = name.trim_end_matches(".rs");
    let inside = if is_root || stem == "mod" { folder.to_owned() } else { format!("{folder}/{stem}") };
    let module = declaration.segments.join("/");
    vec![format!("{inside}/{module}.rs"), format!("{inside}/{module}/mod.rs")]
}

fn declarations_of(tokens: &[Token]) -> Vec<Declaration> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut declarations = Vec::new();
    // For each open brace the inline module that it belongs to, if any.
    let mut around: Vec<Option<String>> = Vec::new();
    let mut path = None;
    for at in 0..tokens.len() {
        match text(at) {
            "{" => around.push((at >= 2 && text(at - 2) == "mod").then(|| text(at - 1).to_owned())),
            "}" => drop(around.pop()),
            "path" if text(at + 1) == "=" && at > 0 && text(at - 1) == "[" => {
                path = Some(text(at + 2).trim_matches('"').to_owned());
            }
            "mod" if text(at + 2) == ";" => {
                let mut segments: Vec<String> = around.iter().flatten().cloned().collect();
                segments.push(text(at + 1).to_owned());
                declarations.push(Declaration { segments, path: path.take() });
            }
            _ => {}
        }
    }
    declarations
}
