//! An array in trouble, by commands of whoever administers it.

use std::sync::atomic::{AtomicBool, Ordering};

use lunshadow_conform::Condition;

use crate::commands::run;
use crate::description;

/// What stands for the time in a command, in milliseconds.
const MILLISECONDS: &str = "{ms}";

/// The array's conditions, as far as there are commands for them.
pub(crate) struct Trouble {
    commands: description::Trouble,
    /// Whether it may be in trouble.
    is_on: AtomicBool,
}

impl Trouble {
    pub(crate) fn new(commands: description::Trouble) -> Self {
        Self { commands, is_on: AtomicBool::new(false) }
    }

    /// Makes the array do something. Answers whether it does.
    pub(crate) fn set(&self, condition: Condition) -> bool {
        if condition == Condition::Sound {
            return self.end().is_ok();
        }
        let Some(command) = self.command_for(condition) else { return false };
        self.is_on.store(true, Ordering::SeqCst);
        let is_done = run(&command, "makes the array be in trouble").is_ok();
        if !is_done {
            // It may have done a part of it. What cannot be undone now is told when the check is over.
            let _ = self.end();
        }
        is_done
    }

    /// Makes the array sound, if it may be in trouble.
    pub(crate) fn end(&self) -> anyhow::Result<()> {
        if self.is_on.load(Ordering::SeqCst) {
            run(&self.commands.sound, "makes the array sound again")?;
            self.is_on.store(false, Ordering::SeqCst);
        }
        Ok(())
    }

    fn command_for(&self, condition: Condition) -> Option<Vec<String>> {
        let commands = &self.commands;
        let command = match condition {
            Condition::Sound => &commands.sound,
            Condition::Unreachable => &commands.unreachable,
            Condition::Full => &commands.full,
            Condition::Preparing => &commands.preparing,
            Condition::CommitFails => &commands.commit_fails,
            Condition::CommitTakes(time) => {
                let ms = time.as_millis().to_string();
                let command = commands.commit_takes.iter().map(|word| word.replace(MILLISECONDS, &ms));
                return Some(command.collect()).filter(|command: &Vec<String>| !command.is_empty());
            }
            Condition::Resyncing => &commands.resyncing,
            Condition::ResyncFails => &commands.resync_fails,
            Condition::Deleting => &commands.deleting,
        };
        (!command.is_empty()).then(|| command.clone())
    }
}

#[cfg(test)]
#[cfg(not(windows))]
mod tests {
    use std::time::Duration;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn an_array_is_in_trouble_until_it_is_made_sound() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trouble");
        let path = file.display().to_string();
        let trouble = Trouble::new(description::Trouble {
            unreachable: words(&format!("touch|{path}")),
            full: words("false"),
            commit_takes: words(&format!("cp|/dev/null|{path}{MILLISECONDS}")),
            sound: words(&format!("rm|-f|{path}")),
            ..description::Trouble::default()
        });
        assert!(trouble.set(Condition::Unreachable) && file.exists());
        assert!(trouble.set(Condition::Sound) && !file.exists());
        assert!(!trouble.set(Condition::Preparing), "there is no command for it");
        std::fs::write(&file, "").unwrap();
        trouble.end().unwrap();
        assert!(file.exists(), "an array that is in no trouble is left alone");
        assert!(!trouble.set(Condition::Full) && !file.exists(), "a command that fails is undone, as far as it got");
        assert!(trouble.set(Condition::CommitTakes(Duration::from_secs(9))));
        assert!(folder.path().join("trouble9000").exists(), "the command is told how long");
    }

    #[test]
    fn each_condition_has_a_program_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let make = |file: &str| format!("{file} = [\"touch\", \"{}\"]\n", folder.path().join(file).display());
        for (key, condition) in [
            ("unreachable", Condition::Unreachable),
            ("full", Condition::Full),
            ("preparing", Condition::Preparing),
            ("commit-fails", Condition::CommitFails),
            ("commit-takes", Condition::CommitTakes(Duration::from_secs(1))),
            ("resyncing", Condition::Resyncing),
            ("resync-fails", Condition::ResyncFails),
            ("deleting", Condition::Deleting),
        ] {
            let trouble = Trouble::new(toml::from_str(&format!("{}sound = [\"true\"]", make(key))).unwrap());
            assert!(trouble.set(condition) && folder.path().join(key).exists(), "{key}");
        }
    }

    #[test]
    fn an_array_that_stays_in_trouble_is_told() {
        let trouble = Trouble::new(description::Trouble {
            unreachable: words("true"),
            sound: words("false"),
            ..description::Trouble::default()
        });
        assert!(trouble.set(Condition::Unreachable) && !trouble.set(Condition::Sound));
        let failure = trouble.end().unwrap_err().to_string();
        assert!(failure.contains("false, which makes the array sound again, failed"), "{failure}");
    }
}
