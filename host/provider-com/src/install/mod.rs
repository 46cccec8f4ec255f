//! Installing and uninstalling: steps that are undone in reverse order when a later one fails.

#[cfg(windows)]
mod files;
mod plan;
#[cfg(windows)]
mod registry_tree;
#[cfg(windows)]
mod service_entry;
#[cfg(windows)]
mod steps;
#[cfg(windows)]
mod vss_steps;

use crate::cli::Exit;

pub use plan::{PlanFailure, Step, carry_out};
#[cfg(windows)]
pub use registry_tree::KeyImage;
#[cfg(windows)]
pub(crate) use service_entry::ServiceView;
#[cfg(windows)]
pub use steps::{Hosting, Layout, installation, removal};
#[cfg(windows)]
pub(crate) use steps::{app_key, class_key, event_source_key};

/// Why something was not installed or uninstalled.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// `E_INVALIDARG` from `RegisterProvider` (P-07).
    #[error(
        "this is a client edition of Windows: VSS takes hardware providers on Windows Server only \
         (RegisterProvider answered E_INVALIDARG, 0x80070057)"
    )]
    ClientEdition,
    /// `VSS_E_PROVIDER_IN_USE` (P-09).
    #[error(
        "VSS is using the provider (UnregisterProvider answered VSS_E_PROVIDER_IN_USE, 0x80042307); wait until the backup that \
         runs now has ended, then try again"
    )]
    ProviderInUse,
    /// Access was denied.
    #[error("only an administrator may do this ({what}); use a command prompt that was started as administrator")]
    NotAdministrator {
        /// What was refused.
        what: String,
    },
    /// VSS refused for another reason.
    #[error("{call} answered {code:#010x}; the Application log has an event of the source VSS about it")]
    Vss {
        /// The method of `IVssAdmin`.
        call: &'static str,
        /// What it answered.
        code: u32,
    },
    /// A service did not stop.
    #[error("the service {name} does not stop; end its process, then try again")]
    ServiceDoesNotStop {
        /// The service.
        name: String,
    },
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was being done, to what.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
}

impl InstallError {
    /// What a code of `IVssAdmin` means to an administrator.
    #[must_use]
    pub fn of_vss(call: &'static str, code: u32) -> Self {
        const E_ACCESSDENIED: u32 = 0x8007_0005;
        const E_INVALIDARG: u32 = 0x8007_0057;
        const VSS_E_PROVIDER_IN_USE: u32 = 0x8004_2307;
        match (call, code) {
            (_, E_ACCESSDENIED) => Self::NotAdministrator { what: call.to_owned() },
            ("RegisterProvider", E_INVALIDARG) => Self::ClientEdition,
            ("UnregisterProvider", VSS_E_PROVIDER_IN_USE) => Self::ProviderInUse,
            _ => Self::Vss { call, code },
        }
    }

    /// What a failure of the system means to an administrator.
    pub fn of_system(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        let (what, source) = (what.into(), source.into());
        // Windows' libraries give the code of the system or, after COM, the same with a prefix.
        let denied = [Some(5), Some(0x8007_0005_u32.cast_signed())].contains(&source.raw_os_error());
        if denied || source.kind() == std::io::ErrorKind::PermissionDenied {
            Self::NotAdministrator { what }
        } else {
            Self::System { what, source }
        }
    }

    /// What the program ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::ClientEdition => Exit::NotAServer,
            Self::ProviderInUse => Exit::ProviderInUse,
            Self::NotAdministrator { .. } => Exit::NotAdministrator,
            Self::Vss { .. } | Self::ServiceDoesNotStop { .. } | Self::System { .. } => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_007_a_client_edition_is_told_in_plain_text() {
        let error = InstallError::of_vss("RegisterProvider", 0x8007_0057);
        assert!(error.to_string().starts_with("this is a client edition of Windows"), "{error}");
        assert_eq!(error.exit(), Exit::NotAServer);
    }

    #[test]
    fn p_009_a_provider_in_use_is_told_in_plain_text() {
        let error = InstallError::of_vss("UnregisterProvider", 0x8004_2307);
        assert!(error.to_string().starts_with("VSS is using the provider"), "{error}");
        assert_eq!(error.exit(), Exit::ProviderInUse);
    }

    #[test]
    fn what_is_denied_needs_an_administrator_and_other_codes_are_shown() {
        for call in ["RegisterProvider", "UnregisterProvider", "QueryProviders"] {
            assert_eq!(InstallError::of_vss(call, 0x8007_0005).exit(), Exit::NotAdministrator);
        }
        let error = InstallError::of_vss("RegisterProvider", 0x8004_2302);
        assert!(error.to_string().contains("RegisterProvider answered 0x80042302"), "{error}");
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert_eq!(InstallError::of_system("a key", denied).exit(), Exit::NotAdministrator);
    }
}
