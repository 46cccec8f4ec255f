//! Memory that crosses COM: what is passed stays as it is, what comes back is task memory, and a provider keeps none of it.

use lunshadow_vss::{LunInformation, Method};

use super::Group;
use crate::by_slots::whole_life;
use crate::finding::{Checked, Setback, demand, held};
use crate::lab::{Lab, need};

pub(super) const CHECKS: Group =
    &[(20, what_comes_back_is_task_memory), (21, nothing_is_kept), (22, what_goes_in_stays_as_it_is)];

fn what_comes_back_is_task_memory(lab: &mut Lab<'_>) -> Checked {
    let life = whole_life(lab)?;
    demand!(
        !life.ended_with_the_process(),
        "what {} wrote could not be freed: the process ended",
        last_method(&life.calls)
    );
    for call in &life.calls {
        let traces = call.answer.memory;
        demand!(
            traces.strays == 0,
            "of {} pointers that {} answered with, {} cannot be freed by themselves",
            traces.returned,
            call.method,
            traces.strays
        );
    }
    let returned: usize = life.calls.iter().map(|call| call.answer.memory.returned).sum();
    demand!(returned > 0, "no structure was filled in");
    held(format!("{returned} pointers came back, each a task allocation of its own, and the process went on"))
}

fn last_method(calls: &[crate::by_slots::Called]) -> &'static str {
    calls.last().map_or("the provider", |call| call.method.name())
}

fn what_goes_in_stays_as_it_is(lab: &mut Lab<'_>) -> Checked {
    let life = whole_life(lab)?;
    demand!(
        !life.ended_with_the_process(),
        "the process ended in {}, with what had been passed before overwritten",
        last_method(&life.calls)
    );
    let mut arguments = 0;
    for call in &life.calls {
        let before_and_after = call.passed.iter().zip(&call.answer.arguments);
        for (before, after) in before_and_after.filter(|(before, _)| before.is_in_only()) {
            arguments += 1;
            demand!(before == after, "{} changed what only goes in: {before:?} became {after:?}", call.method);
        }
        let overrun = call.answer.memory.overrun;
        demand!(overrun == 0, "{} wrote behind the end of {overrun} buffers of its caller", call.method);
    }
    held(format!(
        "{arguments} arguments were as before after their calls, and nobody missed them when they were overwritten"
    ))
}

/// How many sets are created, imported and deleted between two looks at the memory, and before the first one.
const CYCLES: u64 = 8;
const CYCLES_BEFORE: u64 = 3;

/// How often the shadow LUNs of each set are asked for, and of how many sources at once, which are named again and again.
const CALLS_PER_CYCLE: usize = 25;
const LUNS_PER_CALL: usize = 64;

/// What may be there after the cycles and was not before, since memory comes and goes in arenas.
const GROWTH_AT_MOST_BYTES: u64 = 2 << 20;

/// What may be lost for each structure that is filled in, since stubs lose some too: those of Wine the structures themselves, of 96 bytes, which
/// go in and come back. All that hangs below one is more.
const LOST_BY_STUBS_BYTES: u64 = 224;

fn nothing_is_kept(lab: &mut Lab<'_>) -> Checked {
    let look = || {
        let seen = lab.bed.provider_memory_bytes();
        seen.ok_or_else(|| Setback("the test bed cannot look at the memory of the provider's process".to_owned()))
    };
    look()?;
    for _ in 0..CYCLES_BEFORE {
        cycle(lab)?;
    }
    let (before, mut filled) = (look()?, 0);
    for _ in 0..CYCLES {
        filled += cycle(lab)?;
    }
    let grown = look()?.saturating_sub(before);
    let allowed = GROWTH_AT_MOST_BYTES + filled * LOST_BY_STUBS_BYTES;
    let seen = format!("{CYCLES} sets were created, imported and deleted, with {filled} structures filled in");
    let (grown_kib, allowed_kib) = (grown / 1024, allowed / 1024);
    demand!(grown <= allowed, "{seen}, and the process has {grown_kib} KiB more than before; {allowed_kib} KiB may be");
    held(format!("{seen}, and the process grew by {grown_kib} KiB of {allowed_kib} KiB that may be"))
}

/// A set's life, in which structures are filled in again and again. Answers how many.
fn cycle(lab: &Lab<'_>) -> Result<u64, Setback> {
    let made = lab.created(2)?;
    let named: Vec<LunInformation> = made.sources.iter().cycle().take(LUNS_PER_CALL).cloned().collect();
    let mut filled = 0;
    for _ in 0..CALLS_PER_CYCLE {
        filled += lab.targets(&named)?.len() as u64;
    }
    for target in &made.targets {
        let mut bare = LunInformation { vendor_id: None, product_id: None, ..target.clone() };
        let _ = lab.fill_in(&mut bare);
        need(Method::OnLunEmpty.name(), lab.delete(target))?;
    }
    Ok(filled)
}
