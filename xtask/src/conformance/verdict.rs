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

/// Reads a table. Each line has a test, what counts, and how it ended in each pass, `-` where it was not run; `#` begins a comment.
///
/// # Errors
/// If a line is something else, or names a test a second time.
pub(super) fn parse_table(text: &str) -> anyhow::Result<Verdicts> {
    let mut verdicts = Verdicts::new();
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
        ensure!(results.verdict() == Some(counts.parse()?), "the passes do not make this verdict: {line}");
        let earlier = verdicts.insert(test.to_owned(), results);
        ensure!(earlier.is_none(), "{test} stands in the table twice");
    }
    Ok(verdicts)
}

const NOT_RUN: &str = "-";

fn word(verdict: Option<Verdict>) -> String {
    verdict.map_or_else(|| NOT_RUN.to_owned(), |verdict| verdict.to_string())
}

/// Writes a table anew: the comments of `old` stay where they are.
pub(super) fn table_of(verdicts: &Verdicts, old: &str) -> String {
    let (about, comments) = comments_in(old);
    let line = |(test, results): (&String, &Results)| {
        let passes: String = results.0.iter().map(|verdict| format!(" {:<7}", word(*verdict))).collect();
        let line = format!("{test:<44} {:<7} {}", word(results.verdict()), passes.trim_end());
        match comments.get(test.as_str()).filter(|_| results.verdict() > Some(Verdict::Pass)) {
            Some(comment) => format!("{line} #{comment}\n"),
            None => line + "\n",
        }
    };
    about + &verdicts.iter().map(line).collect::<String>()
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
pub(super) fn worse(expected: &Verdicts, found: &Verdicts) -> Vec<String> {
    let mut worse = Vec::new();
    for (test, expected) in expected {
        let Some(found) = found.get(test).filter(|found| found.verdict().is_some()) else {
            worse.push(format!("{test}: was {}, is not run", word(expected.verdict())));
            continue;
        };
        let in_passes = expected.0.iter().zip(&found.0).any(|(expected, found)| expected.is_some() && found > expected);
        if found.verdict() > expected.verdict() || in_passes {
            let all = |results: &Results| results.0.map(word).join(" ");
            worse.push(format!("{test}: was {}, is {}", all(expected), all(found)));
        }
    }
    for (test, found) in found {
        if !expected.contains_key(test) && found.verdict() > Some(Verdict::Skip) {
            worse.push(format!("{test}: new, is {}", word(found.verdict())));
        }
    }
    worse
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

    #[test]
    fn tables_are_read_and_written() -> anyhow::Result<()> {
        let verdicts =
            parse_table("# why\nRead10.Simple pass pass - - - # fine\n\nVerify10.Dpo   skip skip skip - skip\n")?;
        assert_eq!(verdicts.len(), 2);
        assert_eq!(parse_table(&table_of(&verdicts, ""))?, verdicts);
        let old = "# why\n\nRead10.Simple pass pass - - - # fine\nVerify10.Dpo fail fail - - - # it is theirs\n";
        let new = table_of(&verdicts, old);
        assert!(new.starts_with("# why\n\nRead10.Simple ") && new.ends_with("skip # it is theirs\n"), "{new}");
        assert!(!new.contains("fine"), "what passes needs no excuse");
        assert!(parse_table("Read10.Simple maybe maybe - - -").is_err());
        assert!(parse_table("Read10.Simple").is_err());
        assert!(parse_table("Read10.Simple pass").is_err());
        assert!(parse_table("Read10.Simple pass skip - - -").is_err());
        assert!(parse_table("A.B pass pass - - -\nA.B skip skip - - -").is_err());
        Ok(())
    }

    #[test]
    fn only_changes_for_the_worse_count() -> anyhow::Result<()> {
        let expected = "A.A pass pass - - -\nA.B skip skip skip - -\nA.C fail fail - - -\nA.D pass skip pass - -\n\
                        A.E pass pass - - -\nA.F pass pass pass - -\n";
        let found = "A.A pass pass - - -\nA.B pass pass - - -\nA.C timeout timeout - - -\nA.D skip skip skip - -\n\
                     A.F pass skip pass - -\nB.A skip skip - - -\nB.B fail fail - - -\n";
        let lines = [
            "A.C: was fail - - -, is timeout - - -",
            "A.D: was skip pass - -, is skip skip - -",
            "A.E: was pass, is not run",
            "A.F: was pass pass - -, is skip pass - -",
            "B.B: new, is fail",
        ];
        assert_eq!(worse(&parse_table(expected)?, &parse_table(found)?), lines);
        Ok(())
    }

    #[test]
    fn single_tests_are_listed_once() {
        let list = "ALL\nALL.Read10\nALL.Read10.Simple\nALL.iSCSITMF.AbortTaskSimpleAsync\nSCSI.Read10.Simple\n";
        assert_eq!(tests_in_list(list), ["Read10.Simple", "iSCSITMF.AbortTaskSimpleAsync"]);
    }
}
