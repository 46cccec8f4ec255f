//! The results of `iscsi-test-cu`, libiscsi's conformance tests, and how they compare with a table.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};

/// How one test of `iscsi-test-cu` ended, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// It passed.
    Pass,
    /// It found that the target lacks what it tests.
    Skip,
    /// One of its assertions failed.
    Fail,
    /// It ended without a summary: it crashed, or could not log in.
    Crash,
    /// It did not end in time.
    Timeout,
}

/// In how many ways the tests are run.
pub(super) const PASS_COUNT: usize = 4;

/// How one test ended in each pass in which it was run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Results(pub(super) [Option<Verdict>; PASS_COUNT]);

/// Results by the test's name, such as `Read10.Simple`.
pub(super) type Verdicts = BTreeMap<String, Results>;

/// What a table says of one test.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expected {
    results: Results,
    /// How it may end besides, through a race in the test itself.
    at_worst: Option<Verdict>,
}

/// What a table says, by the test's name.
pub(super) type Table = BTreeMap<String, Expected>;

impl Results {
    /// What counts: what passes in one pass may skip in others, and what fails in one has failed. `None` if it was never run.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let ran = || self.0.iter().flatten().copied();
        ran().filter(|verdict| *verdict > Verdict::Skip).max().or_else(|| ran().min())
    }
}

impl Verdict {
    /// Every verdict.
    const ALL: [Self; 5] = [Self::Pass, Self::Skip, Self::Fail, Self::Crash, Self::Timeout];

    /// Reads the output of a run of one single test: the row `tests` of the summary, and whether it says `[SKIPPED]` between the
    /// test's name and its end. The tool also says so before and after, of what it tries itself to get ready and to clean up.
    pub(super) fn of_output(output: &str) -> Self {
        let Some([ran, passed, failed]) = output.lines().find_map(tests_row) else { return Self::Crash };
        match (ran, passed, failed) {
            (1, 1, 0) if says_of_test(output).contains("[SKIPPED]") => Self::Skip,
            (1, 1, 0) => Self::Pass,
            (1, 0, 1) => Self::Fail,
            _ => Self::Crash,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Fail => "fail",
            Self::Crash => "crash",
            Self::Timeout => "timeout",
        })
    }
}

impl FromStr for Verdict {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> anyhow::Result<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.to_string() == word).with_context(|| format!("no verdict: {word}"))
    }
}

/// Reads a table. Each line has a test, what counts, and how it ended in each pass, `-` where it was not run; `#` begins a comment. What counts
/// may have `/` and a second verdict behind it: the test ends so too at times, though nothing has changed.
///
/// # Errors
/// If a line is something else, or names a test a second time.
pub(super) fn parse_table(text: &str) -> anyhow::Result<Table> {
    let mut table = Table::new();
    for line in text.lines() {
        let content = line.split('#').next().unwrap_or_default();
        let mut words = content.split_whitespace();
        let Some(test) = words.next() else { continue };
        let words: Vec<&str> = words.collect();
        let [counts, passes @ ..] = &words[..] else { bail!("no verdict: {line}") };
        ensure!(passes.len() == PASS_COUNT, "not a test, a verdict and {PASS_COUNT} passes: {line}");
        let mut results = Results::default();
        for (place, word) in results.0.iter_mut().zip(passes) {
            *place = if *word == NOT_RUN { None } else { Some(word.parse()?) };
        }
        let (counts, at_worst) = match counts.split_once(OR) {
            Some((counts, at_worst)) => (counts.parse()?, Some(at_worst.parse()?)),
            None => (counts.parse()?, None),
        };
        ensure!(results.verdict() == Some(counts), "the passes do not make this verdict: {line}");
        ensure!(at_worst.is_none_or(|at_worst| at_worst > counts), "the second verdict is not the worse one: {line}");
        let earlier = table.insert(test.to_owned(), Expected { results, at_worst });
        ensure!(earlier.is_none(), "{test} stands in the table twice");
    }
    Ok(table)
}

const OR: char = '/';

const NOT_RUN: &str = "-";

fn word(verdict: Option<Verdict>) -> String {
    verdict.map_or_else(|| NOT_RUN.to_owned(), |verdict| verdict.to_string())
}

/// Writes a table anew: the comments of `old` stay where they are, and so do second verdicts that are still the worse ones.
///
/// # Errors
/// If `old` is no table.
pub(super) fn table_of(verdicts: &Verdicts, old: &str) -> anyhow::Result<String> {
    let (about, comments) = comments_in(old);
    let table = parse_table(old)?;
    let line = |(test, results): (&String, &Results)| {
        let passes: String = results.0.iter().map(|verdict| format!(" {:<7}", word(*verdict))).collect();
        let verdict = results.verdict();
        let counts = match table.get(test).and_then(|expected| expected.at_worst) {
            Some(at_worst) if verdict < Some(at_worst) => format!("{}{OR}{at_worst}", word(verdict)),
            _ => word(verdict),
        };
        let line = format!("{test:<44} {counts:<7} {}", passes.trim_end());
        match comments.get(test.as_str()).filter(|_| results.verdict() > Some(Verdict::Pass)) {
            Some(comment) => format!("{line} #{comment}\n"),
            None => line + "\n",
        }
    };
    Ok(about + &verdicts.iter().map(line).collect::<String>())
}

/// What a table says before its first test, and of each test.
fn comments_in(table: &str) -> (String, BTreeMap<&str, &str>) {
    let about = table.lines().take_while(|line| line.is_empty() || line.starts_with('#'));
    let about = about.map(|line| format!("{line}\n")).collect();
    let of_tests = table.lines().filter_map(|line| {
        let (before, comment) = line.split_once('#')?;
        Some((before.split_whitespace().next()?, comment))
    });
    (about, of_tests.collect())
}

/// The tests of which the verdict got worse, what counts or that of one pass, one per line; a test that is new and does not pass or skip
/// counts as worse, one that is not run any more too.
pub(super) fn worse(table: &Table, found: &Verdicts) -> Vec<String> {
    let mut worse = Vec::new();
    for (test, Expected { results: expected, at_worst }) in table {
        let Some(found) = found.get(test).filter(|found| found.verdict().is_some()) else {
            worse.push(format!("{test}: was {}, is not run", word(expected.verdict())));
            continue;
        };
        let is_worse = |found: Option<Verdict>, expected: Option<Verdict>| found > expected.max(*at_worst);
        let in_passes = expected.0.iter().zip(&found.0).any(|(was, is)| was.is_some() && is_worse(*is, *was));
        if is_worse(found.verdict(), expected.verdict()) || in_passes {
            let all = |results: &Results| results.0.map(word).join(" ");
            worse.push(format!("{test}: was {}, is {}", all(expected), all(found)));
        }
    }
    for (test, found) in found {
        if !table.contains_key(test) && found.verdict() > Some(Verdict::Skip) {
            worse.push(format!("{test}: new, is {}", word(found.verdict())));
        }
    }
    worse
}

/// Whether a table says of exactly these tests that they end so.
pub(super) fn is_as_in(table: &Table, found: &Verdicts) -> bool {
    table.len() == found.len()
        && table.iter().zip(found).all(|((test, expected), (found, results))| {
            let at_worst = expected.at_worst.is_some() && results.verdict() == expected.at_worst;
            test == found && (at_worst || *results == expected.results)
        })
}

/// The names of the single tests in the output of `iscsi-test-cu -l`, without the family `ALL`.
pub(super) fn tests_in_list(list: &str) -> Vec<&str> {
    let of_all = list.lines().filter_map(|line| line.trim().strip_prefix("ALL."));
    of_all.filter(|test| test.split('.').count() == 2).collect()
}

/// What stands between the name of the test and the word that it passed.
fn says_of_test(output: &str) -> &str {
    let begun = output.split_once("  Test: ").map_or("", |(_, begun)| begun);
    begun.split_once("passed").map_or("", |(said, _)| said)
}

/// Ran, passed, failed in the row `tests` of CUnit's summary.
fn tests_row(line: &str) -> Option<[u32; 3]> {
    let mut words = line.split_whitespace();
    if words.next()? != "tests" {
        return None;
    }
    let _total = words.next()?;
    let mut number = || words.next()?.parse().ok();
    Some([number()?, number()?, number()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(ran: u32, passed: u32, failed: u32) -> String {
        format!(
            "Run Summary:    Type  Total    Ran Passed Failed Inactive\n              suites      1      1    n/a      0        \
             0\n               tests      1      {ran}      {passed}      {failed}        0\n"
        )
    }

    #[test]
    fn verdicts_are_read_off_the_summary() {
        assert_eq!(Verdict::of_output(&summary(1, 1, 0)), Verdict::Pass);
        assert_eq!(Verdict::of_output(&summary(1, 0, 1)), Verdict::Fail);
        let skipped = "Suite: Read6\n  Test: Simple ...    [SKIPPED] not there.\n    [SKIPPED] not there.\npassed\n\n";
        assert_eq!(Verdict::of_output(&format!("{skipped}{}", summary(1, 1, 0))), Verdict::Skip);
        assert_eq!(Verdict::of_output(&format!("{skipped}{}", summary(1, 0, 1))), Verdict::Fail);
        let around = "    [SKIPPED] no PR.\nSuite: Read6\n  Test: Simple ...passed    [SKIPPED] no PR.\n";
        assert_eq!(Verdict::of_output(&format!("{around}{}", summary(1, 1, 0))), Verdict::Pass);
        assert_eq!(Verdict::of_output("Failed to log in to target."), Verdict::Crash);
        assert_eq!(Verdict::of_output(&summary(0, 0, 0)), Verdict::Crash);
    }

    #[test]
    fn what_fails_once_has_failed_and_what_passes_once_may_skip() {
        use Verdict::{Fail, Pass, Skip, Timeout};
        let cases = [
            ([None; PASS_COUNT], None),
            ([Some(Skip), None, Some(Skip), None], Some(Skip)),
            ([Some(Skip), Some(Pass), None, Some(Skip)], Some(Pass)),
            ([Some(Pass), Some(Fail), None, None], Some(Fail)),
            ([Some(Skip), Some(Fail), Some(Timeout), None], Some(Timeout)),
        ];
        for (passes, expected) in cases {
            assert_eq!(Results(passes).verdict(), expected);
        }
    }

    /// What a table says, as if it had been found.
    fn found(table: &str) -> anyhow::Result<Verdicts> {
        Ok(parse_table(table)?.into_iter().map(|(test, expected)| (test, expected.results)).collect())
    }

    #[test]
    fn tables_are_read_and_written() -> anyhow::Result<()> {
        let verdicts = found("# why\nRead10.Simple pass pass - - - # fine\n\nVerify10.Dpo   skip skip skip - skip\n")?;
        assert_eq!(verdicts.len(), 2);
        assert_eq!(found(&table_of(&verdicts, "")?)?, verdicts);
        let old = "# why\n\nRead10.Simple pass pass - - - # fine\nVerify10.Dpo fail fail - - - # it is theirs\n";
        let new = table_of(&verdicts, old)?;
        assert!(new.starts_with("# why\n\nRead10.Simple ") && new.ends_with("skip # it is theirs\n"), "{new}");
        assert!(!new.contains("fine"), "what passes needs no excuse");
        assert!(parse_table("Read10.Simple maybe maybe - - -").is_err());
        assert!(parse_table("Read10.Simple").is_err());
        assert!(parse_table("Read10.Simple pass").is_err());
        assert!(parse_table("Read10.Simple pass skip - - -").is_err());
        assert!(parse_table("A.B pass pass - - -\nA.B skip skip - - -").is_err());
        assert!(parse_table("A.B fail/pass fail - - -").is_err());
        Ok(())
    }

    #[test]
    fn a_test_with_a_race_of_its_own_may_end_in_two_ways() -> anyhow::Result<()> {
        let old = "A.A fail/crash fail - fail - # it races\n";
        let table = parse_table(old)?;
        let cases = [
            ("A.A pass pass - pass -", false, true, "A.A pass/crash"),
            ("A.A fail fail - fail -", true, true, "A.A fail/crash"),
            ("A.A crash fail - crash -", true, true, "A.A crash "),
            ("A.A timeout timeout - fail -", false, false, "A.A timeout"),
        ];
        for (line, is_as_before, is_no_worse, written) in cases {
            let found = found(line)?;
            assert_eq!(is_as_in(&table, &found), is_as_before, "{line}");
            assert_eq!(worse(&table, &found).is_empty(), is_no_worse, "{line}");
            let new = table_of(&found, old)?.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            assert_eq!(new, written.trim(), "{line}");
        }
        Ok(())
    }

    #[test]
    fn only_changes_for_the_worse_count() -> anyhow::Result<()> {
        let expected = "A.A pass pass - - -\nA.B skip skip skip - -\nA.C fail fail - - -\nA.D pass skip pass - -\n\
                        A.E pass pass - - -\nA.F pass pass pass - -\n";
        let now = "A.A pass pass - - -\nA.B pass pass - - -\nA.C timeout timeout - - -\nA.D skip skip skip - -\n\
                     A.F pass skip pass - -\nB.A skip skip - - -\nB.B fail fail - - -\n";
        let lines = [
            "A.C: was fail - - -, is timeout - - -",
            "A.D: was skip pass - -, is skip skip - -",
            "A.E: was pass, is not run",
            "A.F: was pass pass - -, is skip pass - -",
            "B.B: new, is fail",
        ];
        assert_eq!(worse(&parse_table(expected)?, &found(now)?), lines);
        Ok(())
    }

    #[test]
    fn single_tests_are_listed_once() {
        let list = "ALL\nALL.Read10\nALL.Read10.Simple\nALL.iSCSITMF.AbortTaskSimpleAsync\nSCSI.Read10.Simple\n";
        assert_eq!(tests_in_list(list), ["Read10.Simple", "iSCSITMF.AbortTaskSimpleAsync"]);
    }
}
