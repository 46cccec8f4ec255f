//! The coordinator's knobs: where the documentation of VSS leaves room, or a test wants less patience (section 4.0 of the contract).

use std::time::Duration;

use lunshadow_vss::{BusType, Context, LunInformation, MatchLevel, ProviderId, StorageIdentifier};

/// Where the final commit calls stand, the conflict of section 4(a).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FinalOrder {
    /// GetTargetLuns and the import come before PreFinalCommitSnapshots, as the documentation's diagram has it. Only so can
    /// writers change the shadow copies.
    #[default]
    Diagram,
    /// PreFinalCommitSnapshots and PostFinalCommitSnapshots come before GetTargetLuns, as the documentation's text has it.
    Text,
}

/// What LocateLuns is given for a LUN that several volumes of the set share.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LocateArray {
    /// One entry for each volume and LUN, so with duplicates.
    #[default]
    PerVolume,
    /// One entry for each LUN.
    Deduplicated,
}

/// What becomes of the code that FillInLunInfo answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FillMode {
    /// Nothing: only the Boolean counts, as since Windows Server 2008.
    #[default]
    Ignored,
    /// A failure fails the import, as on Windows Server 2003.
    Honoured,
}

/// Whether writers may change the shadow copies of a transportable set, the conflict of section 4(b).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TransportableRecovery {
    /// Never, as on Windows Server 2003 SP1: nothing of the set is surfaced on the host that creates it.
    #[default]
    Never,
    /// On the host that creates the set, as the table of Windows Server 2008 has it: its LUNs come in there, and are masked again afterwards.
    OnCreatingHost,
}

/// By what an arrived disk is taken for an announced shadow LUN (section 5.3). How VSS does it is not documented.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MatchMode {
    /// By the surest way that there is.
    #[default]
    Surest,
    /// Only if all fields that count are equal.
    AllFields,
    /// By page 0x83 alone, as blogs have it of Windows Server 2008 and later.
    Page83,
    /// By page 0x80 alone, as of Windows Server 2003.
    Page80,
}

impl MatchMode {
    /// How surely two descriptions are of one LUN; `None` if this is no match.
    pub(crate) fn level(self, announced: &LunInformation, arrived: &LunInformation) -> Option<MatchLevel> {
        let is_match = match self {
            Self::Surest => true,
            Self::AllFields => announced.matches_strictly(arrived),
            Self::Page83 => announced.matches_by_page83(arrived),
            Self::Page80 => announced.matches_by_page80(arrived),
        };
        announced.match_level(arrived).filter(|_| is_match)
    }
}

/// What a host's storage stack does to the description of a disk before FillInLunInfo sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mangling {
    /// Texts are in capital letters.
    Uppercase,
    /// Texts are filled up with blanks.
    Padding,
    /// Texts have lost the blanks around them.
    Trimmed,
    /// Page 0x83 is lost.
    NoIdentifiers,
    /// The identifiers of page 0x83 come in another order, with one of the port among them.
    MoreIdentifiers,
    /// The disk seems to be on another bus.
    AnotherBus,
}

impl Mangling {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Uppercase, Self::Padding, Self::Trimmed, Self::NoIdentifiers, Self::MoreIdentifiers, Self::AnotherBus];

    fn apply(self, lun: &mut LunInformation) {
        let texts =
            [&mut lun.vendor_id, &mut lun.product_id, &mut lun.product_revision, &mut lun.serial_number].into_iter();
        match self {
            Self::Uppercase => texts.flatten().for_each(|text| *text = text.to_uppercase()),
            Self::Padding => texts.flatten().for_each(|text| text.push_str("    ")),
            Self::Trimmed => texts.flatten().for_each(|text| *text = text.trim_matches(' ').to_owned()),
            Self::NoIdentifiers => lun.identifiers.clear(),
            Self::MoreIdentifiers => {
                lun.identifiers.reverse();
                lun.identifiers.push(StorageIdentifier { code_set: 1, kind: 4, bytes: vec![0, 0, 0, 1] });
            }
            Self::AnotherBus => lun.bus_type = BusType::SCSI,
        }
    }
}

/// The knobs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where the final commit calls stand.
    pub final_order: FinalOrder,
    /// How LocateLuns sees shared LUNs.
    pub locate_array: LocateArray,
    /// How long writes may be held: 10 s, section 7.
    pub hold_limit: Duration,
    /// How long writers may be frozen: 60 s, section 7. A writer can ask for less, see [`Writer::freeze_at_most`](crate::Writer::freeze_at_most).
    pub freeze_limit: Duration,
    /// How long the disks of a set may take to arrive after LocateLuns. Its value in VSS is not documented.
    pub arrival_timeout: Duration,
    /// For how long the provider is asked to wait for a resync, before the requester's cancellation is looked at again.
    pub resync_poll: Duration,
    /// In which order providers of one kind are asked and called; those that are not named come last, as they were registered or came into
    /// the set. VSS does not say which order it takes (section 1.4).
    pub order_of_providers: Vec<ProviderId>,
    /// To how many disks of somebody else FillInLunInfo is called in each import, as if they arrived meanwhile.
    pub fill_extra: usize,
    /// What becomes of the code that FillInLunInfo answers.
    pub fill_mode: FillMode,
    /// By what arrived disks are matched.
    pub match_mode: MatchMode,
    /// What is done to the description of a disk before FillInLunInfo sees it.
    pub mangle: Vec<Mangling>,
    /// Whether a transportable set is recovered by writers.
    pub transportable_recovery: TransportableRecovery,
    /// Whether AbortSnapshots goes to the providers when a set fails after PostCommitSnapshots.
    pub abort_after_postcommit: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            final_order: FinalOrder::default(),
            locate_array: LocateArray::default(),
            hold_limit: Duration::from_secs(10),
            freeze_limit: Duration::from_secs(60),
            arrival_timeout: Duration::from_secs(60),
            resync_poll: Duration::from_millis(500),
            order_of_providers: Vec::new(),
            fill_extra: 0,
            fill_mode: FillMode::default(),
            match_mode: MatchMode::default(),
            mangle: Vec::new(),
            transportable_recovery: TransportableRecovery::default(),
            abort_after_postcommit: true,
        }
    }
}

impl Settings {
    /// Whether writers can be given the shadow copies of a set in this context: those of a transportable one come in for that alone, if at all.
    pub(crate) fn gives_to_writers(&self, context: Context) -> bool {
        let comes_in = self.transportable_recovery == TransportableRecovery::OnCreatingHost
            && self.final_order == FinalOrder::Diagram;
        comes_in || !context.contains(Context::TRANSPORTABLE)
    }

    /// A disk as FillInLunInfo gets to see it.
    pub(crate) fn as_seen(&self, lun: &LunInformation) -> LunInformation {
        let mut seen = lun.clone();
        self.mangle.iter().for_each(|mangling| mangling.apply(&mut seen));
        seen
    }
}
