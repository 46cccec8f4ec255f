//! From a command to CDB bytes.

use super::{BlockRange, ByteCheck, CdbForm, Command, PageControl, Power, ReserveForm};
use crate::cdb::{
    BlockCdb6, BlockCdb10, BlockCdb12, BlockCdb16, Cdb, CompareAndWriteCdb, InquiryCdb, LogSenseCdb, MaintenanceInCdb,
    ModeSelectCdb6, ModeSelectCdb10, ModeSenseCdb6, ModeSenseCdb10, PersistentReserveInCdb, PersistentReserveOutCdb,
    PlainCdb6, PreventAllowCdb, ReadDefectDataCdb10, ReadDefectDataCdb12, ReceiveCopyCdb, ReceiveTokenCdb,
    ReportLunsCdb, RequestSenseCdb, ReserveCdb10, SanitizeCdb, ServiceActionInCdb16, SetTargetPortGroupsCdb,
    StartStopCdb, ThirdPartyCopyOutCdb, UnmapCdb, WriteAtomicCdb, opcode, service_action,
};
use crate::{DefectForm, ModeForm, OperationCodes, SanitizeAction, SenseFormat};

/// The operation codes of one command in the forms of 6, 10, 12 and 16 bytes.
type Forms = [Option<u8>; 4];

const READ: Forms = [Some(opcode::READ_6), Some(opcode::READ_10), Some(opcode::READ_12), Some(opcode::READ_16)];
const WRITE: Forms = [Some(opcode::WRITE_6), Some(opcode::WRITE_10), Some(opcode::WRITE_12), Some(opcode::WRITE_16)];
const VERIFY: Forms = [None, Some(opcode::VERIFY_10), Some(opcode::VERIFY_12), Some(opcode::VERIFY_16)];
const WRITE_AND_VERIFY: Forms =
    [None, Some(opcode::WRITE_AND_VERIFY_10), Some(opcode::WRITE_AND_VERIFY_12), Some(opcode::WRITE_AND_VERIFY_16)];
const WRITE_SAME: Forms = [None, Some(opcode::WRITE_SAME_10), None, Some(opcode::WRITE_SAME_16)];
const OR_WRITE: Forms = [None, None, None, Some(opcode::OR_WRITE_16)];
const PRE_FETCH: Forms = [None, Some(opcode::PRE_FETCH_10), None, Some(opcode::PRE_FETCH_16)];
const SYNCHRONIZE_CACHE: Forms = [None, Some(opcode::SYNCHRONIZE_CACHE_10), None, Some(opcode::SYNCHRONIZE_CACHE_16)];

impl Command {
    /// Builds the CDB. A range whose form the command does not have is put into the next longer one; READ(6) and WRITE(6) have
    /// no FUA, so a command that needs it becomes one of ten bytes.
    #[must_use]
    pub fn to_cdb(&self) -> Cdb {
        match *self {
            Self::TestUnitReady => plain(opcode::TEST_UNIT_READY),
            Self::RequestSense { format, allocation_len } => Cdb::of(&RequestSenseCdb {
                opcode: opcode::REQUEST_SENSE,
                desc: u8::from(format == SenseFormat::Descriptor),
                allocation_len,
                ..RequestSenseCdb::default()
            }),
            Self::Inquiry { page, allocation_len } => Cdb::of(&InquiryCdb {
                opcode: opcode::INQUIRY,
                evpd: u8::from(page.is_some()),
                page: page.unwrap_or(0),
                allocation_len: allocation_len.into(),
                control: 0,
            }),
            Self::ReportLuns { select, allocation_len } => Cdb::of(&ReportLunsCdb {
                opcode: opcode::REPORT_LUNS,
                select: select.code(),
                allocation_len: allocation_len.into(),
                ..ReportLunsCdb::default()
            }),
            Self::ModeSense { form, without_block_descriptor, control, page, subpage, allocation_len } => {
                let flags = u8::from(without_block_descriptor) << 3;
                mode_sense(form, flags, page_byte(control, page), subpage, allocation_len)
            }
            Self::ModeSelect { form, page_format, save, parameter_len } => {
                mode_select(form, u8::from(page_format) << 4 | u8::from(save), parameter_len)
            }
            Self::LogSense { page, subpage, parameter, allocation_len } => {
                log_sense(page, subpage, parameter, allocation_len)
            }
            Self::ReportSupportedOperationCodes { .. }
            | Self::ReportSupportedTaskManagementFunctions { .. }
            | Self::ReportTargetPortGroups { .. } => self.report(),
            Self::PersistentReserveIn { .. }
            | Self::PersistentReserveOut { .. }
            | Self::Reserve(_)
            | Self::Release(_) => self.reservation(),
            Self::StartStopUnit { .. }
            | Self::PreventAllowMediumRemoval { .. }
            | Self::Sanitize { .. }
            | Self::SetTargetPortGroups { .. } => self.state(),
            Self::ReadCapacity10 => Cdb::of(&BlockCdb10 { opcode: opcode::READ_CAPACITY_10, ..BlockCdb10::default() }),
            Self::ReadCapacity16 { allocation_len } => {
                service_action_in(service_action::READ_CAPACITY_16, 0, allocation_len)
            }
            Self::GetLbaStatus { lba, allocation_len } => {
                service_action_in(service_action::GET_LBA_STATUS, lba, allocation_len)
            }
            Self::ReadDefectData { .. } => self.defect_data(),
            Self::Unmap { anchor, parameter_len } => unmap(anchor, parameter_len),
            Self::ExtendedCopy { .. }
            | Self::PopulateToken { .. }
            | Self::WriteUsingToken { .. }
            | Self::ReceiveCopyStatus { .. }
            | Self::ReceiveCopyOperatingParameters { .. }
            | Self::ReceiveRodTokenInformation { .. } => self.third_party_copy(),
            Self::CompareAndWrite { lba, block_count, fua } => compare_and_write(lba, block_count, fua),
            Self::WriteAtomic { lba, boundary, block_count, fua } => write_atomic(lba, (boundary, block_count), fua),
            Self::Read { range, fua } => blocks(&READ, range, u8::from(fua) << 3),
            Self::Write { range, fua } => blocks(&WRITE, range, u8::from(fua) << 3),
            Self::Verify { range, check } => blocks(&VERIFY, range, byte_check(check)),
            Self::WriteAndVerify { range, check } => blocks(&WRITE_AND_VERIFY, range, byte_check(check)),
            Self::OrWrite { range, fua } => blocks(&OR_WRITE, range, u8::from(fua) << 3),
            Self::PreFetch { range, immediate } => blocks(&PRE_FETCH, range, u8::from(immediate) << 1),
            Self::SynchronizeCache { range, immediate } => blocks(&SYNCHRONIZE_CACHE, range, u8::from(immediate) << 1),
            Self::WriteSame { range, unmap, anchor, no_data_out } => write_same(range, (unmap, anchor), no_data_out),
        }
    }

    /// The CDB of a command that changes the state of the unit.
    fn state(&self) -> Cdb {
        match *self {
            Self::StartStopUnit { power, immediate } => start_stop_unit(power, immediate),
            Self::PreventAllowMediumRemoval { prevent } => Cdb::of(&PreventAllowCdb {
                opcode: opcode::PREVENT_ALLOW_MEDIUM_REMOVAL,
                prevent: u8::from(prevent),
                ..PreventAllowCdb::default()
            }),
            Self::Sanitize { action, immediate, unrestricted_exit, parameter_len } => {
                sanitize(action, (immediate, unrestricted_exit), parameter_len)
            }
            Self::SetTargetPortGroups { parameter_len } => Cdb::of(&SetTargetPortGroupsCdb {
                opcode: opcode::MAINTENANCE_OUT,
                action: service_action::SET_TARGET_PORT_GROUPS,
                parameter_len: parameter_len.into(),
                ..SetTargetPortGroupsCdb::default()
            }),
            _ => unreachable!("only changes of state come here"),
        }
    }

    /// A CDB of MAINTENANCE IN.
    fn report(&self) -> Cdb {
        let report = |action, allocation_len: u32| MaintenanceInCdb {
            opcode: opcode::MAINTENANCE_IN,
            action,
            allocation_len: allocation_len.into(),
            ..MaintenanceInCdb::default()
        };
        Cdb::of(&match *self {
            Self::ReportSupportedOperationCodes { which, timeouts, allocation_len } => {
                let (options, asked_opcode, asked_action) = match which {
                    OperationCodes::All => (0, 0, 0),
                    OperationCodes::Without { opcode } => (1, opcode, 0),
                    OperationCodes::With { opcode, action } => (2, opcode, action),
                    OperationCodes::Either { opcode, action } => (3, opcode, action),
                };
                MaintenanceInCdb {
                    options: u8::from(timeouts) << 7 | options,
                    asked_opcode,
                    asked_action: asked_action.into(),
                    ..report(service_action::REPORT_SUPPORTED_OPERATION_CODES, allocation_len)
                }
            }
            Self::ReportSupportedTaskManagementFunctions { extended, allocation_len } => MaintenanceInCdb {
                options: u8::from(extended) << 7,
                ..report(service_action::REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS, allocation_len)
            },
            Self::ReportTargetPortGroups { extended, allocation_len } => {
                report(u8::from(extended) << 5 | service_action::REPORT_TARGET_PORT_GROUPS, allocation_len)
            }
            _ => unreachable!("only reports come here"),
        })
    }

    fn reservation(&self) -> Cdb {
        match *self {
            Self::PersistentReserveIn { action, allocation_len } => Cdb::of(&PersistentReserveInCdb {
                opcode: opcode::PERSISTENT_RESERVE_IN,
                action: action.code(),
                allocation_len: allocation_len.into(),
                ..PersistentReserveInCdb::default()
            }),
            Self::PersistentReserveOut { action, scope, kind, parameter_len } => Cdb::of(&PersistentReserveOutCdb {
                opcode: opcode::PERSISTENT_RESERVE_OUT,
                action: action.code(),
                scope_and_type: scope << 4 | kind.0 & 0x0f,
                parameter_len: parameter_len.into(),
                ..PersistentReserveOutCdb::default()
            }),
            Self::Reserve(form) => reserve(form, opcode::RESERVE_6, opcode::RESERVE_10),
            Self::Release(form) => reserve(form, opcode::RELEASE_6, opcode::RELEASE_10),
            _ => unreachable!("only reservations come here"),
        }
    }
}

impl Command {
    /// A CDB of THIRD-PARTY COPY OUT or IN.
    fn third_party_copy(&self) -> Cdb {
        let out = |action, list_id: u32, parameter_len: u32| {
            Cdb::of(&ThirdPartyCopyOutCdb {
                opcode: opcode::THIRD_PARTY_COPY_OUT,
                action,
                list_id: list_id.into(),
                parameter_len: parameter_len.into(),
                ..ThirdPartyCopyOutCdb::default()
            })
        };
        let receive = |action, list_id, allocation_len: u32| {
            Cdb::of(&ReceiveCopyCdb {
                opcode: opcode::THIRD_PARTY_COPY_IN,
                action,
                list_id,
                allocation_len: allocation_len.into(),
                ..ReceiveCopyCdb::default()
            })
        };
        match *self {
            Self::ExtendedCopy { parameter_len } => out(service_action::EXTENDED_COPY_LID1, 0, parameter_len),
            Self::PopulateToken { list_id, parameter_len } => {
                out(service_action::POPULATE_TOKEN, list_id, parameter_len)
            }
            Self::WriteUsingToken { list_id, parameter_len } => {
                out(service_action::WRITE_USING_TOKEN, list_id, parameter_len)
            }
            Self::ReceiveCopyStatus { list_id, allocation_len } => {
                receive(service_action::RECEIVE_COPY_STATUS_LID1, list_id, allocation_len)
            }
            Self::ReceiveCopyOperatingParameters { allocation_len } => {
                receive(service_action::RECEIVE_COPY_OPERATING_PARAMETERS, 0, allocation_len)
            }
            Self::ReceiveRodTokenInformation { list_id, allocation_len } => Cdb::of(&ReceiveTokenCdb {
                opcode: opcode::THIRD_PARTY_COPY_IN,
                action: service_action::RECEIVE_ROD_TOKEN_INFORMATION,
                list_id: list_id.into(),
                allocation_len: allocation_len.into(),
                ..ReceiveTokenCdb::default()
            }),
            _ => unreachable!("only third-party copy comes here"),
        }
    }
}

fn plain(opcode: u8) -> Cdb {
    Cdb::of(&PlainCdb6 { opcode, ..PlainCdb6::default() })
}

fn reserve(form: ReserveForm, six: u8, ten: u8) -> Cdb {
    match form {
        ReserveForm::Six => plain(six),
        ReserveForm::Ten => Cdb::of(&ReserveCdb10 { opcode: ten, ..ReserveCdb10::default() }),
    }
}

fn service_action_in(service_action: u8, lba: u64, allocation_len: u32) -> Cdb {
    Cdb::of(&ServiceActionInCdb16 {
        opcode: opcode::SERVICE_ACTION_IN_16,
        service_action,
        lba: lba.into(),
        allocation_len: allocation_len.into(),
        ..ServiceActionInCdb16::default()
    })
}

fn byte_check(check: ByteCheck) -> u8 {
    match check {
        ByteCheck::Medium => 0,
        ByteCheck::Blocks => 1 << 1,
        ByteCheck::OneBlock => 3 << 1,
    }
}

fn blocks(forms: &Forms, range: BlockRange, flags: u8) -> Cdb {
    let wanted = if flags == 0 { range.form() } else { range.form().max(CdbForm::Ten) };
    let by_form = [CdbForm::Six, CdbForm::Ten, CdbForm::Twelve, CdbForm::Sixteen].into_iter().zip(forms);
    let (form, opcode) = by_form
        .filter_map(|(form, code)| code.map(|code| (form, code)))
        .find(|(form, _)| *form >= wanted)
        .expect("every command on blocks has a form of 16 bytes");
    // INVARIANT of BlockRange: the values fit its own form, and the forms only get wider.
    let lba_32 = || u32::try_from(range.lba()).expect("the address fits the form");
    match form {
        CdbForm::Six => {
            let [_, high, middle, low] = lba_32().to_be_bytes();
            // 256 blocks are written as 0.
            let count = u8::try_from(range.block_count()).unwrap_or(0);
            Cdb::of(&BlockCdb6 { opcode, lba: [high, middle, low], count, control: 0 })
        }
        CdbForm::Ten => {
            let count = u16::try_from(range.block_count()).expect("the count fits the form");
            let (lba, count) = (lba_32().into(), count.into());
            Cdb::of(&BlockCdb10 { opcode, flags, lba, count, ..BlockCdb10::default() })
        }
        CdbForm::Twelve => {
            let (lba, count) = (lba_32().into(), range.block_count().into());
            Cdb::of(&BlockCdb12 { opcode, flags, lba, count, ..BlockCdb12::default() })
        }
        CdbForm::Sixteen => {
            let (lba, count) = (range.lba().into(), range.block_count().into());
            Cdb::of(&BlockCdb16 { opcode, flags, lba, count, ..BlockCdb16::default() })
        }
    }
}

fn write_same(range: BlockRange, (unmap, anchor): (bool, bool), no_data_out: bool) -> Cdb {
    let flags = u8::from(anchor) << 4 | u8::from(unmap) << 3 | u8::from(no_data_out);
    // NDOB is there only in the longest form.
    let form = if no_data_out { CdbForm::Sixteen } else { range.form() };
    blocks(&WRITE_SAME, BlockRange { form, ..range }, flags)
}

fn compare_and_write(lba: u64, count: u8, fua: bool) -> Cdb {
    Cdb::of(&CompareAndWriteCdb {
        opcode: opcode::COMPARE_AND_WRITE,
        flags: u8::from(fua) << 3,
        lba: lba.into(),
        count,
        ..CompareAndWriteCdb::default()
    })
}

fn write_atomic(lba: u64, (boundary, count): (u16, u16), fua: bool) -> Cdb {
    Cdb::of(&WriteAtomicCdb {
        opcode: opcode::WRITE_ATOMIC_16,
        flags: u8::from(fua) << 3,
        lba: lba.into(),
        boundary: boundary.into(),
        count: count.into(),
        ..WriteAtomicCdb::default()
    })
}

/// PC of LOG SENSE for cumulative values.
const CUMULATIVE: u8 = 0x40;

fn page_byte(control: PageControl, page: u8) -> u8 {
    let control = match control {
        PageControl::Current => 0,
        PageControl::Changeable => 1,
        PageControl::Default => 2,
        PageControl::Saved => 3,
    };
    control << 6 | page & 0x3f
}

fn mode_sense(form: ModeForm, flags: u8, page: u8, subpage: u8, allocation_len: u16) -> Cdb {
    match form {
        ModeForm::Six => Cdb::of(&ModeSenseCdb6 {
            opcode: opcode::MODE_SENSE_6,
            flags,
            page,
            subpage,
            allocation_len: u8::try_from(allocation_len).unwrap_or(u8::MAX),
            control: 0,
        }),
        ModeForm::Ten => Cdb::of(&ModeSenseCdb10 {
            opcode: opcode::MODE_SENSE_10,
            flags,
            page,
            subpage,
            allocation_len: allocation_len.into(),
            ..ModeSenseCdb10::default()
        }),
    }
}

fn mode_select(form: ModeForm, flags: u8, parameter_len: u16) -> Cdb {
    match form {
        ModeForm::Six => Cdb::of(&ModeSelectCdb6 {
            opcode: opcode::MODE_SELECT_6,
            flags,
            parameter_len: u8::try_from(parameter_len).unwrap_or(u8::MAX),
            ..ModeSelectCdb6::default()
        }),
        ModeForm::Ten => Cdb::of(&ModeSelectCdb10 {
            opcode: opcode::MODE_SELECT_10,
            flags,
            parameter_len: parameter_len.into(),
            ..ModeSelectCdb10::default()
        }),
    }
}

fn log_sense(page: u8, subpage: u8, parameter: u16, allocation_len: u16) -> Cdb {
    Cdb::of(&LogSenseCdb {
        opcode: opcode::LOG_SENSE,
        page: CUMULATIVE | page & 0x3f,
        subpage,
        parameter: parameter.into(),
        allocation_len: allocation_len.into(),
        ..LogSenseCdb::default()
    })
}

impl Command {
    fn defect_data(&self) -> Cdb {
        let Self::ReadDefectData { form, request, index, allocation_len } = *self else {
            unreachable!("only READ DEFECT DATA comes here")
        };
        match form {
            DefectForm::Ten => Cdb::of(&ReadDefectDataCdb10 {
                opcode: opcode::READ_DEFECT_DATA_10,
                which: request.byte(),
                allocation_len: u16::try_from(allocation_len).unwrap_or(u16::MAX).into(),
                ..ReadDefectDataCdb10::default()
            }),
            DefectForm::Twelve => Cdb::of(&ReadDefectDataCdb12 {
                opcode: opcode::READ_DEFECT_DATA_12,
                which: request.byte(),
                index: index.into(),
                allocation_len: allocation_len.into(),
                ..ReadDefectDataCdb12::default()
            }),
        }
    }
}

fn unmap(anchor: bool, parameter_len: u16) -> Cdb {
    Cdb::of(&UnmapCdb {
        opcode: opcode::UNMAP,
        anchor: u8::from(anchor),
        parameter_len: parameter_len.into(),
        ..UnmapCdb::default()
    })
}

fn sanitize(action: SanitizeAction, (immediate, unrestricted_exit): (bool, bool), parameter_len: u16) -> Cdb {
    let flags = u8::from(immediate) << 7 | u8::from(unrestricted_exit) << 5;
    Cdb::of(&SanitizeCdb {
        opcode: opcode::SANITIZE,
        action: flags | action.code(),
        parameter_len: parameter_len.into(),
        ..SanitizeCdb::default()
    })
}

fn start_stop_unit(power: Power, immediate: bool) -> Cdb {
    let power = match power {
        Power::Stop => 0,
        Power::Start => 1,
        Power::Eject => 2,
        Power::Load => 3,
        Power::Condition(condition) => condition << 4,
    };
    let immed = u8::from(immediate);
    Cdb::of(&StartStopCdb { opcode: opcode::START_STOP_UNIT, immed, power, ..StartStopCdb::default() })
}
