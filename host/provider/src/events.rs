//! What the administrator is told: one event per situation, each with what to do.

use std::fmt;

/// Where events go: the Application log on Windows. Called from any thread, never while the writes of a set are held.
pub trait EventLog: Send + Sync {
    /// Writes one event.
    fn record(&self, event: Event);
}

/// How grave an event is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Something succeeded.
    Information,
    /// Nothing failed, but somebody should look.
    Warning,
    /// A call failed.
    Error,
}

/// One entry for the log. Its [`Display`](fmt::Display) is the whole text, remedy included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The situation.
    pub id: EventId,
    /// What happened, in which call, to which set or LUN.
    pub text: String,
}

impl Event {
    /// How grave it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.id.severity()
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.text, self.id.remedy())
    }
}

macro_rules! situations {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $severity:ident, $what:literal, $remedy:literal;)*) => {
        /// The situations that are worth an event. The numbers are stable: people filter logs by them.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum EventId {
            $($(#[$doc])* $name,)*
        }

        impl EventId {
            /// All situations.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The number in the log.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number,)* }
            }

            /// How grave it is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }

            /// What happened, as the beginning of a sentence.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }

            /// What to do about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

situations! {
    /// A set is complete.
    SetCreated = 1, Information,
        "a shadow copy set was created",
        "Nothing is to be done.";
    /// LUNs have the content of their shadow LUNs.
    ResyncFinished = 2, Information,
        "LUNs were brought back to the content of their shadow LUNs",
        "Nothing is to be done.";
    /// A resync was cancelled in time.
    ResyncCancelled = 3, Information,
        "a resync was cancelled, and no LUN was changed",
        "Nothing is to be done.";
    /// The array did not answer.
    ArrayUnreachable = 10, Error,
        "the array cannot be reached",
        "Check that the array's service runs and that the network between this host and the array works, then repeat the backup.";
    /// The array does not know this host or does not let it do this.
    HostNotAllowed = 11, Error,
        "the array does not allow this host to do this",
        "Add this host with its initiator at the array and give it the LUN: `lunshadow host add`, `lunshadow lun map`; then repeat the operation.";
    /// The array failed.
    ArrayFailed = 12, Error,
        "the array failed",
        "Look into the array's log for the cause, then repeat the operation.";
    /// The pool takes no writes.
    PoolReadOnly = 13, Error,
        "the array's pool refuses writes after an I/O error",
        "Repair the storage under the pool and restart the array's service.";
    /// The pool is full.
    OutOfSpace = 14, Error,
        "the array's pool has no room for the shadow copy",
        "Delete shadow copies that are not needed, or enlarge the pool, then repeat the backup.";
    /// A limit of the array is reached.
    LimitReached = 15, Error,
        "a limit of the array is reached",
        "Delete shadow copies that are not needed, or put fewer volumes into one set.";
    /// The array does not know a LUN.
    UnknownLun = 16, Error,
        "the array does not know the LUN, or does not show it to this host",
        "Check that the LUN exists on the array and that it is mapped to this host.";
    /// The array does not know the set.
    UnknownSet = 17, Error,
        "the array does not know the shadow copy set",
        "Repeat the backup; if this happens again, check whether the array's service is being restarted.";
    /// The set is gone.
    SetAborted = 18, Error,
        "the shadow copy set was given up before it was complete",
        "Repeat the backup; if nobody cancelled it, check the load of this host and of the array.";
    /// The commit took too long.
    CommitTooLate = 19, Error,
        "the point in time was not fixed soon enough",
        "Reduce the load on the array or put fewer volumes into one set, then repeat the backup.";
    /// The array has the set or LUN in another state.
    ArrayStateMismatch = 20, Error,
        "the array has the shadow copy set in another state than the call needs",
        "Repeat the backup; if this happens again, restart the Volume Shadow Copy service.";
    /// Not a shadow LUN.
    NotAShadowLun = 21, Error,
        "the LUN is not a shadow LUN, so it was left alone",
        "Check which disk the operation was meant for; production LUNs are deleted at the array only.";
    /// VSS called out of order.
    CallOutOfOrder = 22, Error,
        "the call came out of order",
        "Repeat the backup; if this happens again, restart the Volume Shadow Copy service.";
    /// A source LUN was not captured.
    SourceNotInSet = 23, Error,
        "a LUN that was asked for is not in the current shadow copy set",
        "Repeat the backup; if this happens again, check that the volume's disks did not change in between.";
    /// A disk that is none of ours.
    ForeignDisk = 24, Error,
        "the disk is not a LUN of this array, so it was left alone",
        "Check which disk the operation was meant for, and that this host is connected to the right array.";
    /// The array does not know the host's credential.
    CredentialRefused = 26, Error,
        "the array does not accept this host's credential",
        "Enrol this host anew: `lunshadow host enrol` at the array, then `lunshadow-provider config add` here.";
    /// Another host uses the LUN.
    LunInUse = 27, Error,
        "another host uses the LUN, so its content was not replaced",
        "Take the LUN away from the other hosts, then repeat the operation.";
    /// The arguments of a call contradict each other.
    CallMalformed = 28, Error,
        "the call's arguments do not fit together",
        "Repeat the operation; if this happens again, restart the Volume Shadow Copy service.";
    /// Nobody knows how a resync ended.
    ResyncLost = 29, Error,
        "it is not known whether LUNs were brought back to the content of their shadow LUNs",
        "Look into the array's log; if the resync is not in it, the LUNs have their content of before: repeat the recovery.";
    /// A panic, or an answer that may not be, kept from VSS.
    Panicked = 30, Error,
        "the provider has a fault, at which the call was given up",
        "Repeat the operation; if this happens again, report it together with the events around this one.";
    /// Shadow LUNs that VSS may have forgotten.
    OrphanCandidate = 40, Warning,
        "the shadow LUNs of an ended creation were kept",
        "If no backup uses them, delete the set at the array: `lunshadow shadow delete`.";
    /// An abort has still to reach the array.
    RemovalPending = 41, Warning,
        "an unfinished shadow copy set could not be removed from the array yet",
        "It is tried again with the next shadow copy; the array removes the set by itself when its lease ends.";
    /// The provider was loaded, the array is not there.
    ArrayNotReady = 42, Warning,
        "the provider was loaded, but the array does not serve it",
        "Until it does, volumes on the array are not offered for hardware shadow copies; check the array's service and the network.";
    /// There were more events than fit while writes were held.
    EventsLost = 43, Warning,
        "events were lost while writers were frozen",
        "Look into the array's log for what happened at that time.";
    /// A commit was slower than it should be.
    CommitSlow = 44, Warning,
        "the point in time was fixed, but late",
        "Reduce the load on the array or put fewer volumes into one set: after a few seconds more the backup fails.";
    /// The array still takes a LUN for a shadow LUN that is none any more.
    UseNotNoted = 45, Warning,
        "the array could not be told that shadow LUNs are used as ordinary ones now",
        "Make them LUNs of their own at the array, since shadow LUNs may be deleted: `lunshadow shadow detach`.";
    /// The settings were changed to something that cannot be used.
    SettingsRefused = 47, Warning,
        "the settings of this host's provider cannot be used, so the last good ones stay in force",
        "Correct the file, or write it anew with `lunshadow-provider config`; a restart is not needed.";
    /// The caller has let go of a resync.
    ResyncUnobserved = 46, Warning,
        "nobody waits any more for a resync that runs",
        "Do not use the target LUNs before another event tells how it ended.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_situation_has_a_number_of_its_own_and_a_remedy() {
        let numbers: HashSet<_> = EventId::ALL.iter().map(|id| id.number()).collect();
        assert_eq!(numbers.len(), EventId::ALL.len());
        for id in EventId::ALL {
            assert!(id.remedy().ends_with('.') && id.remedy().len() > 20, "{id:?}");
            assert!(!id.what().ends_with('.') && !id.what().is_empty(), "{id:?}");
        }
    }

    #[test]
    fn the_whole_text_says_what_to_do() {
        let event = Event { id: EventId::OutOfSpace, text: "EndPrepareSnapshots: full.".into() };
        assert!(event.to_string().starts_with("EndPrepareSnapshots: full. Delete shadow copies"));
        assert_eq!(event.severity(), Severity::Error);
    }
}
