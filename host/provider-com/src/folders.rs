//! Windows' own folders, asked of the system: an environment can say anything.

use std::path::PathBuf;

use windows::Win32::System::Com::CoTaskMemFree;
use windows::Win32::UI::Shell::{FOLDERID_ProgramData, FOLDERID_ProgramFiles, KF_FLAG_DEFAULT, SHGetKnownFolderPath};
use windows_core::GUID;

/// Where programs are installed.
pub(crate) fn program_files() -> PathBuf {
    known(&FOLDERID_ProgramFiles, r"C:\Program Files")
}

/// Where programs keep data of the whole machine.
pub(crate) fn program_data() -> PathBuf {
    known(&FOLDERID_ProgramData, r"C:\ProgramData")
}

fn known(folder: &GUID, otherwise: &str) -> PathBuf {
    // SAFETY: the id is one of the system's.
    let Ok(path) = (unsafe { SHGetKnownFolderPath(folder, KF_FLAG_DEFAULT, None) }) else {
        return PathBuf::from(otherwise);
    };
    // SAFETY: the system gave a text that ends with a zero.
    let text = unsafe { path.to_hstring() };
    // SAFETY: the text is ours to free, once.
    unsafe { CoTaskMemFree(Some(path.0.cast())) };
    PathBuf::from(text.to_os_string())
}
