//! Each law finds a planted violation, and leaves alone what only looks like one.

use super::tree::{Dependency, File, Package, Tree};
use super::{LAWS, Violation, dependency_laws, iscsi_coverage, manifest_laws, modules, source_laws};

/// A package in `folder`, properly named, with one root and its manifest.
fn package(folder: &str) -> Package {
    let name = folder.rsplit('/').next().unwrap_or_default();
    Package {
        name: format!("lunshadow-{name}"),
        folder: folder.to_owned(),
        dependencies: Vec::new(),
        roots: vec![format!("{folder}/src/lib.rs")],
    }
}

fn ours(folder: &str) -> Dependency {
    let name = folder.rsplit('/').next().unwrap_or_default();
    Dependency {
        crate_name: format!("lunshadow_{}", name.replace('-', "_")),
        package: format!("lunshadow-{name}"),
        folder: Some(folder.to_owned()),
        dev: false,
    }
}

fn foreign(name: &str) -> Dependency {
    Dependency { crate_name: name.replace('-', "_"), package: name.to_owned(), folder: None, dev: false }
}

fn dev(dependency: Dependency) -> Dependency {
    Dependency { dev: true, ..dependency }
}

fn depending(folder: &str, dependency: Dependency) -> Tree {
    Tree { packages: vec![Package { dependencies: vec![dependency], ..package(folder) }], files: Vec::new() }
}

fn with_file(folder: &str, path: &str, text: &str) -> Tree {
    Tree { packages: vec![package(folder)], files: vec![File::new(format!("{folder}/{path}"), text)] }
}

fn check(find: fn(&Tree) -> Vec<Violation>, tree: &Tree, expected: &[(&str, &str)]) {
    let expected: Vec<Violation> = expected.iter().map(|(place, what)| Violation::new(*place, *what)).collect();
    assert_eq!(find(tree), expected);
}

/// That the law finds something, or nothing, in a tree with just this dependency.
fn check_dependency(find: fn(&Tree) -> Vec<Violation>, folder: &str, dependency: Dependency, is_lawful: bool) {
    let tree = depending(folder, dependency);
    let dependency = &tree.packages[0].dependencies[0];
    assert_eq!(find(&tree).is_empty(), is_lawful, "{folder} -> {dependency:?}");
}

#[test]
fn the_arrows_go_one_way() {
    let cases = [
        ("wire/control", "wire/scsi", true),
        ("wire/control", "array/lun", false),
        ("host/vss", "wire/control", true),
        ("host/vss", "host/provider", false),
        ("host/provider", "host/vss", true),
        ("host/provider", "host/coordinator", false),
        ("host/coordinator", "host/provider", false),
        ("host/coordinator", "host/initiator", true),
        ("host/initiator", "array/target", false),
        ("array/target", "array/lun", true),
        ("array/target", "array/store", false),
        ("array/target", "array/rbd", false),
        ("array/catalog", "array/store", false),
        ("array/store", "array/catalog", false),
        ("array/lun", "host/vss", false),
        ("array/store", "apps/lunshadow", false),
        ("apps/lunshadow", "array/store", true),
        ("apps/lunshadow", "host/provider", true),
        ("apps/lunshadow", "testing/end-to-end", false),
        ("testing/end-to-end", "apps/lunshadow", true),
        ("xtask", "wire/scsi", false),
    ];
    for (from, to, is_lawful) in cases {
        check_dependency(dependency_laws::against_the_arrows, from, ours(to), is_lawful);
    }
}

#[test]
fn tests_may_use_the_suites_but_not_turn_an_arrow_round() {
    let find = dependency_laws::against_the_arrows;
    check_dependency(find, "array/store", dev(ours("testing/lun-conformance")), true);
    check_dependency(find, "array/store", ours("testing/lun-conformance"), false);
    check_dependency(find, "array/target", dev(ours("array/store")), false);
}

#[test]
fn a_folder_without_arrows_is_found() {
    let tree = Tree { packages: vec![package("array/cache")], files: Vec::new() };
    check(dependency_laws::against_the_arrows, &tree, &[("array/cache", "no arrows are written down for this folder")]);
}

#[test]
fn foreign_crates_stay_where_they_belong() {
    let cases = [
        ("array/store", foreign("anyhow"), false),
        ("array/store", dev(foreign("anyhow")), false),
        ("apps/lunshadow", foreign("anyhow"), true),
        ("testing/end-to-end", foreign("anyhow"), true),
        ("xtask", foreign("anyhow"), true),
        ("wire/iscsi", foreign("tokio"), false),
        ("host/vss", dev(foreign("tokio")), false),
        ("host/initiator", foreign("tokio"), true),
        ("host/provider", foreign("windows"), false),
        ("host/provider-com", foreign("windows"), true),
    ];
    for (folder, dependency, is_lawful) in cases {
        check_dependency(dependency_laws::misplaced_crates, folder, dependency, is_lawful);
    }
}

#[test]
fn unused_dependencies_are_found() {
    let find = dependency_laws::unused;
    let tree = |dependency: Dependency, path: &str, text: &str| Tree {
        packages: vec![Package { dependencies: vec![dependency], ..package("array/store") }],
        files: vec![
            File::new(format!("array/store/{path}"), text),
            File::new("array/target/src/lib.rs", "use uuid::X;"),
        ],
    };
    let unused = [("array/store", "does not use uuid")];
    check(find, &tree(foreign("uuid"), "src/lib.rs", "//! uuid::Uuid\nlet uuid = \"uuid::Uuid\";"), &unused);
    check(find, &tree(foreign("uuid"), "tests/it.rs", "use uuid::Uuid;"), &unused);
    check(find, &tree(dev(foreign("uuid")), "tests/it.rs", "use uuid::Uuid;"), &[]);
    check(find, &tree(foreign("uuid"), "src/lib.rs", "fn id() -> Vec<uuid::Uuid> {}"), &[]);
    check(find, &tree(foreign("ext4-view"), "src/lib.rs", "use ext4_view;"), &[]);
}

#[test]
fn packages_are_called_after_their_folders() {
    let mut tree = Tree { packages: vec![package("array/store")], files: Vec::new() };
    check(manifest_laws::misnamed_packages, &tree, &[]);
    tree.packages[0].name = "store".to_owned();
    check(manifest_laws::misnamed_packages, &tree, &[("array/store", "is called store, not lunshadow-store")]);
    tree.packages[0] = Package { name: "xtask".to_owned(), ..package("xtask") };
    check(manifest_laws::misnamed_packages, &tree, &[]);
}

#[test]
fn empty_names_are_found() {
    let find = manifest_laws::empty_names;
    check(
        find,
        &with_file("array/store", "src/utils.rs", ""),
        &[("array/store/src/utils.rs", "has utils in its name")],
    );
    check(find, &with_file("wire/core", "src/lib.rs", "//! x\n"), &[("wire/core/src/lib.rs", "has core in its name")]);
    check(
        find,
        &with_file("array/store", "src/lib.rs", "//! x\nmod helpers {}"),
        &[("array/store/src/lib.rs:2", "a module is called helpers")],
    );
    check(find, &with_file("array/store", "src/database.rs", "use std::core::X;"), &[]);
}

#[test]
fn missing_lints_are_found() {
    let complete = include_str!("../../../Cargo.toml");
    let tree = |workspace: &str, manifest: &str| Tree {
        packages: vec![package("array/store")],
        files: vec![File::new("Cargo.toml", workspace), File::new("array/store/Cargo.toml", manifest)],
    };
    let find = manifest_laws::missing_lints;
    check(find, &tree(complete, "[lints]\nworkspace = true\n"), &[]);
    let lacking = [("array/store/Cargo.toml", "does not inherit the workspace's lints")];
    check(find, &tree(complete, "[package]\n"), &lacking);
    check(find, &tree(complete, "[lints]\n[dependencies]\nworkspace = true\n"), &lacking);
    let without = complete.replace("unwrap_used = ", "# ");
    check(
        find,
        &tree(&without, "[lints]\nworkspace = true\n"),
        &[("Cargo.toml", "[workspace.lints.clippy] lacks unwrap_used")],
    );
}

#[test]
fn orphans_are_found() {
    let files = |root: &str| {
        let paths =
            ["src/lib.rs", "src/map.rs", "src/map/page.rs", "src/log/mod.rs", "src/log/record.rs", "src/odd-name.rs"];
        let texts = [root, "mod page;", "//! x", "mod record;", "//! x", "//! x"];
        let files = paths.iter().zip(texts).map(|(path, text)| File::new(format!("array/store/{path}"), text));
        Tree { packages: vec![package("array/store")], files: files.collect() }
    };
    let whole = "mod map; pub(crate) mod log; #[path = \"odd-name.rs\"] mod odd;";
    check(modules::orphans, &files(whole), &[]);
    let orphaned = "mod map; mod log; // mod odd;\n";
    check(modules::orphans, &files(orphaned), &[("array/store/src/odd-name.rs", "no crate has this module")]);
    let nested = "mod map { mod page; } mod log; #[path = \"odd-name.rs\"] mod odd;";
    check(modules::orphans, &files(nested), &[("array/store/src/map.rs", "no crate has this module")]);
}

#[test]
fn headers_and_lengths_are_checked() {
    let path = "array/store/src/lib.rs";
    let bare = with_file("array/store", "src/lib.rs", "// no header\n");
    check(source_laws::missing_headers, &bare, &[(path, "does not open with `//!`")]);
    check(source_laws::missing_headers, &with_file("array/store", "src/lib.rs", "//! It does.\n"), &[]);
    let lines = |count: usize| with_file("array/store", "src/lib.rs", &"//! x\n".repeat(count));
    check(source_laws::long_files, &lines(600), &[]);
    check(source_laws::long_files, &lines(601), &[(path, "has 601 lines")]);
}

#[test]
fn impure_code_is_found_in_pure_folders_only() {
    let find = source_laws::impure_paths;
    let impure = [
        ("use std::fs;", "names std::fs"),
        ("use std::{io, net::TcpStream};", "names std::net"),
        ("fn f() { ::std::thread::spawn(g); }", "names std::thread"),
        ("use std::time::{Duration, Instant};", "names std::time::Instant"),
        ("fn f() -> std::time::SystemTime {}", "names std::time::SystemTime"),
        ("#[cfg(windows)] fn f() {}", "asks cfg(windows)"),
        ("fn f() -> bool { cfg!(all(test, target_os = \"linux\")) }", "asks cfg(target_os)"),
    ];
    for (text, what) in impure {
        check(find, &with_file("wire/iscsi", "src/pdu.rs", text), &[("wire/iscsi/src/pdu.rs:1", what)]);
        check(find, &with_file("host/vss", "src/ids.rs", text), &[("host/vss/src/ids.rs:1", what)]);
        check(find, &with_file("array/store", "src/lib.rs", text), &[]);
        check(find, &with_file("wire/iscsi", "tests/captures.rs", text), &[]);
    }
    let pure =
        "//! std::fs\nuse std::{fmt, time::Duration};\n#[cfg(test)] mod tests; fn windows() { let fs = \"std::fs\"; }";
    check(find, &with_file("wire/iscsi", "src/pdu.rs", pure), &[]);
}

#[test]
fn unsafe_code_is_found_outside_its_places() {
    let text = "//! unsafe\nfn f() { /* unsafe */ unsafe { g(\"unsafe\") } }";
    let find = source_laws::unsafe_code;
    check(find, &with_file("array/store", "src/log.rs", text), &[("array/store/src/log.rs:2", "unsafe")]);
    check(find, &with_file("array/store", "src/media.rs", text), &[]);
    check(find, &with_file("host/provider-com", "src/shell.rs", text), &[]);
}

#[test]
fn unfinished_code_is_found() {
    let cases = [
        ("fn f() { todo!() }", Some("todo!")),
        ("fn f() { unimplemented!(\"later\") }", Some("unimplemented!")),
        ("#[ignore = \"slow\"] #[test] fn f() {}", Some("an ignored test")),
        ("#[cfg_attr(windows, ignore)] fn f() {}", Some("an ignored test")),
        ("#![allow(dead_code)]", Some("allow without a reason")),
        ("#[expect(dead_code)] fn f() {}", Some("expect without a reason")),
        ("#[expect(dead_code, reason = \"the other half reads it\")] fn f() {}", None),
        ("/// todo!() and #[ignore]\nfn f() { x.expect(\"todo!\"); let ignore = todo; }", None),
    ];
    for (text, what) in cases {
        let tree = with_file("array/store", "src/lib.rs", text);
        let found: Vec<String> = source_laws::unfinished(&tree).into_iter().map(|violation| violation.what).collect();
        assert_eq!(found, Vec::from_iter(what), "{text}");
    }
}

#[test]
fn hosts_of_registries_are_found_in_any_text() {
    let host = ["static", "crates", "io"].join(".");
    let file =
        |path: &str| Tree { packages: Vec::new(), files: vec![File::new(path, format!("see\nhttps://{host}/x"))] };
    check(source_laws::registry_hosts, &file("docs/setup.md"), &[("docs/setup.md:2", &format!("names {host}"))]);
    check(source_laws::registry_hosts, &file("Cargo.lock"), &[]);
}

#[test]
fn every_law_says_what_to_do() {
    for law in LAWS {
        assert!(!law.text.is_empty() && !law.remedy.is_empty());
        assert!((law.find)(&Tree { files: vec![complete_workspace()], ..Tree::default() }).is_empty(), "{}", law.text);
    }
}

fn complete_workspace() -> File {
    File::new("Cargo.toml", include_str!("../../../Cargo.toml"))
}

#[test]
fn what_the_rfc_asks_is_cited_at_both_ends_and_gathered() {
    const MUST: &str = "// RFC 7143 \u{a7}11.8.4 MUST: it is so.";
    let cited = |code: &str, tests: &str| {
        let mut tree = with_file("wire/iscsi", "src/lib.rs", code);
        tree.files.push(File::new("wire/iscsi/tests/all.rs".to_owned(), tests));
        tree
    };
    let places = |tree: &Tree| -> Vec<String> { iscsi_coverage::gaps(tree).into_iter().map(|gap| gap.what).collect() };
    let code = format!("//! x\n\npub const fn does() {{\n    {MUST}\n    let _ = 1;\n}}\n");
    let tests = format!("//! x\n\n{MUST}\n#[test]\nfn proves() {{}}\n");
    let mut tree = cited(&code, &tests);
    assert_eq!(places(&tree), ["is not what the citations say"]);
    let page = iscsi_coverage::page(&tree);
    assert!(
        page.contains(
            "| 11.8.4 | MUST | it is so. | wire/iscsi/src/lib.rs `does` | wire/iscsi/tests/all.rs `proves` |"
        )
    );
    tree.files.push(File::new(iscsi_coverage::PAGE.to_owned(), &page));
    assert_eq!(places(&tree), [""; 0]);
    let of_one_end = [places(&cited(&code, "")), places(&cited("//! x\n", &tests))];
    assert!(of_one_end[0][0].ends_with("no test proves it") && of_one_end[1][0].ends_with("no code is said to do it"));
    let wrong = cited(&code.replace("MUST", "OUGHT TO"), &tests);
    assert!(places(&wrong).contains(&"is no citation".to_owned()));
}
