//! The memory of processes.

use windows::Win32::Foundation::{CloseHandle, HANDLE};
use windows::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};
use windows::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows::Win32::System::Threading::{OpenProcess, PROCESS_QUERY_INFORMATION, PROCESS_VM_READ};

/// The memory that is a process's own, in bytes; `None` if it cannot be looked at.
#[must_use]
pub fn private_bytes(process: HANDLE) -> Option<usize> {
    let mut counters = PROCESS_MEMORY_COUNTERS::default();
    let size = u32::try_from(size_of::<PROCESS_MEMORY_COUNTERS>()).ok()?;
    // SAFETY: the structure is as large as is said.
    let done = unsafe { K32GetProcessMemoryInfo(process, &raw mut counters, size) };
    done.as_bool().then_some(counters.PagefileUsage)
}

/// The same for all processes that run a program, by the name of its file, together; `None` if none does, or one cannot be looked at.
#[must_use]
pub fn private_bytes_of(program: &str) -> Option<u64> {
    let processes = processes_of(program)?;
    if processes.is_empty() {
        return None;
    }
    let of_one = |process: u32| {
        // SAFETY: any number may be asked for.
        let handle = unsafe { OpenProcess(PROCESS_QUERY_INFORMATION | PROCESS_VM_READ, false, process) }.ok()?;
        let bytes = private_bytes(handle);
        // SAFETY: opened above, and used no more.
        unsafe { CloseHandle(handle) }.ok()?;
        u64::try_from(bytes?).ok()
    };
    processes.into_iter().map(of_one).sum()
}

fn processes_of(program: &str) -> Option<Vec<u32>> {
    // SAFETY: of all processes, which the second parameter does not limit.
    let list = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) }.ok()?;
    let mut entry = PROCESSENTRY32W { dwSize: u32::try_from(size_of::<PROCESSENTRY32W>()).ok()?, ..Default::default() };
    let mut found = Vec::new();
    // SAFETY: the entry says its size.
    let mut next = unsafe { Process32FirstW(list, &raw mut entry) };
    while next.is_ok() {
        let name: Vec<u16> = entry.szExeFile.iter().copied().take_while(|unit| *unit != 0).collect();
        if String::from_utf16_lossy(&name).eq_ignore_ascii_case(program) {
            found.push(entry.th32ProcessID);
        }
        // SAFETY: as above.
        next = unsafe { Process32NextW(list, &raw mut entry) };
    }
    // SAFETY: made above, and used no more.
    unsafe { CloseHandle(list) }.ok()?;
    Some(found)
}
