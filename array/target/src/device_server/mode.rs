//! MODE SENSE and MODE SELECT.

use std::sync::Arc;

use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES};
use lunshadow_scsi::{
    AdditionalSense, CachingPage, ControlPage, FieldPointer, ListedPage, ModeData, ModeForm, ModeList, ModeListError,
    ModePage, PageControl, ProvisioningPage, Sense, Threshold, page_code,
};

use super::medium::{Kind, Operation};
use super::nexus::{Nexus, Nexuses};
use super::unit::Disk;
use super::unit_state::{DEFAULT_CACHING, DEFAULT_CONTROL};
use super::{illegal_request, invalid_field, invalid_parameter, log};

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
fn pages(caching: CachingPage, control: ControlPage, threshold: Option<Threshold>) -> Vec<ModePage> {
    let provisioning = threshold.map(|threshold| {
        // SITUA=0: all initiators are told.
        ModePage::Provisioning(ProvisioningPage { single_attention: false, thresholds: vec![threshold] })
    });
    let common = [ModePage::Caching(caching), ModePage::Control(control), ModePage::InformationalExceptions];
    common.into_iter().chain(provisioning).collect()
}

fn current_pages(disk: &Disk) -> Vec<ModePage> {
    pages(disk.state.caching(), disk.state.control(), log::soft_threshold(&disk.lun))
}

/// What MODE SELECT can change. The threshold is the administrator's.
fn changeable_pages(disk: &Disk) -> Vec<ModePage> {
    let threshold = log::soft_threshold(&disk.lun).map(|_| Threshold::default());
    pages(CHANGEABLE_CACHING, CHANGEABLE_CONTROL, threshold)
}

pub(super) fn mode_sense(disk: &Disk, selection: Selection, with_descriptor: bool) -> Result<ModeData, Sense> {
    let pages = match selection.control {
        PageControl::Current => current_pages(disk),
        PageControl::Default => pages(DEFAULT_CACHING, DEFAULT_CONTROL, log::soft_threshold(&disk.lun)),
        PageControl::Changeable => changeable_pages(disk),
        PageControl::Saved => return Err(illegal_request(AdditionalSense::SAVING_PARAMETERS_NOT_SUPPORTED)),
    };
    let is_asked_for = |(page, _): (u8, u8)| selection.page == page_code::ALL || selection.page == page;
    let pages: Vec<_> = pages.into_iter().filter(|page| is_asked_for(page.code())).collect();
    if pages.is_empty() {
        return Err(invalid_field(2));
    }
    let is_asked_for = |(_, subpage): (u8, u8)| [subpage, page_code::ALL_SUBPAGES].contains(&selection.subpage);
    let pages: Vec<_> = pages.into_iter().filter(|page| is_asked_for(page.code())).collect();
    // Of all pages only one subpage is not a thing that can be asked for (SPC-4 table 97).
    let is_reserved = selection.page == page_code::ALL && ![0, page_code::ALL_SUBPAGES].contains(&selection.subpage);
    if pages.is_empty() || is_reserved {
        return Err(invalid_field(3));
    }
    let block_descriptor = with_descriptor.then(|| block_descriptor(disk.lun.block_count()));
    let write_protected = disk.check_writable().is_err();
    Ok(ModeData { write_protected, fua_supported: true, block_descriptor, pages })
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
    let (before, changeable) = (current_pages(disk), changeable_pages(disk));
    for page in &listed {
        check_page(page, &before, &changeable)?;
    }
    for listed in &listed {
        match listed.page {
            ModePage::Caching(page) => disk.state.set_caching(page),
            ModePage::Control(page) => disk.state.set_control(page),
            ModePage::InformationalExceptions | ModePage::Provisioning(_) | ModePage::Other { .. } => {}
        }
    }
    if current_pages(disk) != before {
        nexuses.post(Some(disk.id()), AdditionalSense::MODE_PARAMETERS_CHANGED, Some(nexus.id()));
    }
    Ok(())
}

/// A page that is there, with its own length, and other values only where they can be changed.
fn check_page(listed: &ListedPage<'_>, current: &[ModePage], changeable: &[ModePage]) -> Result<(), Sense> {
    let invalid = |at: usize| invalid_parameter(FieldPointer::byte(listed.offset + at));
    let place = current.iter().position(|page| page.code() == listed.page.code()).ok_or_else(|| invalid(0))?;
    let (current, changeable) = (current[place].to_bytes(), changeable[place].to_bytes());
    if listed.bytes.len() != current.len() {
        return Err(invalid(1));
    }
    // A page with a subpage code has two bytes more of header.
    let header_len = if listed.page.code().1 == 0 { 2 } else { 4 };
    let fields = listed.bytes.iter().zip(&current).zip(&changeable).enumerate().skip(header_len);
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
