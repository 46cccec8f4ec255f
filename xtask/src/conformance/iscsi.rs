//! libiscsi's conformance tests against the real daemon, each in a process of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;

use super::verdict::{PASS_COUNT, Results, Verdict, Verdicts, is_as_in, parse_table, table_of, tests_in_list, worse};
use crate::command::{build_as_for_tests, output_of, program, wait_at_most};
use crate::daemon::Daemon;
use crate::peers;

const TOOL: &str = "iscsi-test-cu";
const TABLE: &str = "docs/iscsi-test-cu.txt";
const FOLDER: &str = "target/conformance/iscsi";

const TARGET: &str = "iqn.2026-11.org.lunshadow:array";
const INITIATOR: &str = "iqn.2026-11.org.example:suite";
const SECOND_INITIATOR: &str = "iqn.2026-11.org.example:suite-2";
const CHAP_USER: &str = "suite";
/// It stands in URLs, so letters it is.
const CHAP_SECRET: &str = "ofaconformancesuite";

const POOL_SIZE: &str = "8GiB";
/// Small enough for the tests that address beyond what READ(6) can.
const LUN_SIZE: &str = "100MiB";

/// How long one test may take; none needs more than a few seconds.
const TEST_AT_MOST: Duration = Duration::from_secs(30);
/// How long the daemon may take to end in order.
const STOP_AT_MOST: Duration = Duration::from_secs(30);

/// One run through tests: those of the families that it is for.
struct Pass {
    name: &'static str,
    options: &'static [&'static str],
    families: Families,
    /// What is said to the array about each LUN of the pass.
    lun: &'static [&'static str],
}

enum Families {
    All,
    These(&'static [&'static str]),
}

/// `-d` lets the tests write, `-v` makes them say what they skip.
const PASSES: [Pass; PASS_COUNT] = [
    Pass { name: "plain", options: &["-d", "-v"], families: Families::All, lun: &[] },
    Pass {
        name: "removable",
        options: &["-d", "-v"],
        families: Families::These(&["NoMedia", "PreventAllow", "StartStopUnit"]),
        lun: &["removable"],
    },
    Pass { name: "read-only", options: &["-d", "-v"], families: Families::These(&["ReadOnly"]), lun: &["protect"] },
    Pass { name: "sanitize", options: &["-d", "-v", "-S"], families: Families::These(&["Sanitize"]), lun: &[] },
];

impl Pass {
    fn runs(&self, test: &str) -> bool {
        match self.families {
            Families::All => true,
            Families::These(families) => families.contains(&family_of(test)),
        }
    }
}

fn family_of(test: &str) -> &str {
    test.split('.').next().unwrap_or(test)
}

/// How to run them.
#[derive(Debug, Args, Default)]
pub(crate) struct IscsiArgs {
    /// Only the tests whose name begins so, such as Read10. or iSCSITMF; nothing is compared or written then
    #[arg(long, value_name = "PREFIX")]
    only: Option<String>,
    /// Write the table anew
    #[arg(long)]
    update: bool,
}

/// Runs all passes and compares what they find with the table.
pub(super) fn run(arguments: &IscsiArgs) -> anyhow::Result<()> {
    if !peers::set_up(peers::FOR_TESTS)? {
        return Ok(());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in a folder")?;
    build_as_for_tests(&[])?;
    let folder = root.join(FOLDER);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(&folder)?;
    let mut stage = Stage::set(root, folder)?;
    let found = stage.verdicts(arguments.only.as_deref())?;
    stage.strike()?;
    say_counts(&found);
    if arguments.only.is_some() {
        print!("{}", table_of(&found, "")?);
        return Ok(());
    }
    let table = root.join(TABLE);
    let old = fs::read_to_string(&table).with_context(|| table.display().to_string())?;
    if arguments.update {
        return fs::write(&table, table_of(&found, &old)?).with_context(|| table.display().to_string());
    }
    let expected = parse_table(&old)?;
    let worse = worse(&expected, &found);
    ensure!(worse.is_empty(), "worse than {TABLE}:\n{}\nwhat the tests said is in {FOLDER}", worse.join("\n"));
    if !is_as_in(&expected, &found) {
        println!("some verdicts are other and none is worse than in {TABLE}: cargo xtask conformance iscsi --update");
    }
    Ok(())
}

/// The array, with a host for the suite's initiators.
struct Stage {
    daemon: Daemon,
    folder: PathBuf,
    /// The pass and the family of tests that the newest LUN is for, and the LUN's number.
    lun: Option<((&'static str, String), String)>,
    luns: usize,
}

impl Stage {
    fn set(root: &Path, folder: PathBuf) -> anyhow::Result<Self> {
        let mut daemon =
            Daemon::with_new_pool(root.join("target/debug/lunshadow"), &folder, &["--size", POOL_SIZE], &[1, 1])?;
        daemon.start()?;
        daemon.ask(&["host", "add", "suite", "--iqn", INITIATOR, "--iqn", SECOND_INITIATOR])?;
        let secrets = folder.join("secrets.txt");
        fs::write(&secrets, CHAP_SECRET)?;
        let secrets = secrets.to_str().context("the folder's name is no text")?;
        daemon.ask(&["host", "chap", "suite", "--user", CHAP_USER, "--secrets", secrets])?;
        Ok(Self { daemon, folder, lun: None, luns: 0 })
    }

    /// The number of a LUN that holds zeros when the tests of a family begin: MultipathIO.CompareAndWrite compares with a block that it has not
    /// written.
    fn lun_for(&mut self, pass: &Pass, test: &str) -> anyhow::Result<String> {
        let purpose = (pass.name, family_of(test).to_owned());
        if let Some((_, number)) = self.lun.as_ref().filter(|(of, _)| *of == purpose) {
            return Ok(number.clone());
        }
        self.luns += 1;
        let name = format!("suite-{}", self.luns);
        let number = self.daemon.new_lun(&name, LUN_SIZE, "suite")?.to_string();
        for property in pass.lun {
            self.daemon.ask(&["lun", property, &name])?;
        }
        self.lun = Some((purpose, number.clone()));
        Ok(number)
    }

    fn verdicts(&mut self, only: Option<&str>) -> anyhow::Result<Verdicts> {
        let list = output_of(&mut program(TOOL, &["-l"])).with_context(|| format!("{TOOL} -l fails"))?;
        let tests = tests_in_list(&list).into_iter().filter(|test| only.is_none_or(|only| test.starts_with(only)));
        let mut found: Verdicts = tests.map(|test| (test.to_owned(), Results::default())).collect();
        ensure!(!found.is_empty(), "there is no such test");
        for (place, pass) in PASSES.iter().enumerate() {
            let chosen = found.iter_mut().filter(|(test, _)| pass.runs(test));
            let chosen: Vec<_> = chosen.collect();
            println!("{}: {} tests", pass.name, chosen.len());
            for (test, results) in chosen {
                results.0[place] = Some(self.verdict_of(pass, test)?);
            }
        }
        Ok(found)
    }

    fn verdict_of(&mut self, pass: &Pass, test: &str) -> anyhow::Result<Verdict> {
        let lun = self.lun_for(pass, test)?;
        // Tests of several paths need the LUN twice. Others would only log in for nothing.
        let paths = if test.starts_with("MultipathIO.") { 2 } else { 1 };
        let urls = self.daemon.portals()[..paths]
            .iter()
            .map(|portal| format!("iscsi://{CHAP_USER}%{CHAP_SECRET}@{portal}/{TARGET}/{lun}"));
        let said = self.folder.join(format!("{test}.{}.txt", pass.name));
        let output = fs::File::create(&said).with_context(|| said.display().to_string())?;
        let mut child = Command::new(TOOL)
            .args(pass.options)
            .args(["-i", INITIATOR, "-I", SECOND_INITIATOR, "-t", &format!("ALL.{test}")])
            .args(urls)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {TOOL}"))?;
        // How it ended is in what it said.
        if wait_at_most(&mut child, TEST_AT_MOST).is_err() {
            return Ok(Verdict::Timeout);
        }
        Ok(Verdict::of_output(&String::from_utf8_lossy(&fs::read(&said)?)))
    }

    /// The daemon has to have lived through all of it, and to end in order.
    fn strike(mut self) -> anyhow::Result<()> {
        self.daemon.stop(STOP_AT_MOST).context("the daemon has not survived the tests")
    }
}

fn say_counts(found: &Verdicts) {
    let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
    for verdict in found.values().filter_map(Results::verdict) {
        *counts.entry(verdict).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    println!("{TOOL}: {} of {}", counts.join(", "), found.len());
}
