//! The texts of the event log, read back from the program as the Event Viewer does.

use std::os::windows::ffi::OsStrExt as _;

use lunshadow_provider::{Event, EventId};
use lunshadow_provider_com::message_table::message_id;
use windows::Win32::Foundation::{FreeLibrary, HMODULE};
use windows::Win32::System::Diagnostics::Debug::{
    FORMAT_MESSAGE_ARGUMENT_ARRAY, FORMAT_MESSAGE_FROM_HMODULE, FormatMessageW,
};
use windows::Win32::System::LibraryLoader::{LOAD_LIBRARY_AS_DATAFILE, LOAD_LIBRARY_AS_IMAGE_RESOURCE, LoadLibraryExW};
use windows_core::{HSTRING, PWSTR};

use crate::machine::Machine;

/// The message of an id with this text in it, if the module has one.
fn message(module: HMODULE, id: u32, text: &str) -> Option<String> {
    let text = HSTRING::from(text);
    let texts = [text.as_ptr().cast::<i8>()];
    let mut buffer = vec![0_u16; 4096];
    let flags = FORMAT_MESSAGE_FROM_HMODULE | FORMAT_MESSAGE_ARGUMENT_ARRAY;
    let room = u32::try_from(buffer.len()).expect("small");
    // SAFETY: the module is loaded, the buffer has the length that is said, and there is one text, as the messages want.
    let len =
        unsafe { FormatMessageW(flags, Some(module.0), id, 0, PWSTR(buffer.as_mut_ptr()), room, Some(texts.as_ptr())) };
    (len > 0).then(|| String::from_utf16_lossy(&buffer[..len as usize]))
}

#[test]
fn every_event_has_its_message_in_the_program() {
    let name: Vec<u16> = Machine::built_program().as_os_str().encode_wide().collect();
    let flags = LOAD_LIBRARY_AS_DATAFILE | LOAD_LIBRARY_AS_IMAGE_RESOURCE;
    // SAFETY: the name ends with a zero; nothing of the module is run.
    let module = unsafe { LoadLibraryExW(&HSTRING::from_wide(&name), None, flags) }.expect("the program is built");
    for id in EventId::ALL {
        let event = Event { id: *id, text: format!("LUN ü 100% of {id:?}.") };
        let expected = format!("{event}\r\n");
        assert_eq!(message(module, message_id(*id), &event.to_string()), Some(expected), "{id:?}");
    }
    assert_eq!(message(module, 0x4000_ffff, "x"), None);
    // SAFETY: loaded above.
    unsafe { FreeLibrary(module) }.expect("it is loaded");
}
