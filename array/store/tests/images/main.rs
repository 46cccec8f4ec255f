//! Images that only a forger makes never panic the pool, and never let it take memory without bound.
//!
//! `PROPTEST_CASES` is the number of images of each kind. The fuzz targets in `fuzz/` look for them better.

#[cfg(test)]
mod forgery;
#[cfg(test)]
mod ordeal;

#[cfg(test)]
mod tests {
    use std::alloc::System;
    use std::path::Path;

    use cap::Cap;
    use proptest::prelude::{ProptestConfig, any, proptest};

    use crate::forgery::{Image, forged_blocks, forged_log, forged_superblock, records, use_image};

    /// Several times of what these pools need.
    const MEMORY_BYTES: usize = 256 << 20;

    /// An allocation beyond the limit fails, and that ends the process.
    #[global_allocator]
    static ALLOCATOR: Cap<System> = Cap::new(System, MEMORY_BYTES);

    #[test]
    fn the_image_that_forgeries_are_made_of_is_a_whole_pool() {
        for image in [forged_blocks(&[]), forged_superblock(&[])] {
            use_image(&image);
        }
        // The records once more: they refer to blocks that are taken, and cannot be redone.
        use_image(&forged_log(&records()));
        assert!(records().len() > 150);
    }

    #[expect(clippy::print_stdout, reason = "who reads of a failure sees which seed it was")]
    fn try_seeds(target: &str, forge: impl Fn(&[u8]) -> Image) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
        let mut paths: Vec<_> = std::fs::read_dir(seeds).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort_unstable();
        assert!(paths.len() >= 20, "{target} has {} seeds", paths.len());
        for path in paths {
            println!("{}", path.display());
            use_image(&forge(&std::fs::read(&path).unwrap()));
        }
    }

    /// All that fuzzing has found to make the pool do something that nothing else does.
    #[test]
    fn what_fuzzing_has_kept_is_refused_or_used() {
        try_seeds("superblock", forged_superblock);
        try_seeds("log", forged_log);
        try_seeds("blocks", forged_blocks);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100), ..ProptestConfig::default() })]

        #[test]
        fn a_forged_superblock_is_refused_or_used(data: Vec<u8>) {
            use_image(&forged_superblock(&data));
        }

        #[test]
        fn forged_records_are_refused_or_redone(
            changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..12),
            only: bool,
        ) {
            let mut data = records();
            for (at, byte) in changes {
                let at = usize::from(at) % data.len();
                data[at] = byte;
            }
            data[0] = u8::from(!only);
            use_image(&forged_log(&data));
        }

        #[test]
        fn forged_blocks_are_damage_or_content(data in proptest::collection::vec(any::<u8>(), 0..120)) {
            use_image(&forged_blocks(&data));
        }
    }
}
