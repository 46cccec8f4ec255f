//! The checks: one for each statement that can be tested through the methods of a provider. Each has a provider and a sequence of
//! its own, and answers what it saw. What a check needs but is not about ends it with a [`Setback`](crate::finding::Setback), so that a
//! provider which is wrong in one place is told of that place only.

mod aborting;
mod committing;
mod deleting;
mod finalising;
mod importing;
mod inputs;
mod loading;
mod mixing;
mod preparing;
mod recognising;
mod resyncing;
mod slots;
mod supporting;
mod surface;
mod targeting;
mod task_memory;
mod waiting;

use crate::finding::Checked;
use crate::lab::Lab;
use crate::statements::Number;

/// A check.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    /// The statement that it is about.
    pub(crate) number: Number,
    /// What it does.
    pub(crate) run: fn(&mut Lab<'_>) -> Checked,
}

/// All checks, by the numbers of their statements.
pub(crate) fn all() -> Vec<Check> {
    let groups: [Group; 17] = [
        surface::CHECKS,
        slots::CHECKS,
        task_memory::CHECKS,
        inputs::CHECKS,
        supporting::CHECKS,
        preparing::CHECKS,
        waiting::CHECKS,
        committing::CHECKS,
        targeting::CHECKS,
        importing::CHECKS,
        recognising::CHECKS,
        deleting::CHECKS,
        finalising::CHECKS,
        resyncing::CHECKS,
        aborting::CHECKS,
        mixing::CHECKS,
        loading::CHECKS,
    ];
    let mut checks: Vec<_> =
        groups.into_iter().flatten().map(|(number, run)| Check { number: Number(*number), run: *run }).collect();
    checks.sort_by_key(|check| check.number);
    checks
}

/// The statements of the checks that need a class behind COM: they are below the methods.
pub(crate) fn behind_com() -> impl Iterator<Item = Number> {
    let groups: [Group; 3] = [surface::CHECKS, slots::CHECKS, task_memory::CHECKS];
    groups.into_iter().flatten().map(|(number, _)| Number(*number))
}

/// A group of checks, with the numbers of their statements.
pub(crate) type Group = &'static [(u16, fn(&mut Lab<'_>) -> Checked)];
