//! What a check has at hand: a provider of its own, sets, LUNs, and what the host and the array show.

use std::sync::Arc;

use lunshadow_coordinator::disk::DiskIo;
use lunshadow_vss::{
    BusType, Context, DeviceName, DiskSignature, HResult, HardwareProvider, LUN_INFORMATION_VERSION, LunInformation,
    LunStateChange, Slots, SnapshotId, SnapshotSetId, StorageIdentifier,
};
use uuid::Uuid;

use crate::bed::{ComClass, Condition, Ledger, TestBed, TestHost};
use crate::broken::Breakage;
use crate::finding::Setback;
use crate::recorder::{Recorded, Recorder};

/// How far a creation is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Preparing,
    Prepared,
    Precommitted,
    Committed,
    PostCommitted,
}

impl Stage {
    /// Those in which a set is unfinished.
    pub(crate) const UNFINISHED: [Self; 4] = [Self::Preparing, Self::Prepared, Self::Precommitted, Self::Committed];
}

/// A set that was created.
pub(crate) struct Made {
    pub(crate) set: SnapshotSetId,
    pub(crate) sources: Vec<LunInformation>,
    pub(crate) targets: Vec<LunInformation>,
}

/// The length of what is written to tell contents apart.
const MARK_LEN: usize = 4096;

pub(crate) struct Lab<'a> {
    pub(crate) bed: &'a dyn TestBed,
    pub(crate) host: Arc<dyn TestHost>,
    pub(crate) provider: Arc<dyn HardwareProvider>,
    pub(crate) recorder: Arc<Recorder>,
    breakage: &'a Breakage,
    /// Tells what this check writes from what earlier ones wrote.
    nonce: Uuid,
}

impl<'a> Lab<'a> {
    /// A provider that was started and loaded for one check.
    pub(crate) fn open(bed: &'a dyn TestBed, breakage: &'a Breakage) -> Result<Self, Setback> {
        let recorder = Arc::new(Recorder::new(bed.clock()));
        let host = bed.host();
        let provider = start(&host, &recorder, breakage)?;
        need("OnLoad", provider.on_load())?;
        Ok(Self { bed, host, provider, recorder, breakage, nonce: Uuid::new_v4() })
    }

    /// Another process of the provider, on any host.
    pub(crate) fn start(&self, host: &Arc<dyn TestHost>) -> Result<Arc<dyn HardwareProvider>, Setback> {
        start(host, &self.recorder, self.breakage)
    }

    /// The process ends without a word, and another one is started and loaded.
    pub(crate) fn restart(&mut self) -> Result<(), Setback> {
        self.replace_process()?;
        need("OnLoad", self.provider.on_load())
    }

    /// The process ends without a word, whatever it was about, and another one is started.
    pub(crate) fn replace_process(&mut self) -> Result<(), Setback> {
        self.recorder.end_process();
        self.provider = self.start(&self.host)?;
        Ok(())
    }

    /// As the rest of the check, on another host.
    pub(crate) fn moved_to(&self, host: Arc<dyn TestHost>) -> Result<Self, Setback> {
        let provider = self.start(&host)?;
        need("OnLoad", provider.on_load())?;
        let recorder = Arc::clone(&self.recorder);
        Ok(Self { bed: self.bed, host, provider, recorder, breakage: self.breakage, nonce: self.nonce })
    }

    /// The other host. From here on this one's provider may be gone.
    pub(crate) fn importer(&self) -> Result<Self, Setback> {
        let importer = self.bed.importer().ok_or_else(|| Setback("the test bed has no second host".to_owned()))?;
        self.moved_to(importer)
    }

    pub(crate) fn class(&self) -> Result<Arc<dyn ComClass>, Setback> {
        self.bed.com_class().ok_or_else(|| Setback("the provider is not behind COM here".to_owned()))
    }

    /// An object of the provider, to be called by the numbers of its slots.
    pub(crate) fn slots(&self) -> Result<Arc<dyn Slots>, Setback> {
        Ok(self.breakage.slots(self.class()?.slots()?))
    }

    pub(crate) fn sources(&self, count: usize) -> Result<Vec<LunInformation>, Setback> {
        let mut sources = self.host.sources()?;
        if sources.len() < count {
            return Err(Setback(format!("the test bed has {} LUNs to copy and not {count}", sources.len())));
        }
        sources.truncate(count);
        Ok(sources)
    }

    pub(crate) fn supports(&self, context: Context, luns: &[LunInformation]) -> Result<bool, HResult> {
        self.provider.are_luns_supported(context, &names(luns.len()), &mut luns.to_vec())
    }

    pub(crate) fn begin(&self, set: SnapshotSetId, luns: &[LunInformation]) -> Result<(), HResult> {
        self.begin_in(Context::CTX_BACKUP, set, luns)
    }

    pub(crate) fn begin_in(
        &self,
        context: Context,
        set: SnapshotSetId,
        luns: &[LunInformation],
    ) -> Result<(), HResult> {
        let snapshot = SnapshotId(Uuid::new_v4());
        self.provider.begin_prepare_snapshot(set, snapshot, context, &names(luns.len()), &mut luns.to_vec())
    }

    /// A new set, each LUN a volume of its own, taken to `stage`.
    pub(crate) fn set_at(&self, stage: Stage, luns: &[LunInformation]) -> Result<SnapshotSetId, Setback> {
        self.set_in(Context::CTX_BACKUP, stage, luns)
    }

    pub(crate) fn set_in(
        &self,
        context: Context,
        stage: Stage,
        luns: &[LunInformation],
    ) -> Result<SnapshotSetId, Setback> {
        let set = new_set();
        for lun in luns {
            need("BeginPrepareSnapshot", self.begin_in(context, set, std::slice::from_ref(lun)))?;
        }
        self.advance(set, Stage::Preparing, stage, luns.len())?;
        Ok(set)
    }

    /// Takes a set from one stage to another.
    pub(crate) fn advance(&self, set: SnapshotSetId, from: Stage, to: Stage, volumes: usize) -> Result<(), Setback> {
        let count = i32::try_from(volumes).unwrap_or(i32::MAX);
        if from < Stage::Prepared && to >= Stage::Prepared {
            need("EndPrepareSnapshots", self.provider.end_prepare_snapshots(set))?;
        }
        if from < Stage::Precommitted && to >= Stage::Precommitted {
            need("PreCommitSnapshots", self.provider.pre_commit_snapshots(set))?;
        }
        if from < Stage::Committed && to >= Stage::Committed {
            need("CommitSnapshots", self.provider.commit_snapshots(set))?;
        }
        if from < Stage::PostCommitted && to >= Stage::PostCommitted {
            need("PostCommitSnapshots", self.provider.post_commit_snapshots(set, count))?;
        }
        Ok(())
    }

    /// The announced shadow LUNs of the sources, as many as there have to be.
    pub(crate) fn targets(&self, sources: &[LunInformation]) -> Result<Vec<LunInformation>, Setback> {
        let targets = need("GetTargetLuns", self.provider.get_target_luns(&names(sources.len()), sources))?;
        if targets.len() == sources.len() {
            Ok(targets)
        } else {
            Err(Setback(format!("GetTargetLuns answered {} LUNs for {}", targets.len(), sources.len())))
        }
    }

    /// A whole creation, up to the announcement of the shadow LUNs.
    pub(crate) fn announced(&self, count: usize) -> Result<Made, Setback> {
        self.announced_in(Context::CTX_BACKUP, count)
    }

    pub(crate) fn announced_in(&self, context: Context, count: usize) -> Result<Made, Setback> {
        let sources = self.sources(count)?;
        let set = self.set_in(context, Stage::PostCommitted, &sources)?;
        let targets = self.targets(&sources)?;
        Ok(Made { set, sources, targets })
    }

    /// A whole creation with its import, up to `PreFinalCommitSnapshots`.
    pub(crate) fn in_recovery(&self, count: usize) -> Result<Made, Setback> {
        let made = self.announced(count)?;
        self.locate(&made.targets)?;
        need("PreFinalCommitSnapshots", self.provider.pre_final_commit_snapshots(made.set))?;
        Ok(made)
    }

    /// A whole creation with its import.
    pub(crate) fn created(&self, count: usize) -> Result<Made, Setback> {
        let made = self.in_recovery(count)?;
        need("PostFinalCommitSnapshots", self.provider.post_final_commit_snapshots(made.set))?;
        Ok(made)
    }

    pub(crate) fn locate(&self, targets: &[LunInformation]) -> Result<(), Setback> {
        need("LocateLuns", self.provider.locate_luns(targets))
    }

    pub(crate) fn mask(&self, targets: &[LunInformation]) -> Result<(), Setback> {
        need("OnLunStateChange", self.provider.on_lun_state_change(targets, &[], LunStateChange::DO_MASK_LUNS))
    }

    pub(crate) fn delete(&self, lun: &LunInformation) -> Result<(), HResult> {
        self.provider.on_lun_empty(Some(&DeviceName(r"\\?\PhysicalDrive7".to_owned())), Some(lun))
    }

    pub(crate) fn fill_in(&self, lun: &mut LunInformation) -> (HResult, bool) {
        self.provider.fill_in_lun_info(&DeviceName(r"\\?\PhysicalDrive7".to_owned()), lun)
    }

    pub(crate) fn ledger(&self) -> Result<Ledger, Setback> {
        Ok(self.host.ledger()?)
    }

    /// Whether the host sees a LUN.
    pub(crate) fn sees(&self, lun: &LunInformation) -> Result<bool, Setback> {
        Ok(self.host.disk(lun)?.is_some())
    }

    pub(crate) fn disk(&self, lun: &LunInformation) -> Result<Arc<dyn DiskIo>, Setback> {
        self.host.disk(lun)?.ok_or_else(|| Setback(format!("the host does not see {}", serial(lun))))
    }

    /// Makes a source longer. Answers with the length that the host sees then.
    pub(crate) fn grow(&self, source: &LunInformation, by_bytes: u64) -> Result<u64, Setback> {
        let before_bytes = self.disk(source)?.len_bytes();
        if !self.host.grow(source, by_bytes)? {
            return Err(Setback("the test bed cannot grow a LUN".to_owned()));
        }
        let after_bytes = self.disk(source)?.len_bytes();
        if after_bytes == before_bytes + by_bytes {
            return Ok(after_bytes);
        }
        Err(Setback(format!(
            "a LUN of {before_bytes} bytes is to have {by_bytes} more, and the host sees {after_bytes}"
        )))
    }

    /// Writes something that can be told from everything else to a place of a LUN, numbered from 0 on.
    pub(crate) fn mark(&self, lun: &LunInformation, place: u64, text: &str) -> Result<(), Setback> {
        let disk = self.disk(lun)?;
        let written = disk.write_at(self.host.scratch().0 + place * MARK_LEN as u64, &self.mark_of(text));
        written.and_then(|()| disk.flush()).map_err(|error| Setback(format!("a LUN cannot be written: {error}")))
    }

    /// Whether a place of a LUN has what [`mark`](Self::mark) wrote.
    pub(crate) fn has_mark(&self, lun: &LunInformation, place: u64, text: &str) -> Result<bool, Setback> {
        let mut found = vec![0; MARK_LEN];
        let at = self.host.scratch().0 + place * MARK_LEN as u64;
        self.disk(lun)?.read_at(at, &mut found).map_err(|error| Setback(format!("a LUN cannot be read: {error}")))?;
        Ok(found == self.mark_of(text))
    }

    fn mark_of(&self, text: &str) -> Vec<u8> {
        format!("{} {text}\0", self.nonce).bytes().cycle().take(MARK_LEN).collect()
    }

    /// Makes the array do something.
    pub(crate) fn while_array(&self, condition: Condition) -> Result<While<'a>, Setback> {
        if self.bed.set_condition(condition) {
            Ok(While(self.bed))
        } else {
            Err(Setback(format!("the test bed's array cannot be made to be so: {condition:?}")))
        }
    }
}

fn start(
    host: &Arc<dyn TestHost>,
    recorder: &Arc<Recorder>,
    breakage: &Breakage,
) -> Result<Arc<dyn HardwareProvider>, Setback> {
    let begin = {
        let host = Arc::clone(host);
        move |events| host.start_provider(events)
    };
    let provider = breakage.process(Box::new(begin), Arc::<Recorder>::clone(recorder))?;
    Ok(Arc::new(Recorded::new(provider, Arc::clone(recorder))))
}

/// The array is in another condition for as long as this lives.
pub(crate) struct While<'a>(&'a dyn TestBed);

impl Drop for While<'_> {
    fn drop(&mut self) {
        self.0.set_condition(Condition::Sound);
    }
}

/// What a check cannot do without.
pub(crate) fn need<T>(what: &str, answer: Result<T, HResult>) -> Result<T, Setback> {
    answer.map_err(|code| Setback(format!("{what} answered {code}")))
}

/// Device names as they come from VSS.
pub(crate) fn names(count: usize) -> Vec<DeviceName> {
    (0..count).map(|number| DeviceName(format!(r"\\?\PhysicalDrive{number}"))).collect()
}

pub(crate) fn new_set() -> SnapshotSetId {
    SnapshotSetId(Uuid::new_v4())
}

/// For evidence: which LUN.
pub(crate) fn serial(lun: &LunInformation) -> &str {
    lun.serial_number.as_deref().unwrap_or("a LUN without serial number")
}

/// A disk of somebody else.
pub(crate) fn foreign(number: usize) -> LunInformation {
    LunInformation {
        version: LUN_INFORMATION_VERSION,
        device_type: 0,
        device_type_modifier: 0,
        command_queueing: true,
        bus_type: BusType::ISCSI,
        vendor_id: Some("ACME".to_owned()),
        product_id: Some("SPINNING RUST".to_owned()),
        product_revision: Some("1.0".to_owned()),
        serial_number: Some(format!("Z1D7{number:04}")),
        disk_signature: DiskSignature(Uuid::from_u128(0x0815_4711)),
        descriptor_version: 1,
        identifiers: vec![StorageIdentifier {
            code_set: 2,
            kind: StorageIdentifier::VENDOR_ID,
            bytes: format!("ACME    Z1D7{number:04}").into_bytes(),
        }],
        interconnects: Vec::new(),
    }
}
