//! A program run as somebody who has no rights: the user's own token, in which administrators and the system itself are no reason to be let in.

use windows::Win32::Foundation::{CloseHandle, HANDLE};
use windows::Win32::Security::{
    CreateRestrictedToken, CreateWellKnownSid, DISABLE_MAX_PRIVILEGE, PSID, SECURITY_MAX_SID_SIZE, SID_AND_ATTRIBUTES,
    TOKEN_ASSIGN_PRIMARY, TOKEN_DUPLICATE, TOKEN_QUERY, WELL_KNOWN_SID_TYPE, WinBuiltinAdministratorsSid,
    WinLocalSystemSid,
};
use windows::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows::Win32::System::Threading::{
    CREATE_NO_WINDOW, CreateProcessAsUserW, GetCurrentProcess, GetExitCodeProcess, INFINITE, OpenProcessToken,
    PROCESS_INFORMATION, STARTUPINFOW, WaitForSingleObject,
};
use windows_core::{Error, HSTRING, PWSTR, Result, s, w};

/// Runs this program again with other arguments and without rights, and answers its exit code.
///
/// # Errors
/// If it cannot be started.
pub fn run_without_rights(arguments: &str) -> Result<u32> {
    let program = std::env::current_exe().map_err(Error::from)?;
    let mut line: Vec<u16> = format!("\"{}\" {arguments}\0", program.display()).encode_utf16().collect();
    let token = token_without_rights()?;
    let startup = STARTUPINFOW { cb: size_of::<STARTUPINFOW>().try_into().expect("small"), ..STARTUPINFOW::default() };
    let mut process = PROCESS_INFORMATION::default();
    // SAFETY: the token is open; name and line end with a zero, and the line may be written to, as the system does; both structures are ours.
    unsafe {
        CreateProcessAsUserW(
            Some(token.0),
            &HSTRING::from(program.as_os_str()),
            Some(PWSTR(line.as_mut_ptr())),
            None,
            None,
            false,
            CREATE_NO_WINDOW,
            None,
            None,
            &raw const startup,
            &raw mut process,
        )
    }?;
    let (process, _thread) = (Handle(process.hProcess), Handle(process.hThread));
    let mut code = 0;
    // SAFETY: the handle is open.
    unsafe { WaitForSingleObject(process.0, INFINITE) };
    // SAFETY: the handle is open, and the code is a place of ours.
    unsafe { GetExitCodeProcess(process.0, &raw mut code) }?;
    Ok(code)
}

/// Whether COM here asks who calls. That of Wine does not (seen in 8.0).
#[must_use]
pub fn com_asks_who_calls() -> bool {
    // SAFETY: the name ends with a zero.
    let Ok(library) = (unsafe { GetModuleHandleW(w!("ntdll.dll")) }) else { return true };
    // SAFETY: the library is in every process for as long as it runs, the name ends with a zero, and nothing is called.
    unsafe { GetProcAddress(library, s!("wine_get_version")) }.is_none()
}

fn token_without_rights() -> Result<Handle> {
    // SAFETY: it has no parameters, and its answer need not be closed.
    let this = unsafe { GetCurrentProcess() };
    let mut token = HANDLE::default();
    // SAFETY: the handle is this process's, and the place is ours.
    unsafe { OpenProcessToken(this, TOKEN_DUPLICATE | TOKEN_ASSIGN_PRIMARY | TOKEN_QUERY, &raw mut token) }?;
    let token = Handle(token);
    let mut ids = [sid(WinBuiltinAdministratorsSid)?, sid(WinLocalSystemSid)?];
    let disabled = ids.each_mut().map(|id| SID_AND_ATTRIBUTES { Sid: PSID(id.as_mut_ptr().cast()), Attributes: 0 });
    let mut restricted = HANDLE::default();
    // SAFETY: the token is open, the ids live on until the call is over, and the place is ours.
    unsafe { CreateRestrictedToken(token.0, DISABLE_MAX_PRIVILEGE, Some(&disabled), None, None, &raw mut restricted) }?;
    Ok(Handle(restricted))
}

/// A security id is a structure of 32-bit numbers.
type Sid = [u32; SECURITY_MAX_SID_SIZE.div_ceil(4) as usize];

fn sid(kind: WELL_KNOWN_SID_TYPE) -> Result<Sid> {
    let mut id = Sid::default();
    let mut size = size_of::<Sid>().try_into().expect("small");
    // SAFETY: the place is as large as is said.
    unsafe { CreateWellKnownSid(kind, None, Some(PSID(id.as_mut_ptr().cast())), &raw mut size) }?;
    Ok(id)
}

struct Handle(HANDLE);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it is open, and used no more. There is nobody to tell of a failure.
        drop(unsafe { CloseHandle(self.0) });
    }
}
