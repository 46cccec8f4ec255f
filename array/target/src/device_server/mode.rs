//! MODE SENSE and MODE SELECT.

use std::sync::Arc;

use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES};
use lunshadow_scsi::{
    AdditionalSense, CachingPage, ControlPage, FieldPointer, ListedPage, ModeData, ModeForm, ModeList, ModeListError,
    ModePage, PageControl, Sense, page_code,
};

use super::medium::{Kind, Operation};
use super::nexus::{Nexus, Nexuses};
use super::unit::Disk;
use super::unit_state::{DEFAULT_CACHING, DEFAULT_CONTROL, UnitState};
use super::{illegal_request, invalid_field, invalid_parameter};

/// Which pages are asked for, and which of their values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selection {
    pub(super) control: PageControl,
    pub(super) page: u8,
    pub(super) subpage: u8,
}

/// What MODE SELECT can change: WCE, D_SENSE, SWP. QERR is 0 and stays so, which is what Windows wants it to be.
const CHANGEABLE_CACHING: CachingPage = CachingPage { write_cache: true, read_cache_disabled: false };
const CHANGEABLE_CONTROL: ControlPage = ControlPage {
    descriptor_sense: true,
    unrestricted_reordering: false,
    software_write_protect: true,
    task_aborted_status: false,
};

/// The pages of a disk in ascending order, as MODE SENSE has to report them.
fn pages(caching: CachingPage, control: ControlPage) -> [ModePage; 3] {
    [ModePage::Caching(caching), ModePage::Control(control), ModePage::InformationalExceptions]
}

fn page_of(page: &ModePage) -> u8 {
    match page {
        ModePage::Caching(_) => page_code::CACHING,
        ModePage::Control(_) => page_code::CONTROL,
        ModePage::InformationalExceptions => page_code::INFORMATIONAL_EXCEPTIONS,
        ModePage::Other { page, .. } => *page,
    }
}

fn current_pages(state: &UnitState) -> [ModePage; 3] {
    pages(state.caching(), state.control())
}

pub(super) fn mode_sense(disk: &Disk, selection: Selection, with_descriptor: bool) -> Result<ModeData, Sense> {
    let pages = match selection.control {
        PageControl::Current => current_pages(&disk.state),
        PageControl::Default => pages(DEFAULT_CACHING, DEFAULT_CONTROL),
        PageControl::Changeable => pages(CHANGEABLE_CACHING, CHANGEABLE_CONTROL),
        PageControl::Saved => return Err(illegal_request(AdditionalSense::SAVING_PARAMETERS_NOT_SUPPORTED)),
    };
    // No page has subpages.
    if selection.subpage != 0 && selection.subpage != page_code::ALL_SUBPAGES {
        return Err(invalid_field(3));
    }
    let wanted = |page: &ModePage| selection.page == page_code::ALL || selection.page == page_of(page);
    let pages: Vec<_> = pages.into_iter().filter(wanted).collect();
    if pages.is_empty() {
        return Err(invalid_field(2));
    }
    let block_descriptor = with_descriptor.then(|| block_descriptor(disk.lun.block_count()));
    Ok(ModeData { write_protected: disk.state.is_write_protected(), fua_supported: true, block_descriptor, pages })
}

fn block_descriptor(blocks: BlockCount) -> (u32, u32) {
    (u32::try_from(blocks.0).unwrap_or(u32::MAX), LOGICAL_BLOCK_BYTES)
}

impl Operation {
    pub(super) fn mode_select(
        disk: Disk,
        form: ModeForm,
        (page_format, save): (bool, bool),
        parameter_len: u16,
        (nexus, nexuses): (&Arc<Nexus>, &Arc<Nexuses>),
    ) -> Result<Self, Sense> {
        // PF: only pages are understood. SP: nothing is kept over power off.
        if !page_format || save {
            return Err(invalid_field(1));
        }
        let (nexus, nexuses) = (nexus.clone(), nexuses.clone());
        Ok(Self { disk, kind: Kind::ModeSelect { form, parameter_len, nexus, nexuses } })
    }
}

/// Nothing is changed unless the whole list is right. The other nexuses learn of changes (SPC-4 5.8).
pub(super) fn mode_select(
    disk: &Disk,
    form: ModeForm,
    list: &[u8],
    nexus: &Nexus,
    nexuses: &Nexuses,
) -> Result<(), Sense> {
    let ModeList { block_descriptor: descriptor, pages: listed } =
        ModeList::parse(form, list).map_err(sense_of_list)?;
    if let Some((block_count, block_bytes)) = descriptor {
        let (blocks, bytes) = block_descriptor(disk.lun.block_count());
        // 0 blocks leave the number as it is. The length of a block cannot change.
        if block_bytes != bytes || block_count != 0 && block_count != blocks {
            let header_len = if form == ModeForm::Six { 4 } else { 8 };
            return Err(invalid_parameter(FieldPointer::byte(header_len)));
        }
    }
    let before = current_pages(&disk.state);
    for page in &listed {
        check_page(page, &before)?;
    }
    for listed in &listed {
        match listed.page {
            ModePage::Caching(page) => disk.state.set_caching(page),
            ModePage::Control(page) => disk.state.set_control(page),
            ModePage::InformationalExceptions | ModePage::Other { .. } => {}
        }
    }
    if current_pages(&disk.state) != before {
        nexuses.post(Some(disk.id()), AdditionalSense::MODE_PARAMETERS_CHANGED, Some(nexus.id()));
    }
    Ok(())
}

/// A page that is there, with its own length, and other values only where they can be changed.
fn check_page(listed: &ListedPage<'_>, current: &[ModePage]) -> Result<(), Sense> {
    let invalid = |at: usize| invalid_parameter(FieldPointer::byte(listed.offset + at));
    let changeable = pages(CHANGEABLE_CACHING, CHANGEABLE_CONTROL);
    let place = current.iter().position(|page| page_of(page) == page_of(&listed.page)).ok_or_else(|| invalid(0))?;
    let (current, changeable) = (current[place].to_bytes(), changeable[place].to_bytes());
    if listed.bytes.len() != current.len() {
        return Err(invalid(1));
    }
    let fields = listed.bytes.iter().zip(&current).zip(&changeable).enumerate().skip(2);
    for (at, ((new, current), changeable)) in fields {
        if (new ^ current) & !changeable != 0 {
            return Err(invalid(at));
        }
    }
    Ok(())
}

fn sense_of_list(error: ModeListError) -> Sense {
    match error {
        ModeListError::CutOff(_) => illegal_request(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR),
        ModeListError::InvalidField(field) => invalid_parameter(field),
    }
}
