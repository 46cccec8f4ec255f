//! `HRESULT`s: an open code, since a provider may answer anything and the coordinator has to cope with it.

use std::fmt;

/// A COM result code. Negative codes are failures.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct HResult(pub i32);

impl HResult {
    /// Takes the code as it is written in documentation.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits.cast_signed())
    }

    /// The code as it is written in documentation.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0.cast_unsigned()
    }

    /// Whether the code is a failure.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self.0 < 0
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $bits:literal, $text:literal;)*) => {
        impl HResult {
            $($(#[$doc])* pub const $name: Self = Self::from_bits($bits);)*

            /// All codes that have a name, in the order of their declarations.
            pub const NAMED: &[Self] = &[$(Self::$name),*];

            /// The name of the code in the SDK headers, for the codes that are known here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.bits() {
                    $($bits => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// Success.
    S_OK = 0x0000_0000, "S_OK";
    /// Success with a twist; illegal from a provider but for `OnUnload`.
    S_FALSE = 0x0000_0001, "S_FALSE";
    /// Not implemented.
    E_NOTIMPL = 0x8000_4001, "E_NOTIMPL";
    /// The object has no such interface.
    E_NOINTERFACE = 0x8000_4002, "E_NOINTERFACE";
    /// A null pointer where none may be.
    E_POINTER = 0x8000_4003, "E_POINTER";
    /// Aborted; illegal from a provider.
    E_ABORT = 0x8000_4004, "E_ABORT";
    /// Failed; illegal from a provider.
    E_FAIL = 0x8000_4005, "E_FAIL";
    /// Unexpected; illegal from a provider.
    E_UNEXPECTED = 0x8000_FFFF, "E_UNEXPECTED";
    /// An unprivileged client called.
    E_ACCESSDENIED = 0x8007_0005, "E_ACCESSDENIED";
    /// Out of memory or another resource of the system.
    E_OUTOFMEMORY = 0x8007_000E, "E_OUTOFMEMORY";
    /// A bad argument.
    E_INVALIDARG = 0x8007_0057, "E_INVALIDARG";
    /// An asynchronous operation still runs.
    VSS_S_ASYNC_PENDING = 0x0004_2309, "VSS_S_ASYNC_PENDING";
    /// An asynchronous operation succeeded.
    VSS_S_ASYNC_FINISHED = 0x0004_230A, "VSS_S_ASYNC_FINISHED";
    /// An asynchronous operation was cancelled.
    VSS_S_ASYNC_CANCELLED = 0x0004_230B, "VSS_S_ASYNC_CANCELLED";
    /// An import is incomplete or identities did not match; a success code.
    VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED = 0x0004_2321, "VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED";
    /// VSS itself failed; its log tells more.
    VSS_E_UNEXPECTED = 0x8004_2302, "VSS_E_UNEXPECTED";
    /// The object is not in a state that allows the operation.
    VSS_E_BAD_STATE = 0x8004_2301, "VSS_E_BAD_STATE";
    /// No provider of that id is registered.
    VSS_E_PROVIDER_NOT_REGISTERED = 0x8004_2304, "VSS_E_PROVIDER_NOT_REGISTERED";
    /// The provider failed; it has logged an event.
    VSS_E_PROVIDER_VETO = 0x8004_2306, "VSS_E_PROVIDER_VETO";
    /// Unknown id.
    VSS_E_OBJECT_NOT_FOUND = 0x8004_2308, "VSS_E_OBJECT_NOT_FOUND";
    /// No provider supports the volume.
    VSS_E_VOLUME_NOT_SUPPORTED = 0x8004_230C, "VSS_E_VOLUME_NOT_SUPPORTED";
    /// The object is there already.
    VSS_E_OBJECT_ALREADY_EXISTS = 0x8004_230D, "VSS_E_OBJECT_ALREADY_EXISTS";
    /// The provider does not support the volume.
    VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER = 0x8004_230E, "VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER";
    /// VSS's translation of an illegal code of a provider.
    VSS_E_UNEXPECTED_PROVIDER_ERROR = 0x8004_230F, "VSS_E_UNEXPECTED_PROVIDER_ERROR";
    /// A document is XML, but its content is not what was written.
    VSS_E_CORRUPT_XML_DOCUMENT = 0x8004_2310, "VSS_E_CORRUPT_XML_DOCUMENT";
    /// A document is not XML of the kind that is expected.
    VSS_E_INVALID_XML_DOCUMENT = 0x8004_2311, "VSS_E_INVALID_XML_DOCUMENT";
    /// Too many volumes in a set.
    VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED = 0x8004_2312, "VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED";
    /// File systems could not be flushed in time.
    VSS_E_FLUSH_WRITES_TIMEOUT = 0x8004_2313, "VSS_E_FLUSH_WRITES_TIMEOUT";
    /// Writes could not be held for as long as the commit took.
    VSS_E_HOLD_WRITES_TIMEOUT = 0x8004_2314, "VSS_E_HOLD_WRITES_TIMEOUT";
    /// Another creation is under way.
    VSS_E_SNAPSHOT_SET_IN_PROGRESS = 0x8004_2316, "VSS_E_SNAPSHOT_SET_IN_PROGRESS";
    /// The provider has reached its limit.
    VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED = 0x8004_2317, "VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED";
    /// The context is not supported.
    VSS_E_UNSUPPORTED_CONTEXT = 0x8004_231B, "VSS_E_UNSUPPORTED_CONTEXT";
    /// There is no room for the copy.
    VSS_E_INSUFFICIENT_STORAGE = 0x8004_231F, "VSS_E_INSUFFICIENT_STORAGE";
    /// Nothing of the set arrived.
    VSS_E_NO_SNAPSHOTS_IMPORTED = 0x8004_2320, "VSS_E_NO_SNAPSHOTS_IMPORTED";
    /// A recovery would replace a volume that was not named.
    VSS_E_UNSELECTED_VOLUME = 0x8004_232A, "VSS_E_UNSELECTED_VOLUME";
    /// The loaded document does not have the shadow copy.
    VSS_E_SNAPSHOT_NOT_IN_SET = 0x8004_232B, "VSS_E_SNAPSHOT_NOT_IN_SET";
    /// A volume lies in a VHD inside a VHD.
    VSS_E_NESTED_VOLUME_LIMIT = 0x8004_232C, "VSS_E_NESTED_VOLUME_LIMIT";
    /// A writer cannot make its data consistent.
    VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT = 0x8004_23F0, "VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT";
    /// A writer lacks a resource.
    VSS_E_WRITERERROR_OUTOFRESOURCES = 0x8004_23F1, "VSS_E_WRITERERROR_OUTOFRESOURCES";
    /// A writer did not keep to the freeze window.
    VSS_E_WRITERERROR_TIMEOUT = 0x8004_23F2, "VSS_E_WRITERERROR_TIMEOUT";
    /// A writer failed; another attempt may succeed.
    VSS_E_WRITERERROR_RETRYABLE = 0x8004_23F3, "VSS_E_WRITERERROR_RETRYABLE";
    /// A writer failed, and will again.
    VSS_E_WRITERERROR_NONRETRYABLE = 0x8004_23F4, "VSS_E_WRITERERROR_NONRETRYABLE";
    /// A break cannot give the shadow disks the identities of their originals.
    VSS_E_BREAK_REVERT_ID_FAILED = 0x8004_23F6, "VSS_E_BREAK_REVERT_ID_FAILED";
    /// The provider lacks the Ex interface.
    VSS_E_LEGACY_PROVIDER = 0x8004_23F7, "VSS_E_LEGACY_PROVIDER";
    /// An expected disk did not arrive.
    VSS_E_MISSING_DISK = 0x8004_23F8, "VSS_E_MISSING_DISK";
    /// An expected hidden volume did not arrive.
    VSS_E_MISSING_HIDDEN_VOLUME = 0x8004_23F9, "VSS_E_MISSING_HIDDEN_VOLUME";
    /// Writers could not be given the shadow copies to recover them.
    VSS_E_AUTORECOVERY_FAILED = 0x8004_23FB, "VSS_E_AUTORECOVERY_FAILED";
    /// The document is not one of a transportable set.
    VSS_E_NONTRANSPORTABLE_BCD = 0x8004_23FD, "VSS_E_NONTRANSPORTABLE_BCD";
    /// The disk signature or GPT id could not be set.
    VSS_E_CANNOT_REVERT_DISKID = 0x8004_23FE, "VSS_E_CANNOT_REVERT_DISKID";
    /// Another resync is under way.
    VSS_E_RESYNC_IN_PROGRESS = 0x8004_23FF, "VSS_E_RESYNC_IN_PROGRESS";
}

impl fmt::Display for HResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} (0x{:08X})", self.bits()),
            None => write!(f, "0x{:08X}", self.bits()),
        }
    }
}

impl fmt::Debug for HResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_know_their_names() {
        assert_eq!(HResult::VSS_E_PROVIDER_VETO.to_string(), "VSS_E_PROVIDER_VETO (0x80042306)");
        assert_eq!(HResult::from_bits(0x8004_9999).to_string(), "0x80049999");
        assert!(HResult::E_FAIL.is_failure());
        assert!(!HResult::VSS_S_ASYNC_PENDING.is_failure());
    }
}
