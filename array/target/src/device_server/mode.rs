//! MODE SENSE. Nothing can be changed: what the pages say is how the device server is.

use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES};
use lunshadow_scsi::{
    AdditionalSense, CachingPage, ControlPage, ModeData, ModePage, PageControl, Sense, SenseKey, page_code,
};

use super::invalid_field;

/// Which pages are asked for, and which of their values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selection {
    pub(super) control: PageControl,
    pub(super) page: u8,
    pub(super) subpage: u8,
}

/// `blocks` is the length of the LUN, if the block descriptor is wanted.
pub(super) fn mode_sense(selection: Selection, blocks: Option<BlockCount>) -> Result<ModeData, Sense> {
    let (caching, control) = match selection.control {
        // WCE: writes are answered before they are durable, so hosts know to flush. Simple commands overtake each other.
        PageControl::Current | PageControl::Default => (
            CachingPage { write_cache: true, read_cache_disabled: false },
            ControlPage { unrestricted_reordering: true, ..ControlPage::default() },
        ),
        // The mask of what can be changed: nothing.
        PageControl::Changeable => (CachingPage::default(), ControlPage::default()),
        PageControl::Saved => {
            return Err(Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::SAVING_PARAMETERS_NOT_SUPPORTED));
        }
    };
    // No page has subpages.
    if selection.subpage != 0 && selection.subpage != page_code::ALL_SUBPAGES {
        return Err(invalid_field(3));
    }
    let pages = match selection.page {
        page_code::CACHING => vec![ModePage::Caching(caching)],
        page_code::CONTROL => vec![ModePage::Control(control)],
        page_code::INFORMATIONAL_EXCEPTIONS => vec![ModePage::InformationalExceptions],
        page_code::ALL => {
            vec![ModePage::Caching(caching), ModePage::Control(control), ModePage::InformationalExceptions]
        }
        _ => return Err(invalid_field(2)),
    };
    let block_descriptor = blocks.map(|blocks| (u32::try_from(blocks.0).unwrap_or(u32::MAX), LOGICAL_BLOCK_BYTES));
    Ok(ModeData { write_protected: false, fua_supported: true, block_descriptor, pages })
}
