//! What RFC 7143 asks of a target: cited beside the code that does it and beside the tests that prove it, and gathered in a page.
//!
//! A citation is a comment on a line of its own, in the same words at every place:
//!
//! ```text
//! // RFC 7143 §11.8.4 MUST NOT: an R2T asks for more than MaxBurstLength.
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::Violation;
use super::tree::{File, Tree};

/// The page.
pub(crate) const PAGE: &str = "docs/iscsi_coverage.md";

/// Where citations stand.
const FOLDERS: &[&str] = &["wire/iscsi", "array/target"];

const MARK: &str = "// RFC 7143 §";

/// What is asked, in the order of its sections.
type Statements = BTreeMap<Statement, Places>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Statement {
    section: Vec<Part>,
    level: &'static str,
    text: String,
}

/// One part of a section's number; appendices have letters, and come last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u32),
    Appendix(char),
}

/// Functions, with their files.
#[derive(Debug, Default)]
struct Places {
    code: BTreeSet<String>,
    tests: BTreeSet<String>,
}

/// Citations that nothing proves or that nothing does, and a page that does not say what the citations do.
pub(crate) fn gaps(tree: &Tree) -> Vec<Violation> {
    let (statements, mut found) = gather(tree);
    for (statement, Places { code, tests }) in &statements {
        let missing = match (code.is_empty(), tests.is_empty()) {
            (false, true) => "no test proves it",
            (true, _) => "no code is said to do it",
            (false, false) => continue,
        };
        let place = code.iter().chain(tests).next().cloned().unwrap_or_default();
        found.push(Violation::new(place, format!("{}: {missing}", shown(statement))));
    }
    let written = tree.files.iter().find(|file| file.path == PAGE).map(|file| file.text.as_str());
    if !statements.is_empty() && written != Some(page_of(&statements).as_str()) {
        found.push(Violation::new(PAGE, "is not what the citations say"));
    }
    found
}

/// The page as it should be.
pub(crate) fn page(tree: &Tree) -> String {
    page_of(&gather(tree).0)
}

fn gather(tree: &Tree) -> (Statements, Vec<Violation>) {
    let mut statements = Statements::new();
    let mut violations = Vec::new();
    let files = tree.rust_files().filter(|file| FOLDERS.iter().any(|folder| file.is_in(folder)));
    for file in files {
        let mut is_test = file.path.contains("/tests/");
        let lines: Vec<&str> = file.text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            is_test |= line.trim() == "#[cfg(test)]";
            let Some(cited) = line.trim().strip_prefix(MARK) else { continue };
            let Some(statement) = parse(cited) else {
                violations.push(Violation::new(format!("{}:{}", file.path, index + 1), "is no citation"));
                continue;
            };
            let places = statements.entry(statement).or_default();
            let place = place_of(file, &lines, index);
            if is_test {
                places.tests.insert(place)
            } else {
                places.code.insert(place)
            };
        }
    }
    (statements, violations)
}

/// `11.8.4 MUST NOT: an R2T asks for more than MaxBurstLength.`
fn parse(cited: &str) -> Option<Statement> {
    let (head, text) = cited.split_once(": ")?;
    let (section, level) = head.split_once(' ')?;
    let section = section.split('.').map(part).collect::<Option<_>>()?;
    let level = ["MUST", "MUST NOT"].into_iter().find(|known| *known == level)?;
    text.ends_with('.').then(|| Statement { section, level, text: text.to_owned() })
}

fn part(text: &str) -> Option<Part> {
    match text.parse() {
        Ok(number) => Some(Part::Number(number)),
        Err(_) => text.parse().ok().filter(char::is_ascii_uppercase).map(Part::Appendix),
    }
}

/// The function before which or in which a line stands, or the item before which it does.
fn place_of(file: &File, lines: &[&str], index: usize) -> String {
    let is_between = |line: &&&str| {
        let line = line.trim();
        line.starts_with("//") || line.starts_with("#[")
    };
    let next = lines[index..].iter().find(|line| !is_between(line)).and_then(|line| name_in(line));
    let name = next.or_else(|| lines[..index].iter().rev().find_map(|line| name_in(line)));
    match name {
        Some(name) => format!("{} `{name}`", file.path),
        None => file.path.clone(),
    }
}

/// The name of the function or constant that a line begins.
fn name_in(line: &str) -> Option<&str> {
    let begin = |keyword: &str| {
        let (before, after) = line.split_once(keyword)?;
        let is_head =
            before.split_whitespace().all(|word| word.starts_with("pub") || ["async", "const"].contains(&word));
        let end = after.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        (is_head && end > 0).then(|| &after[..end])
    };
    begin("fn ").or_else(|| begin("const "))
}

fn shown(Statement { section, level, text }: &Statement) -> String {
    format!("§{} {level}: {text}", numbers(section))
}

fn numbers(section: &[Part]) -> String {
    let shown = section.iter().map(|part| match part {
        Part::Number(number) => number.to_string(),
        Part::Appendix(letter) => letter.to_string(),
    });
    shown.collect::<Vec<_>>().join(".")
}

fn page_of(statements: &Statements) -> String {
    let mut page = format!(
        "# What RFC 7143 asks of a target\n\n\
         {} statements with MUST or MUST NOT that concern a target with ErrorRecoveryLevel 0 and one connection for each session, in our own words; \
         where they are done, and the tests that prove them. All of sections 4 to 13 was gone through. Left out is what binds initiators or \
         administrators only, what defines words, what concerns that which this target does not offer (error recovery beyond level 0, more \
         connections in a session, FastAbort, redirection, SRP, Kerberos, IPsec, extension keys), and what a statement here includes.\n\n\
         A reset waits for a second for data that an R2T has asked for (4.2.3.3), and then no longer: some initiators send none after it, open-iscsi \
         among them unless its `node.session.iscsi.FastAbort` is off.\n\n\
         The page is made of the comments `// RFC 7143 §…` by `cargo xtask coverage`; `cargo xtask check` fails when it is stale, and when a \
         statement has no code or no test.\n\n\
         | Section | | What | Done in | Proved by |\n| --- | --- | --- | --- | --- |\n",
        statements.len()
    );
    let joined = |places: &BTreeSet<String>| places.iter().cloned().collect::<Vec<_>>().join("<br>");
    for (Statement { section, level, text }, Places { code, tests }) in statements {
        let section = numbers(section);
        writeln!(page, "| {section} | {level} | {text} | {} | {} |", joined(code), joined(tests))
            .expect("it is a string");
    }
    page
}
