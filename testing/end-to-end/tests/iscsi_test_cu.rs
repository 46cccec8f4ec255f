//! libiscsi's conformance tests against our target, each in a process of its own, compared with `iscsi-test-cu.txt`.

use std::path::Path;
use std::time::Duration;

use lunshadow_end_to_end::array::{INITIATOR, SECOND_INITIATOR, TestArray};
use lunshadow_end_to_end::conformance::{Verdict, Verdicts, parse_table, table_of, tests_in_list, worse};
use lunshadow_end_to_end::peer::Peer;

/// Small enough for the tests that address beyond what READ(6) can.
const LUN_BYTES: u64 = 100 << 20;

/// How long one test may take; none needs more than a few seconds.
const TEST_AT_MOST: Duration = Duration::from_secs(30);

const EXPECTED: &str = include_str!("../iscsi-test-cu.txt");

/// `-d` lets the tests write, `-v` makes them say what they skip.
const OPTIONS: [&str; 6] = ["-d", "-v", "-i", INITIATOR, "-I", SECOND_INITIATOR];

async fn verdict_of(tool: &Peer, test: &str, url: &str) -> Verdict {
    let name = format!("ALL.{test}");
    // Tests of several paths need the LUN twice, and get it by two sessions with one portal. Others would only log in for nothing.
    let paths = if test.starts_with("MultipathIO.") { 2 } else { 1 };
    let arguments = OPTIONS.into_iter().chain(["-t", &name]).chain(std::iter::repeat_n(url, paths));
    match tool.run_within(TEST_AT_MOST, arguments).await {
        Ok(finished) => Verdict::of_output(&finished.stdout),
        Err(_) => Verdict::Timeout,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_verdict_of_libiscsis_tests_gets_worse() -> anyhow::Result<()> {
    let Some(tool) = Peer::find("iscsi-test-cu") else { return Ok(()) };
    let list = tool.succeed(["-l"]).await?;
    let array = TestArray::start().await?;
    let lun = array.add_lun("conformance", LUN_BYTES).await?;
    let url = array.url(lun);
    let mut found = Verdicts::new();
    for test in tests_in_list(&list) {
        found.insert(test.to_owned(), verdict_of(&tool, test, &url).await);
    }
    array.stop().await?;
    let table = Path::new(env!("CARGO_TARGET_TMPDIR")).join("iscsi-test-cu.txt");
    std::fs::write(&table, table_of(&found))?;
    let worse = worse(&parse_table(EXPECTED)?, &found);
    assert!(
        worse.is_empty(),
        "worse than testing/end-to-end/iscsi-test-cu.txt:\n{}\nall verdicts: {}",
        worse.join("\n"),
        table.display()
    );
    Ok(())
}
