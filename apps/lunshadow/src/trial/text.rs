//! Tells people what a trial does, step by step; with `--json` it is silent until the document at the end.

use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lunshadow_coordinator::Timeline;

use super::stage::{Stage, Subject};
use super::timeline_text::timeline_text;
use crate::cli::TryArgs;
use crate::console::{attach_hints, bytes, milliseconds, say};
use crate::report::{ArrayReport, ChannelReport, FileReport, HostReport, LunReport, Proof, Report, SpaceReport};

/// How many files of the shadow LUNs are printed.
const FILES_SHOWN: usize = 14;

/// Tells, or keeps silent.
pub(super) struct Narrator {
    json: bool,
}

impl Narrator {
    /// A narrator; `json` makes it silent until the end.
    #[must_use]
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    fn tell(&self, line: impl AsRef<str>) {
        if !self.json {
            say(line.as_ref());
        }
    }

    /// The import begins; the bar shows how far it is, where there is a terminal.
    #[must_use]
    pub(super) fn import_begins(&self, title: &str, len_bytes: u64) -> ProgressBar {
        self.tell("1  The array");
        let target = if self.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(len_bytes), target);
        // A template that does not parse would be a fault of this line; the default style then does.
        if let Ok(style) = ProgressStyle::with_template("   import {msg} {wide_bar} {bytes}/{total_bytes}") {
            bar.set_style(style);
        }
        bar.set_message(title.to_owned());
        bar
    }

    /// The array is up.
    pub(super) fn array(&self, array: &ArrayReport, subject: &Subject, stage: &Stage, args: &TryArgs) {
        let kind = if args.pool.is_some() { "" } else { " (temporary)" };
        self.tell(format!("   pool    {}{kind}", array.pool));
        let (len_bytes, took) = (subject.image.block_count.bytes(), Duration::from_micros(stage.import_us));
        self.tell(format!("   import  {}, {} in {took:.2?}", subject.title, bytes(len_bytes)));
        for lun in &array.luns {
            self.tell(lun_line(lun));
        }
        self.tell(format!("   target  {} on {}", array.target, array.portal));
        self.tell(match &array.channel {
            ChannelReport::InProcess => "   channel in this process (another: --over https)".to_owned(),
            ChannelReport::Https { address, fingerprint, enrolled_as } => {
                format!(
                    "   channel HTTPS on {address}, enrolled as {enrolled_as}\n           certificate {fingerprint}"
                )
            }
        });
        let number = array.luns.first().map_or(1, |lun| lun.lun_number);
        self.tell(attach_hints(stage.target.local_addr(), number));
    }

    /// The host has logged in.
    pub(super) fn host(&self, host: &HostReport, array: &ArrayReport) {
        self.tell("\n2  A simulated Windows host, over TCP");
        self.tell(format!("   initiator {}", host.initiator));
        for (disk, lun) in host.disks.iter().zip(&array.luns) {
            self.tell(format!(
                "   {}  = LUN {}, page 0x80 {}, page 0x83 naa.{}",
                disk.device, lun.lun_number, lun.serial, lun.naa
            ));
            self.tell(format!("      partition table {}", disk.partition_table));
            for volume in &disk.volumes {
                let files = volume.file_count.map_or(String::new(), |count| format!(", {count} files"));
                self.tell(format!("      {}  {} {}{files}", volume.name, volume.file_system, bytes(volume.len_bytes)));
            }
        }
    }

    /// The set is there.
    pub(super) fn creation(&self, timeline: &Timeline, written: u64, in_flight: usize) {
        self.tell("\n3  VSS takes a shadow copy set (auto-import); F = writers frozen, H = writes held");
        self.tell(timeline_text(timeline));
        self.tell(format!("   meanwhile {written} records were written over both LUNs, up to {in_flight} in flight"));
    }

    /// The proofs are gathered.
    pub(super) fn proofs(&self, files: &[FileReport], proofs: &[Proof], space: Option<&SpaceReport>) {
        self.tell(if space.is_some() { "\n4  Proof; then the set is deleted" } else { "\n4  Proof" });
        if let Some(space) = space {
            self.tell(timeline_text(&space.deletion));
        }
        self.tell("   on the shadow LUNs, over iSCSI:");
        for file in files.iter().take(FILES_SHOWN) {
            let hash = file.sha256.as_deref().map_or("not read", |hash| &hash[..16]);
            self.tell(format!("      {hash:<16}  {:>10}  {}", file.len_bytes, file.path));
        }
        if let Some(more) = files.len().checked_sub(FILES_SHOWN).filter(|more| *more > 0) {
            self.tell(format!("      and {more} more (--json lists all)"));
        }
        for proof in proofs {
            let verdict = if proof.held { "held  " } else { "FAILED" };
            self.tell(format!("   {verdict}  {}\n           {}", proof.name, proof.detail));
        }
    }

    /// All is done.
    ///
    /// # Errors
    /// If the report cannot be written as JSON.
    pub(super) fn ends(&self, report: &Report) -> anyhow::Result<()> {
        if self.json {
            say(&serde_json::to_string_pretty(report).context("the report cannot be written")?);
            return Ok(());
        }
        let set = &report.shadow_copy_set;
        let verdict = if report.verdict { "every proof held" } else { "NOT every proof held" };
        self.tell(format!(
            "\n{verdict}: writers frozen {}, writes held {}, CommitSnapshots {}",
            milliseconds(set.freeze_us),
            milliseconds(set.hold_us),
            milliseconds(set.commit_us)
        ));
        Ok(())
    }

    /// The trial stays up.
    pub(super) fn stays(&self, report: &Report) {
        self.tell("\n5  It stays up; the shadow copies are");
        for lun in &report.shadow_copy_set.shadow_luns {
            self.tell(lun_line(lun));
        }
        self.tell("   end with Ctrl-C");
    }
}

fn lun_line(lun: &LunReport) -> String {
    format!("   LUN {:<3} {}, {}, serial {}", lun.lun_number, lun.name, bytes(lun.len_bytes), lun.serial)
}
