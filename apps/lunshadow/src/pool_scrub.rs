//! `lunshadow pool scrub`: verifying everything in a pool while hosts use it.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lunshadow_control::api::OutcomeAnswer;
use lunshadow_control::{ScrubAnswer, ScrubPhase, ScrubRequest, ScrubState};

use crate::admin::{Service, told};
use crate::cli::PoolScrubArgs;
use crate::console::{bytes, unix_time};
use crate::pool_care::described;

/// How often progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs the command. False if the scrub that was waited for has found what cannot be read, or could not go on.
pub(crate) fn scrub(args: &PoolScrubArgs) -> anyhow::Result<bool> {
    let service = Service::of(&args.place.admin())?;
    if args.stop {
        let outcome = service.answered(service.client.stop_scrub())?;
        service.print(&OutcomeAnswer { outcome }, |answer| {
            told(answer.outcome, "the scrub is stopped; the next one goes on from there", "no scrub runs").to_owned()
        })?;
        return Ok(true);
    }
    let request = ScrubRequest { bytes_per_second: args.rate, restart: args.restart };
    let outcome = service.answered(service.client.start_scrub(&request))?;
    if !args.wait {
        service.print(&OutcomeAnswer { outcome }, |answer| {
            let outcome = told(answer.outcome, "the scrub has begun", "a scrub runs already");
            format!("{outcome}; `lunshadow pool status` shows how far it is")
        })?;
        return Ok(true);
    }
    let Some(ended) = waited_for(&service)? else { anyhow::bail!("the scrub was not begun") };
    service.print(&ended, text)?;
    Ok(ended.phase == ScrubPhase::Finished && ended.damage.is_empty() && !ended.damage_left_out)
}

fn waited_for(service: &Service) -> anyhow::Result<Option<ScrubState>> {
    // It draws nothing where nobody looks.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left") {
        bar.set_style(style);
    }
    loop {
        let ScrubAnswer { scrub } = service.answered(service.client.wait_scrub(LOOK_EVERY))?;
        match scrub {
            Some(state) if state.phase == ScrubPhase::Running => {
                bar.set_length(state.data_bytes.max(state.verified_bytes));
                bar.set_position(state.verified_bytes);
            }
            ended => {
                bar.finish_and_clear();
                return Ok(ended);
            }
        }
    }
}

/// What a scrub has to say to people.
pub(crate) fn text(scrub: &ScrubState) -> String {
    let (verified, all) = (bytes(scrub.verified_bytes), bytes(scrub.data_bytes));
    let ended = scrub.ended_at_unix_ms.map(unix_time).unwrap_or_default();
    let mut text = match scrub.phase {
        ScrubPhase::Running => {
            format!("scrub: runs since {}, {verified} of about {all} verified", unix_time(scrub.began_at_unix_ms))
        }
        ScrubPhase::Stopped => format!("scrub: stopped {ended}, {verified} of about {all} verified"),
        ScrubPhase::Finished => format!("scrub: finished {ended}, {verified} verified"),
        ScrubPhase::Failed => {
            format!("scrub: failed {ended}: {}", scrub.failure.as_deref().unwrap_or("the array's log tells more"))
        }
    };
    if scrub.healed_copies > 0 {
        text += &format!("; {} copies of map pages were written again", scrub.healed_copies);
    }
    if scrub.damage.is_empty() {
        text += "; nothing is damaged";
    }
    for blocks in &scrub.damage {
        let name = described(&blocks.kind);
        text += &format!(
            "\n   {name} ({}): {} blocks from LBA {} on cannot be read",
            blocks.lun, blocks.block_count, blocks.first_block
        );
    }
    if scrub.damage_left_out {
        text += "\n   more is damaged than is listed here";
    }
    text
}
