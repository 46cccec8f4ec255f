//! The faults that can be planted, as data: what each one is, in which methods, and which statements it breaks.

use lunshadow_vss::Method;
use serde::{Serialize, Serializer};

use crate::statements::Number;

macro_rules! faults {
    ($($name:ident, $text:literal, [$($method:ident),+], $what:literal, [$($number:literal),+];)*) => {
        /// A way in which a provider can be wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Fault {
            $(#[doc = $what] $name,)*
        }

        impl Fault {
            /// All faults.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What the provider does.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }

            /// The methods in which it acts. A sequence without a call of these goes as it goes without the fault; what it does in others follows
            /// from what it did in these.
            #[must_use]
            pub const fn acts_in(self) -> &'static [Method] {
                match self { $(Self::$name => &[$(Method::$method),+],)* }
            }

            /// The statements that it breaks, all of them.
            #[must_use]
            pub const fn breaks(self) -> &'static [Number] {
                match self { $(Self::$name => &[$(Number($number)),+],)* }
            }
        }
    };
}

impl Fault {
    /// Whether it is about slots, and so is there only where the provider is behind COM. Calls by the numbers of slots are in no sequence.
    #[must_use]
    pub const fn is_of_slots(self) -> bool {
        matches!(
            self,
            Self::SwapsSlots
                | Self::StrayPointers
                | Self::WritesInputs
                | Self::FailsAndAgrees
                | Self::NeedsReserved
                | Self::NeedsCallback
        )
    }
}

faults! {
    SwapsSlots, "swaps-slots", [PreCommitSnapshots, CommitSnapshots], "PreCommitSnapshots and CommitSnapshots stand in each other's slots.", [4];
    StrayPointers, "stray-pointers", [GetTargetLuns], "GetTargetLuns answers with pointers that are no task memory.", [20];
    WritesInputs, "writes-inputs", [GetTargetLuns], "GetTargetLuns writes into the sources.", [22];
    FailsAndAgrees, "fails-and-agrees", [AreLunsSupported], "AreLunsSupported leaves TRUE when it fails.", [36];
    NeedsReserved, "needs-reserved", [ResyncLuns], "QueryStatus refuses a NULL for its reserved parameter.", [110];
    NeedsCallback, "needs-callback", [OnLoad], "OnLoad refuses a NULL callback.", [121];
    IllegalCode, "illegal-code", [GetTargetLuns], "GetTargetLuns answers E_POINTER for no LUNs.", [12];
    PlainFailure, "plain-failure", [GetTargetLuns], "GetTargetLuns answers E_FAIL for no LUNs.", [13];
    SilentVeto, "silent-veto", [OnLunEmpty], "A veto of OnLunEmpty has no event.", [14];
    VetoToldTwice, "veto-told-twice", [OnLunEmpty], "A veto of OnLunEmpty has two events.", [14];
    EventInCommit, "event-in-commit", [CommitSnapshots], "CommitSnapshots writes an event.", [15];
    AlarmingSuccess, "alarming-success", [PostFinalCommitSnapshots], "PostFinalCommitSnapshots succeeds with an event of an error.", [19];
    ClearsInterconnects, "clears-interconnects", [FillInLunInfo], "FillInLunInfo empties the interconnects.", [23];
    PanicsOnAbsence, "panics-on-absence", [FillInLunInfo], "FillInLunInfo crashes on a LUN without vendor.", [24];
    PanicsOnLength, "panics-on-length", [FillInLunInfo], "FillInLunInfo crashes on an identifier of 64 KiB.", [25];
    ClaimsForeign, "claims-foreign", [AreLunsSupported], "AreLunsSupported agrees to a foreign disk.", [26];
    VetoesForeign, "vetoes-foreign", [AreLunsSupported], "AreLunsSupported vetoes a foreign disk.", [26];
    OneOfOursIsEnough, "one-of-ours-is-enough", [AreLunsSupported], "AreLunsSupported agrees if any LUN is its own.", [27];
    VetoesWhenUnreachable, "vetoes-when-unreachable", [AreLunsSupported], "AreLunsSupported vetoes while the array is away.", [28];
    HopesWhenUnreachable, "hopes-when-unreachable", [AreLunsSupported], "AreLunsSupported agrees while the array is away.", [28];
    AgreesToPlex, "agrees-to-plex", [AreLunsSupported, BeginPrepareSnapshot], "AreLunsSupported agrees to PLEX, which BeginPrepareSnapshot refuses.", [29];
    NeedsAHint, "needs-a-hint", [AreLunsSupported], "AreLunsSupported declines without DIFFERENTIAL or PLEX.", [30];
    LocatesOwnOnly, "locates-own-only", [LocateLuns], "LocateLuns knows only what the same process has created.", [31, 71, 79, 120];
    ServesClients, "serves-clients", [AreLunsSupported], "AreLunsSupported agrees to client-accessible copies.", [32];
    AskingBegins, "asking-begins", [AreLunsSupported], "AreLunsSupported begins to prepare.", [33];
    PromisesAndFails, "promises-and-fails", [BeginPrepareSnapshot], "BeginPrepareSnapshot vetoes what AreLunsSupported agreed to.", [34];
    DisownsShadows, "disowns-shadows", [AreLunsSupported], "AreLunsSupported declines the provider's own shadow LUNs.", [35];
    BeginsSlowly, "begins-slowly", [BeginPrepareSnapshot], "BeginPrepareSnapshot takes 1.5 s.", [37];
    DoesNotWait, "does-not-wait", [EndPrepareSnapshots], "EndPrepareSnapshots returns before the array is ready.", [38];
    RefusesSharedLuns, "refuses-shared-luns", [BeginPrepareSnapshot], "BeginPrepareSnapshot vetoes a LUN that is in the set.", [39];
    ForgetsTheOldSet, "forgets-the-old-set", [BeginPrepareSnapshot], "A new set begins without the end of the old one.", [40];
    DropsKeptSets, "drops-kept-sets", [BeginPrepareSnapshot], "A new set removes the complete one before it.", [40, 82, 120, 124];
    OneFailureEndsTheSet, "one-failure-ends-the-set", [BeginPrepareSnapshot], "A volume that fails in BeginPrepareSnapshot aborts its set.", [41];
    VetoesUnknownSets, "vetoes-unknown-sets", [EndPrepareSnapshots], "EndPrepareSnapshots vetoes an unknown set.", [42];
    HidesTheShortage, "hides-the-shortage", [EndPrepareSnapshots], "EndPrepareSnapshots vetoes when there is no room.", [43];
    OneCallAtATime, "one-call-at-a-time", [EndPrepareSnapshots, AbortSnapshots], "AbortSnapshots waits for EndPrepareSnapshots.", [44];
    EightVolumes, "eight-volumes", [BeginPrepareSnapshot], "BeginPrepareSnapshot vetoes the ninth volume of a set.", [45];
    CapturesEarly, "captures-early", [EndPrepareSnapshots], "The content is that of EndPrepareSnapshots.", [46, 51, 57];
    RefusesWithVeto, "refuses-with-veto", [BeginPrepareSnapshot], "BeginPrepareSnapshot vetoes contexts and LUNs that have codes of their own.", [47];
    SlowPreCommit, "slow-precommit", [PreCommitSnapshots], "PreCommitSnapshots takes 2.5 s.", [48];
    SlowCommit, "slow-commit", [CommitSnapshots], "CommitSnapshots takes 1.5 s.", [49];
    BelievesLateCommits, "believes-late-commits", [CommitSnapshots], "A commit that took longer than writes are held succeeds.", [51];
    CapturesLate, "captures-late", [CommitSnapshots], "The content is that of PostCommitSnapshots.", [51, 53, 57];
    UnknownSetsAreFine, "unknown-sets-are-fine", [PreCommitSnapshots, CommitSnapshots, PostCommitSnapshots], "The commit of an unknown set succeeds.", [54];
    RepairsDisorder, "repairs-disorder", [CommitSnapshots], "CommitSnapshots makes up for a PreCommitSnapshots that did not come.", [55];
    CountsVolumes, "counts-volumes", [PostCommitSnapshots], "PostCommitSnapshots vetoes another count than its own.", [56];
    HidesCommitFailures, "hides-commit-failures", [CommitSnapshots], "CommitSnapshots succeeds although the array's commit failed.", [57];
    LastTargetMissing, "last-target-missing", [GetTargetLuns], "GetTargetLuns answers one LUN less.", [59];
    TargetsReversed, "targets-reversed", [GetTargetLuns], "GetTargetLuns answers in the reverse order.", [59, 63];
    TargetsHaveSignatures, "targets-have-signatures", [GetTargetLuns], "GetTargetLuns answers with a disk signature.", [60];
    NoIdentifiers, "no-identifiers", [GetTargetLuns], "Shadow LUNs have no page 0x83.", [61];
    IdentifierOfTheSource, "identifier-of-the-source", [GetTargetLuns], "Shadow LUNs have an identifier of their source.", [62];
    NewIdentityEachTime, "new-identity-each-time", [GetTargetLuns], "GetTargetLuns makes up an identifier with each call.", [63];
    MapsEarly, "maps-early", [GetTargetLuns], "GetTargetLuns maps the shadow LUNs.", [64];
    AnswersForStrangers, "answers-for-strangers", [GetTargetLuns], "GetTargetLuns answers for a source that is not in the set.", [65];
    LocatesNothing, "locates-nothing", [LocateLuns], "LocateLuns succeeds and leaves nothing mapped.", [67, 71, 80];
    RefusesDuplicates, "refuses-duplicates", [LocateLuns], "LocateLuns vetoes a LUN that is named twice.", [70];
    RefusesLocated, "refuses-located", [LocateLuns], "LocateLuns vetoes a LUN that is located.", [70];
    LeavesHalfLocated, "leaves-half-located", [LocateLuns], "LocateLuns maps one LUN after the other, and stops at a failure.", [72];
    SkipsUnknown, "skips-unknown", [LocateLuns], "LocateLuns passes over LUNs that it does not know.", [72];
    ClaimsForeignDisks, "claims-foreign-disks", [FillInLunInfo], "FillInLunInfo claims a foreign disk.", [73, 78];
    RewritesForeignDisks, "rewrites-foreign-disks", [FillInLunInfo], "FillInLunInfo changes a foreign disk.", [73, 78];
    VetoesForeignDisks, "vetoes-foreign-disks", [FillInLunInfo], "FillInLunInfo vetoes a foreign disk.", [73, 78];
    FillsInWrongly, "fills-in-wrongly", [FillInLunInfo], "FillInLunInfo gives another revision than GetTargetLuns.", [74, 75, 79, 126];
    ExactSpellingOnly, "exact-spelling-only", [FillInLunInfo], "FillInLunInfo recognises the exact spelling only.", [75];
    FailureClaims, "failure-claims", [FillInLunInfo], "FillInLunInfo answers TRUE when it fails.", [76];
    KeepsSignatures, "keeps-signatures", [FillInLunInfo], "FillInLunInfo leaves the disk signature.", [77];
    ArrivalsEndTheSet, "arrivals-end-the-set", [FillInLunInfo], "A foreign disk that arrives aborts the current set.", [78];
    IdentityOfTheProcess, "identity-of-the-process", [GetTargetLuns], "Shadow LUNs have another revision after a restart.", [79, 126];
    OneImportOnly, "one-import-only", [LocateLuns], "LocateLuns vetoes a LUN that was masked.", [80, 95];
    DeletesTheSet, "deletes-the-set", [OnLunEmpty], "OnLunEmpty deletes all LUNs of the set.", [81];
    DeletionOnlyUnmaps, "deletion-only-unmaps", [OnLunEmpty], "OnLunEmpty unmaps and does not delete.", [81];
    UnloadDeletes, "unload-deletes", [OnUnload], "OnUnload deletes complete sets.", [82, 119];
    SecondDeletionFails, "second-deletion-fails", [OnLunEmpty], "OnLunEmpty vetoes a LUN that is gone.", [84];
    DeletesAnything, "deletes-anything", [OnLunEmpty], "OnLunEmpty succeeds for LUNs that are no shadow LUNs.", [85];
    NeedsDeviceNames, "needs-device-names", [OnLunEmpty], "OnLunEmpty refuses a missing device name.", [86];
    ForgetsTheBegun, "forgets-the-begun", [OnLunEmpty], "OnLunEmpty succeeds and does nothing if an earlier process has begun with the LUN.", [87];
    DeniesTheBegun, "denies-the-begun", [OnLunEmpty], "OnLunEmpty vetoes a LUN that an earlier process has begun to delete.", [87];
    DeletesTheYounger, "deletes-the-younger", [OnLunEmpty], "OnLunEmpty deletes younger copies of the source too.", [88];
    NoFinalCommit, "no-final-commit", [PreFinalCommitSnapshots], "PreFinalCommitSnapshots vetoes.", [89];
    FinalCommitMasks, "final-commit-masks", [PostFinalCommitSnapshots], "PostFinalCommitSnapshots masks the shadow LUNs.", [93];
    RevertsTheSource, "reverts-the-source", [PostFinalCommitSnapshots], "PostFinalCommitSnapshots copies the shadow LUNs onto their sources.", [94];
    MasksNothing, "masks-nothing", [OnLunStateChange], "OnLunStateChange does not mask.", [95, 97];
    MaskDeletes, "mask-deletes", [OnLunStateChange], "OnLunStateChange deletes what it is to mask.", [80, 82, 95];
    NotificationsMask, "notifications-mask", [OnLunStateChange], "OnLunStateChange masks with every notification.", [96];
    RefusesUnknownBits, "refuses-unknown-bits", [OnLunStateChange], "OnLunStateChange refuses bits that it does not know.", [97];
    NeedsOriginals, "needs-originals", [OnLunStateChange], "OnLunStateChange refuses missing original LUNs.", [97];
    ReuseDeletes, "reuse-deletes", [OnReuseLuns], "OnReuseLuns deletes.", [98];
    ResyncsOneOnly, "resyncs-one-only", [ResyncLuns], "ResyncLuns vetoes more than one LUN.", [99];
    ResyncsFromTheOldest, "resyncs-from-the-oldest", [ResyncLuns], "ResyncLuns takes the oldest copy of each LUN.", [101];
    ResyncUsesUp, "resync-uses-up", [ResyncLuns], "A resync deletes the shadow LUN.", [102];
    ResyncHidesTheShortage, "resync-hides-the-shortage", [ResyncLuns], "ResyncLuns vetoes when there is no room.", [105];
    ResyncFindsTheShortage, "resync-finds-the-shortage", [ResyncLuns], "A resync for which there is no room begins, and fails.", [105];
    NeverFinished, "never-finished", [ResyncLuns], "A finished resync has the status of one that runs.", [106];
    HidesResyncFailures, "hides-resync-failures", [ResyncLuns], "A failed resync has the status of a finished one.", [107];
    WaitsAnyway, "waits-anyway", [ResyncLuns], "Wait(0) takes 3 s.", [108];
    IgnoresCancel, "ignores-cancel", [ResyncLuns], "Cancel does nothing.", [109];
    AbandonsSilently, "abandons-silently", [ResyncLuns], "Nothing is logged when nobody waits for a resync any more.", [111];
    AbortForgets, "abort-forgets", [AbortSnapshots], "AbortSnapshots leaves a set that is committed.", [113, 123];
    UnknownAbortsAreVetoed, "unknown-aborts-are-vetoed", [AbortSnapshots], "AbortSnapshots vetoes a set that it does not know.", [114];
    AbortsTheCurrent, "aborts-the-current", [AbortSnapshots], "AbortSnapshots ends the current set, whichever is named.", [115];
    AbortDeletesComplete, "abort-deletes-complete", [AbortSnapshots], "AbortSnapshots deletes a set that is complete.", [116];
    ForcedUnloadRefused, "forced-unload-refused", [OnUnload], "OnUnload(TRUE) asks to stay.", [117];
    ForcedUnloadForgets, "forced-unload-forgets", [OnUnload], "OnUnload(TRUE) leaves an unfinished set.", [117];
    NeverBusy, "never-busy", [OnUnload], "OnUnload(FALSE) agrees while a resync runs.", [118];
    WearsOut, "wears-out", [BeginPrepareSnapshot], "After 50 loads BeginPrepareSnapshot vetoes.", [119];
    NeedsLoading, "needs-loading", [BeginPrepareSnapshot], "BeginPrepareSnapshot vetoes before OnLoad.", [122];
    BusyWhileCreating, "busy-while-creating", [LocateLuns], "LocateLuns vetoes while a set is created.", [124];
    NeedsTargetsEarly, "needs-targets-early", [GetTargetLuns], "GetTargetLuns vetoes after PostFinalCommitSnapshots.", [92];
}

/// A text that names no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no fault {0:?}; `lunshadow conform faults` lists them")]
pub struct UnknownFault(
    /// The text.
    String,
);

impl std::str::FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        Self::ALL.iter().copied().find(|fault| fault.name() == text).ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
