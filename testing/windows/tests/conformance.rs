//! docs/conformance.md says where each statement of the contract is proved. It is made from host/conform/statements.toml and from the names of the
//! tests in the tree, so it cannot name a test that does not exist. `LUNSHADOW_WRITE_DOCS=1` writes it anew.
#![cfg(not(windows))]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use lunshadow_conform::Number;
use serde::Deserialize;

const DOCUMENT: &str = "docs/conformance.md";

/// Set to write the document instead of comparing it.
const WRITE: &str = "LUNSHADOW_WRITE_DOCS";

const HEAD: &str = "\
# Conformance with the contract of VSS

What a hardware provider owes to the Volume Shadow Copy Service, as 126 statements, and where each is proved. A test that begins with
`p_` and a number proves the statement of that number, or of several. *Over COM* means: between processes, through proxies and stubs, under Wine
(`cargo xtask windows`). *In COM's process* means: the shells themselves, on the Windows target under Wine. *Native* means: the
provider's decisions and the array, on Linux. Nothing here was run on Windows.

*Suite* says whether any provider is held to the statement by the conformance suite ([conform.md](conform.md)): *here*, by `lunshadow conform native`, and *COM*, by
`lunshadow-conform.exe` in the tests under Wine. {counts} What it does not judge has its reason there.

Levels: M, a source states it as a requirement; S, a source recommends it; I, it is inferred.

This page is made from `host/conform/statements.toml` and the tests' names; a test fails when it is stale, and
`LUNSHADOW_WRITE_DOCS=1 cargo test -p lunshadow-windows --test conformance` makes it anew.

| Id | Level | Statement | Suite | Proved by |
| --- | --- | --- | --- | --- |
";

#[derive(Deserialize)]
struct Statements {
    statement: Vec<Statement>,
}

#[derive(Deserialize)]
struct Statement {
    number: u32,
    level: String,
    text: String,
    #[serde(default)]
    also: Vec<String>,
    not_here: Option<String>,
    not_over_com: Option<String>,
}

/// Where the suite judges a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Judged {
    here: bool,
    over_com: bool,
}

impl Judged {
    fn of(statement: &Statement) -> Self {
        let number = Number(u16::try_from(statement.number).expect("there are not so many"));
        let is_checked = lunshadow_conform::checked().contains(&number);
        let here = is_checked && !lunshadow_conform::checked_behind_com().contains(&number);
        Self { here, over_com: is_checked && statement.not_over_com.is_none() }
    }

    const fn text(self) -> &'static str {
        match (self.here, self.over_com) {
            (true, true) => "here, COM",
            (true, false) => "here",
            (false, true) => "COM",
            (false, false) => "no",
        }
    }
}

fn counts(statements: &[Statement]) -> String {
    let judged: Vec<Judged> = statements.iter().map(Judged::of).collect();
    let count = |is: fn(&Judged) -> bool| judged.iter().filter(|it| is(it)).count();
    let (any, here, over_com) = (count(|it| it.here || it.over_com), count(|it| it.here), count(|it| it.over_com));
    format!("It judges {any} of the statements: {here} here, and {over_com} through COM.")
}

/// A test function of the tree.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    kind: &'static str,
    name: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the package is two folders deep")
}

/// What kind of proof a test in this file is.
fn kind_of(file: &str) -> &'static str {
    if file.starts_with("testing/windows/") {
        "over COM"
    } else if file.starts_with("host/vss-com/") || file.starts_with("host/provider-com/") {
        "in COM's process"
    } else {
        "native"
    }
}

/// All functions of the tree that stand under a test attribute.
fn tests_of_the_tree() -> BTreeSet<Test> {
    let mut tests = BTreeSet::new();
    for folder in ["wire", "host", "array", "apps", "testing"] {
        collect(&root().join(folder), &mut tests);
    }
    tests
}

fn collect(folder: &Path, tests: &mut BTreeSet<Test>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the tree") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(root()).expect("it is in the tree").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("a source file");
            tests.extend(tests_in(&text).map(|name| Test { kind: kind_of(&file), name: name.to_owned() }));
        }
    }
}

/// The names of the functions below a test attribute. Attributes may stand between; inside `proptest!` there is one as well.
fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        }
        let function = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))?;
        let name = function.split('(').next()?;
        std::mem::take(&mut is_test).then_some(name)
    })
}

/// The statements that a test is named after: `p_001_p_002_…`, `p_029_to_p_032_…`.
fn statements_of(test: &str) -> BTreeSet<u32> {
    let mut statements = BTreeSet::new();
    let (mut rest, mut first) = (test, None);
    while let Some((number, text)) = rest.strip_prefix("p_").and_then(|text| text.split_at_checked(3)) {
        let Ok(number) = number.parse::<u32>() else { break };
        statements.extend(first.take().unwrap_or(number)..=number);
        if let Some(text) = text.strip_prefix("_to_") {
            (rest, first) = (text, Some(number));
        } else {
            rest = text.strip_prefix('_').unwrap_or_default();
        }
    }
    statements
}

fn statements() -> Vec<Statement> {
    let path = root().join("host/conform/statements.toml");
    let text = std::fs::read_to_string(path).expect("the statements");
    toml::from_str::<Statements>(&text).expect("they are as this file wants them").statement
}

fn proofs(statement: &Statement, tests: &BTreeSet<Test>) -> String {
    let mut cell = String::new();
    for kind in ["over COM", "in COM's process", "native"] {
        let of_kind = tests.iter().filter(|test| test.kind == kind);
        let named = of_kind.filter(|test| {
            statements_of(&test.name).contains(&statement.number) || statement.also.contains(&test.name)
        });
        let names: Vec<String> = named.map(|test| format!("`{}`", test.name)).collect();
        if !names.is_empty() {
            write!(cell, "{kind}: {}. ", names.join(", ")).expect("strings take everything");
        }
    }
    if let Some(reason) = &statement.not_here {
        cell.push_str(reason);
    }
    cell.trim_end().to_owned()
}

#[test]
fn the_document_is_what_the_statements_and_the_tests_say() {
    let tests = tests_of_the_tree();
    let statements = statements();
    let mut document = HEAD.replace("{counts}", &counts(&statements));
    for statement in &statements {
        let Statement { number, level, text, .. } = &statement;
        let text = text.replace('|', "\\|");
        let suite = Judged::of(statement).text();
        writeln!(document, "| P-{number:02} | {level} | {text} | {suite} | {} |", proofs(statement, &tests))
            .expect("strings take everything");
    }
    let path = root().join(DOCUMENT);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &document).expect("the document can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == document, "{DOCUMENT} is stale: run this test again with {WRITE}=1");
}

#[test]
fn every_statement_is_proved_or_has_a_reason() {
    let tests = tests_of_the_tree();
    let statements = statements();
    let numbers: Vec<u32> = statements.iter().map(|statement| statement.number).collect();
    assert_eq!(numbers, (1..=126).collect::<Vec<u32>>());
    let open: Vec<u32> = statements
        .iter()
        .filter(|statement| proofs(statement, &tests).is_empty())
        .map(|statement| statement.number)
        .collect();
    assert!(open.is_empty(), "neither a test nor a reason for {open:?}");
}

#[test]
fn tests_that_are_named_exist_and_numbers_are_those_of_statements() {
    let tests = tests_of_the_tree();
    for name in statements().iter().flat_map(|statement| &statement.also) {
        assert!(tests.iter().any(|test| test.name == *name), "there is no test {name}");
    }
    for test in tests {
        assert!(statements_of(&test.name).iter().all(|number| (1..=126).contains(number)), "{}", test.name);
    }
}

#[test]
fn a_test_is_named_after_all_that_it_proves() {
    let statements = |test| statements_of(test).into_iter().collect::<Vec<_>>();
    assert_eq!(statements("p_017_a_panic"), [17]);
    assert_eq!(statements("p_001_p_002_the_interfaces"), [1, 2]);
    assert_eq!(statements("p_029_to_p_032_contexts"), [29, 30, 31, 32]);
    assert!(statements("what_p_017_says").is_empty());
}
