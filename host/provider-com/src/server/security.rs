//! Who may call: COM checks every caller against a security descriptor before a method is reached.
//!
//! Only VSS calls a provider, and it runs as LocalSystem. Administrators may, for tests and development; they can stop the service anyway.
//! Backup Operators are not let in: a requester of theirs goes through VSS, which calls as LocalSystem, and who calls a provider
//! directly could delete shadow LUNs and overwrite LUNs past all of VSS's checks (section 6.4). Nobody is let in from another machine.
//! The methods do not ask for the caller once more: the descriptor holds for all of them, before any of them runs.

use windows::Win32::Foundation::{HLOCAL, LocalFree};
use windows::Win32::Security::Authorization::{ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1};
use windows::Win32::Security::{ACL, MakeAbsoluteSD, PSECURITY_DESCRIPTOR, PSID};
use windows::Win32::System::Com::{
    CLSCTX_INPROC_SERVER, CLSID_GlobalOptions, COMGLB_EXCEPTION_DONOT_HANDLE_ANY, COMGLB_EXCEPTION_HANDLING,
    CoCreateInstance, CoInitializeSecurity, EOAC_NONE, IGlobalOptions, RPC_C_AUTHN_LEVEL_PKT_PRIVACY,
    RPC_C_IMP_LEVEL_IDENTIFY,
};
use windows_core::{HSTRING, Result};

use lunshadow_vss_com::apartment;

/// LocalSystem and Administrators may call (1) from this machine (2), nobody else.
pub const CALLERS: &str = "O:BAG:BAD:(A;;0x3;;;SY)(A;;0x3;;;BA)";

/// Sets the security of the whole process: once, before anything else of COM is used.
///
/// # Errors
/// What COM says, for instance that it is set already.
pub fn initialise_security() -> Result<()> {
    apartment::join_mta()?;
    let callers = Descriptor::from_text(CALLERS)?;
    // SAFETY: the descriptor is absolute, with owner and group, and outlives the call; COM makes a copy.
    unsafe {
        CoInitializeSecurity(
            Some(callers.as_ptr()),
            -1,
            None,
            None,
            RPC_C_AUTHN_LEVEL_PKT_PRIVACY,
            RPC_C_IMP_LEVEL_IDENTIFY,
            None,
            EOAC_NONE,
            None,
        )
    }?;
    let_faults_end_the_process();
    Ok(())
}

/// COM would catch access violations and go on with whatever is left. A Windows that does not offer this choice is as it is.
fn let_faults_end_the_process() {
    // SAFETY: COM runs.
    let options: Result<IGlobalOptions> = unsafe { CoCreateInstance(&CLSID_GlobalOptions, None, CLSCTX_INPROC_SERVER) };
    let Ok(options) = options else { return };
    let choice = usize::try_from(COMGLB_EXCEPTION_DONOT_HANDLE_ANY.0).unwrap_or_default();
    // SAFETY: numbers are all that is passed.
    drop(unsafe { options.Set(COMGLB_EXCEPTION_HANDLING, choice) });
}

/// A security descriptor in the absolute form that COM wants, with its parts.
struct Descriptor {
    descriptor: Vec<u64>,
    _dacl: Vec<u64>,
    _owner: Vec<u64>,
    _group: Vec<u64>,
}

/// Room for this many bytes, aligned for every structure.
fn room(bytes: u32) -> Vec<u64> {
    vec![0; usize::try_from(bytes).unwrap_or_default().div_ceil(size_of::<u64>())]
}

impl Descriptor {
    fn from_text(text: &str) -> Result<Self> {
        let mut relative = PSECURITY_DESCRIPTOR::default();
        let text = HSTRING::from(text);
        // SAFETY: the text ends with a zero, and the pointer is a place of ours.
        unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(&text, SDDL_REVISION_1, &raw mut relative, None)
        }?;
        let absolute = Self::from_relative(relative);
        // SAFETY: allocated by the conversion, and not used any more.
        unsafe { LocalFree(Some(HLOCAL(relative.0))) };
        absolute
    }

    fn from_relative(relative: PSECURITY_DESCRIPTOR) -> Result<Self> {
        let (mut descriptor, mut dacl, mut sacl, mut owner, mut group) = (0, 0, 0, 0, 0);
        // SAFETY: the descriptor is whole, and nothing is written but the sizes. That there is no room is no error here.
        drop(unsafe {
            MakeAbsoluteSD(
                relative,
                None,
                &raw mut descriptor,
                None,
                &raw mut dacl,
                None,
                &raw mut sacl,
                None,
                &raw mut owner,
                None,
                &raw mut group,
            )
        });
        let mut absolute =
            Self { descriptor: room(descriptor), _dacl: room(dacl), _owner: room(owner), _group: room(group) };
        // SAFETY: every part has as much room as was asked for; there is no SACL.
        unsafe {
            MakeAbsoluteSD(
                relative,
                Some(absolute.as_ptr()),
                &raw mut descriptor,
                Some(absolute._dacl.as_mut_ptr().cast::<ACL>()),
                &raw mut dacl,
                None,
                &raw mut sacl,
                Some(PSID(absolute._owner.as_mut_ptr().cast())),
                &raw mut owner,
                Some(PSID(absolute._group.as_mut_ptr().cast())),
                &raw mut group,
            )
        }?;
        Ok(absolute)
    }

    fn as_ptr(&self) -> PSECURITY_DESCRIPTOR {
        PSECURITY_DESCRIPTOR(self.descriptor.as_ptr().cast_mut().cast())
    }
}

#[cfg(test)]
mod tests {
    use windows::Win32::Security::Authorization::ConvertSecurityDescriptorToStringSecurityDescriptorW;
    use windows::Win32::Security::{DACL_SECURITY_INFORMATION, GROUP_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION};
    use windows_core::PWSTR;

    use super::*;

    fn text_of(descriptor: &Descriptor) -> String {
        let (mut text, parts) =
            (PWSTR::null(), DACL_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | OWNER_SECURITY_INFORMATION);
        // SAFETY: the descriptor is whole, and the text is a place of ours.
        unsafe {
            ConvertSecurityDescriptorToStringSecurityDescriptorW(
                descriptor.as_ptr(),
                SDDL_REVISION_1,
                parts,
                &raw mut text,
                None,
            )
        }
        .expect("it can be written as text");
        // SAFETY: the text ends with a zero.
        let copy = unsafe { text.to_string() }.expect("it is UTF-16");
        // SAFETY: allocated by the conversion, and not used any more.
        unsafe { LocalFree(Some(HLOCAL(text.as_ptr().cast()))) };
        copy
    }

    /// Wine has no names for these rights, and writes them as numbers.
    #[test]
    fn p_010_local_system_and_administrators_are_let_in_and_nobody_else() {
        let descriptor = Descriptor::from_text(CALLERS).expect("the text is a descriptor");
        let text = text_of(&descriptor);
        let (head, entries) = text.split_at(text.find('(').expect("there are entries"));
        assert_eq!(head, "O:BAG:BAD:");
        let mut callers: Vec<&str> = entries.trim_matches(['(', ')']).split(")(").collect();
        callers.sort_unstable();
        assert_eq!(callers.len(), 2, "{text}");
        for (entry, caller) in callers.iter().zip(["BA", "SY"]) {
            let fields: Vec<&str> = entry.split(';').collect();
            assert_eq!((fields[0], fields[1], fields[5]), ("A", "", caller), "{text}");
            // Both bits of 0x3, as SDDL writes them for rights of a directory's object, or as a number.
            assert!(["0x3", "0x00000003", "CCDC"].contains(&fields[2]), "{text}");
        }
    }
}
