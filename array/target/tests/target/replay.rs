//! Inputs that fuzzing found worth keeping, once more, and some that nobody has chosen. `PROPTEST_CASES` is the number of the latter.

use std::path::Path;

use proptest::prelude::{ProptestConfig, any, proptest};

use crate::inputs;

/// Everything in `fuzz/seeds` for one target.
#[expect(clippy::print_stdout, reason = "a failure has to name its input")]
fn replay(target: &str, use_input: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let files: Vec<_> = std::fs::read_dir(&seeds).expect("there are inputs for every target").collect();
    assert!(!files.is_empty(), "{} is empty", seeds.display());
    for file in files {
        let path = file.expect("the folder reads").path();
        println!("{}", path.display());
        use_input(&std::fs::read(path).expect("the input reads"));
    }
}

#[test]
fn what_fuzzing_kept_is_taken_or_refused() {
    replay("iscsi_pdu", inputs::pdus);
    replay("iscsi_text", inputs::text);
    replay("iscsi_login", inputs::login);
    replay("scsi_cdb", inputs::cdbs);
    replay("scsi_blocks", inputs::blocks);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(32), ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_taken_or_refused(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        inputs::pdus(&data);
        inputs::text(&data);
        inputs::login(&data);
        inputs::cdbs(&data);
        inputs::blocks(&data);
    }
}
