//! Where a program says what happens, and what went wrong: plain text for people.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Prints a line, at once: programs that read it wait for it.
pub fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    // Whoever read this may have gone; what a program does matters more than what it says.
    drop(writeln!(stdout, "{line}").and_then(|()| stdout.flush()));
}

/// Prints a line about what went wrong.
#[expect(clippy::print_stderr, reason = "standard error is where a command's complaint goes")]
pub fn complain(line: &str) {
    eprintln!("{line}");
}

/// The two ways out of a program.
#[derive(Clone, Copy)]
pub struct Console<'a> {
    program: &'a str,
    say: &'a dyn Fn(&str),
    complain: &'a dyn Fn(&str),
}

impl<'a> Console<'a> {
    /// Standard output and standard error of a program of this name.
    #[must_use]
    pub fn of(program: &'a str) -> Self {
        Self::new(program, &say, &complain)
    }

    /// These two, for a program of this name.
    #[must_use]
    pub fn new(program: &'a str, say: &'a dyn Fn(&str), complain: &'a dyn Fn(&str)) -> Self {
        Self { program, say, complain }
    }

    /// Says a line.
    pub fn say(&self, line: &str) {
        (self.say)(line);
    }

    /// Says what went wrong, and who says so.
    pub fn complain(&self, what: impl Display) {
        (self.complain)(&format!("{}: {what}", self.program));
    }
}
