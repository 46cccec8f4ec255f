//! Machines that are wrong in one way each, which a search has to find.

use lunshadow_vss::{Call, Lifecycle, ShadowLuns, SnapshotSetId, SnapshotState, Transition, Verdict};

use crate::promise::Promise;

/// What a machine does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The end of a call counts whatever happened meanwhile.
    CountsOvertaken,
    /// A new sequence begins without a word about the old one.
    ForgetsUnfinished,
    /// A new sequence discards what is kept.
    DiscardsKept,
    /// A call out of order is carried out.
    TakesAnyOrder,
    /// `CommitSnapshots` is carried out again when it comes again.
    CommitsAgain,
    /// Targets are told at any time.
    TellsTargetsEarly,
}

impl Fault {
    /// All of them, with the promise that each breaks.
    pub const ALL: [(Self, Promise); 6] = [
        (Self::CountsOvertaken, Promise::OvertakenDoesNotCount),
        (Self::ForgetsUnfinished, Promise::UnfinishedIsDiscarded),
        (Self::DiscardsKept, Promise::KeptIsNotDiscarded),
        (Self::TakesAnyOrder, Promise::StepsInOrder),
        (Self::CommitsAgain, Promise::CommitAtMostOnce),
        (Self::TellsTargetsEarly, Promise::TargetsOnlyOfKept),
    ];

    pub(super) fn begin(self, machine: &mut Lifecycle, call: Call) -> Verdict {
        let before = machine.state();
        let verdict = machine.begin(call);
        match (self, verdict, call) {
            (Self::ForgetsUnfinished, Verdict::DiscardFirst { transition, .. }, _) => Verdict::Proceed(transition),
            (Self::DiscardsKept, Verdict::DiscardFirst { discarded, transition, .. }, _) => {
                Verdict::DiscardFirst { discarded, luns: ShadowLuns::Discard, transition }
            }
            (Self::TellsTargetsEarly, Verdict::OutOfOrder { .. }, Call::GetTargetLuns)
            | (Self::TakesAnyOrder, Verdict::OutOfOrder { .. }, Call::PreFinalCommitSnapshots(_)) => {
                carried_out(verdict)
            }
            (Self::CommitsAgain, Verdict::OutOfOrder { .. }, Call::CommitSnapshots(_))
                if before == SnapshotState::COMMITTED =>
            {
                carried_out(verdict)
            }
            _ => verdict,
        }
    }

    pub(super) fn end(
        self,
        machine: &mut Lifecycle,
        set: SnapshotSetId,
        transition: Transition,
        succeeded: bool,
    ) -> bool {
        let counts = machine.end(set, transition, succeeded);
        counts || self == Self::CountsOvertaken
    }
}

/// The same call as if it were legal. Its states do not matter: that it is carried out is wrong already.
fn carried_out(verdict: Verdict) -> Verdict {
    match Lifecycle::new().verdict(Call::OnUnload) {
        Verdict::Proceed(transition) => Verdict::Proceed(transition),
        _ => verdict,
    }
}
