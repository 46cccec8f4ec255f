//! Files and folders that only the system and administrators can open, whatever the folder above hands down.

use std::ffi::c_void;
use std::fs::{File, remove_file};
use std::io::{self, ErrorKind, Write as _};
use std::os::windows::ffi::OsStrExt as _;
use std::os::windows::io::{FromRawHandle as _, OwnedHandle};
use std::path::Path;

use windows::Win32::Foundation::{ERROR_ALREADY_EXISTS, GENERIC_WRITE, HLOCAL, LocalFree};
use windows::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1, SE_FILE_OBJECT, SetNamedSecurityInfoW,
};
use windows::Win32::Security::{
    ACL, DACL_SECURITY_INFORMATION, GetSecurityDescriptorDacl, GetSecurityDescriptorOwner, OWNER_SECURITY_INFORMATION,
    PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID, SECURITY_ATTRIBUTES,
};
use windows::Win32::Storage::FileSystem::{
    CREATE_NEW, CreateDirectoryW, CreateFileW, FILE_ATTRIBUTE_NORMAL, FILE_SHARE_MODE,
};
use windows_core::{BOOL, HSTRING};

/// A file for SYSTEM and Administrators; nothing is inherited (P).
const FILE: &str = "D:P(A;;FA;;;SY)(A;;FA;;;BA)";

/// A folder for them, with what will be in it. It belongs to Administrators, since an owner can always let himself in.
const FOLDER: &str = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";

/// A security descriptor of the system's heap.
pub(crate) struct Descriptor {
    descriptor: PSECURITY_DESCRIPTOR,
    len_bytes: usize,
}

impl Descriptor {
    /// Reads one in the notation of security descriptors (SDDL), whose account names are the same in every language.
    pub(crate) fn of(sddl: &str) -> io::Result<Self> {
        let (mut descriptor, mut len_bytes) = (PSECURITY_DESCRIPTOR::default(), 0);
        // SAFETY: the text ends with a zero, and both results have room.
        unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                &HSTRING::from(sddl),
                SDDL_REVISION_1,
                &raw mut descriptor,
                Some(&raw mut len_bytes),
            )
        }?;
        Ok(Self { descriptor, len_bytes: len_bytes as usize })
    }

    /// Its bytes, as the registry stores descriptors.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the descriptor is in one piece and as long as the system said.
        unsafe { std::slice::from_raw_parts(self.descriptor.0.cast::<u8>(), self.len_bytes) }
    }

    fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).expect("a small structure"),
            lpSecurityDescriptor: self.descriptor.0,
            bInheritHandle: false.into(),
        }
    }

    fn access_list(&self) -> io::Result<*mut ACL> {
        let (mut is_present, mut is_default) = (BOOL(0), BOOL(0));
        let mut list: *mut ACL = std::ptr::null_mut();
        // SAFETY: the descriptor is valid, and the results have room.
        unsafe { GetSecurityDescriptorDacl(self.descriptor, &raw mut is_present, &raw mut list, &raw mut is_default) }?;
        Ok(list)
    }

    fn owner(&self) -> io::Result<PSID> {
        let (mut owner, mut is_default) = (PSID::default(), BOOL(0));
        // SAFETY: the descriptor is valid, and the results have room.
        unsafe { GetSecurityDescriptorOwner(self.descriptor, &raw mut owner, &raw mut is_default) }?;
        Ok(owner)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the system allocated it there, and nobody else has it.
        unsafe { LocalFree(Some(HLOCAL(self.descriptor.0.cast::<c_void>()))) };
    }
}

fn wide(path: &Path) -> HSTRING {
    HSTRING::from_wide(&path.as_os_str().encode_wide().collect::<Vec<_>>())
}

/// Makes a folder that only SYSTEM and Administrators can open. One that is there already is taken away from everybody else.
///
/// # Errors
/// What the system says.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let descriptor = Descriptor::of(FOLDER)?;
    let (name, attributes) = (wide(folder), descriptor.attributes());
    // SAFETY: the name ends with a zero, and the descriptor outlives the call.
    let made = unsafe { CreateDirectoryW(&name, Some(&raw const attributes)) };
    match made {
        Err(error) if error.code() == ERROR_ALREADY_EXISTS.to_hresult() => {
            let (list, owner) = (descriptor.access_list()?, descriptor.owner()?);
            let what = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
            // SAFETY: the name ends with a zero; list and owner belong to the descriptor, which outlives the call.
            let status =
                unsafe { SetNamedSecurityInfoW(&name, SE_FILE_OBJECT, what, Some(owner), None, Some(list), None) };
            status.ok().map_err(io::Error::from)
        }
        made => made.map_err(io::Error::from),
    }
}

/// Writes a file that only SYSTEM and Administrators can open, from its first byte on.
///
/// # Errors
/// What the system says.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    remove_file(path).or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    let descriptor = Descriptor::of(FILE)?;
    let (name, attributes) = (wide(path), descriptor.attributes());
    // SAFETY: the name ends with a zero, and the descriptor outlives the call.
    let handle = unsafe {
        CreateFileW(
            &name,
            GENERIC_WRITE.0,
            FILE_SHARE_MODE::default(),
            Some(&raw const attributes),
            CREATE_NEW,
            FILE_ATTRIBUTE_NORMAL,
            None,
        )
    }?;
    // SAFETY: the handle is new and nobody else's.
    let mut file = File::from(unsafe { OwnedHandle::from_raw_handle(handle.0) });
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files_and_folders_are_made_and_replaced() {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("private");
        make_private_folder(&folder).expect("it is new");
        make_private_folder(&folder).expect("it may be there");
        let path = folder.join("file");
        for content in ["first", "the second"] {
            write_private(&path, content.as_bytes()).expect("it is writable");
            assert_eq!(std::fs::read_to_string(&path).expect("it is readable"), content);
        }
    }

    #[test]
    fn a_descriptor_is_stored_as_bytes() {
        let descriptor = Descriptor::of(FILE).expect("good notation");
        // SECURITY_DESCRIPTOR_RELATIVE: revision 1, and a control word with SE_SELF_RELATIVE, SE_DACL_PROTECTED and SE_DACL_PRESENT.
        assert_eq!(descriptor.bytes()[0], 1);
        let control = u16::from_le_bytes([descriptor.bytes()[2], descriptor.bytes()[3]]);
        assert_eq!(control & 0x9004, 0x9004, "{control:#x}");
    }
}
