//! Where tests under Wine run: a prefix with what Wine lacks, and the arrays. It is made anew when something in it hangs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use super::array_side::{ArraySide, Kind};
use super::libraries::Libraries;
use super::prefix::Prefix;
use super::timed;

/// What a place is made of.
pub(super) struct Parts {
    /// Where all of it lies.
    pub(super) folder: PathBuf,
    pub(super) libraries: Libraries,
    /// The folder of the Windows programs.
    pub(super) programs: PathBuf,
    /// The folder of the array's programs.
    pub(super) array_programs: PathBuf,
}

/// The prefix and the arrays. Dropping it ends them, and every program in the prefix.
pub(super) struct Place {
    pub(super) prefix: Prefix,
    arrays: Vec<ArraySide>,
}

impl Place {
    /// Makes a place with arrays of these kinds. One that had the number before has been dropped.
    pub(super) fn make(parts: &Parts, kinds: &[Kind], number: usize) -> anyhow::Result<Self> {
        let folder = parts.folder.join(format!("place-{number}"));
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let prefix = timed("prefix", || {
            let prefix = Prefix::make(folder.join("prefix"))?;
            prefix.install(&parts.libraries)?;
            prefix.run(&parts.programs.join("vss-stand-in.exe"), &["register"])?;
            Ok(prefix)
        })?;
        let start = |kind| ArraySide::start(&parts.array_programs, &folder, kind);
        let arrays = timed("arrays", || kinds.iter().map(start).collect())?;
        Ok(Self { prefix, arrays })
    }

    /// Has a command's Wine programs run here.
    pub(super) fn describe_to(&self, command: &mut Command) {
        self.prefix.describe_to(command);
        self.arrays.iter().for_each(|array| array.describe_to(command));
    }
}
