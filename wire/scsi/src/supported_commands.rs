//! What a unit can do: its commands and its task management functions (SPC-4 6.35, 6.36).

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::CommandForm;
use crate::response::{ResponseError, prefix};

/// SPC-4 table 266, REPORTING OPTIONS, with the command that is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationCodes {
    /// 000b: all commands.
    All,
    /// 001b: a command whose operation code has no service actions.
    Without {
        /// REQUESTED OPERATION CODE.
        opcode: u8,
    },
    /// 010b: a command whose operation code has service actions.
    With {
        /// REQUESTED OPERATION CODE.
        opcode: u8,
        /// REQUESTED SERVICE ACTION.
        action: u16,
    },
    /// 011b: a command, with service action 0 if its operation code has none.
    Either {
        /// REQUESTED OPERATION CODE.
        opcode: u8,
        /// REQUESTED SERVICE ACTION.
        action: u16,
    },
}

/// SPC-4 6.35.2, a command descriptor of the list of all commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandDescriptor {
    /// OPERATION CODE.
    pub opcode: u8,
    /// SERVICE ACTION, if SERVACTV says that there is one.
    pub service_action: Option<u16>,
    /// CDB LENGTH in bytes.
    pub cdb_len: u16,
}

/// SPC-4 6.35.2, the list of all commands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandList {
    /// The commands.
    pub commands: Vec<CommandDescriptor>,
    /// CTDP: a timeouts descriptor follows each. They say that nothing is known of how long a command takes.
    pub timeouts: bool,
}

/// SPC-4 6.35.3, one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneCommand<'a> {
    /// CDB USAGE DATA, of the length of the CDB, or `None` if the command is not supported.
    pub usage: Option<&'a [u8]>,
    /// CTDP, as for [`CommandList`]. There is none for what is not supported.
    pub timeouts: bool,
}

impl CommandForm {
    /// The form as a descriptor.
    #[must_use]
    pub fn descriptor(&self) -> CommandDescriptor {
        CommandDescriptor {
            opcode: self.opcode(),
            service_action: self.service_action.map(u16::from),
            cdb_len: u16::try_from(self.usage.len()).expect("CDBs have at most 16 bytes"),
        }
    }
}

impl CommandList {
    /// The parameter data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for command in &self.commands {
            let flags = u8::from(self.timeouts) << 1 | u8::from(command.service_action.is_some());
            let descriptor = Descriptor {
                opcode: command.opcode,
                reserved_1: 0,
                service_action: command.service_action.unwrap_or(0).into(),
                reserved_4: 0,
                flags,
                cdb_len: command.cdb_len.into(),
            };
            list.extend(descriptor.as_bytes());
            if self.timeouts {
                list.extend(TIMEOUTS);
            }
        }
        let len = u32::try_from(list.len()).expect("at most 65536 commands");
        [&len.to_be_bytes()[..], &list].concat()
    }

    /// Reads parameter data, whole descriptors of it.
    ///
    /// # Errors
    /// Less than the header of 4 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let (len, rest): (&U32, _) = prefix("REPORT SUPPORTED OPERATION CODES data", bytes)?;
        let mut rest = &rest[..rest.len().min(usize::try_from(len.get()).unwrap_or(usize::MAX))];
        let mut list = Self::default();
        while let Ok((descriptor, following)) = Descriptor::ref_from_prefix(rest) {
            let timeouts = descriptor.flags & 2 != 0;
            let timeouts_len = if timeouts { TIMEOUTS.len() } else { 0 };
            let Some(next) = following.get(timeouts_len..) else { break };
            list.timeouts |= timeouts;
            list.commands.push(CommandDescriptor {
                opcode: descriptor.opcode,
                service_action: (descriptor.flags & 1 != 0).then_some(descriptor.service_action.get()),
                cdb_len: descriptor.cdb_len.get(),
            });
            rest = next;
        }
        Ok(list)
    }
}

impl<'a> OneCommand<'a> {
    /// The parameter data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let usage = self.usage.unwrap_or_default();
        let timeouts = self.timeouts && self.usage.is_some();
        let support = if self.usage.is_some() { SUPPORTED } else { NOT_SUPPORTED };
        let len = u16::try_from(usage.len()).expect("CDBs are short").to_be_bytes();
        let mut bytes = vec![0, u8::from(timeouts) << 7 | support, len[0], len[1]];
        bytes.extend(usage);
        if timeouts {
            bytes.extend(TIMEOUTS);
        }
        bytes
    }

    /// Reads parameter data. A command that is supported in the vendor's own way counts as supported.
    ///
    /// # Errors
    /// Less than the header and the usage data that it announces.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ResponseError> {
        let (header, rest): (&OneHeader, _) = prefix("REPORT SUPPORTED OPERATION CODES data", bytes)?;
        let len = usize::from(header.cdb_len.get());
        let usage = rest.get(..len).ok_or(ResponseError::Truncated {
            what: "CDB usage data",
            needed_len: len,
            len: rest.len(),
        })?;
        let supported = matches!(header.support & 7, SUPPORTED | SUPPORTED_BY_VENDOR);
        Ok(Self { usage: supported.then_some(usage), timeouts: header.support & 0x80 != 0 })
    }
}

/// SPC-4 6.36, the task management functions that a unit has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskManagementFunctions {
    /// ATS: ABORT TASK.
    pub abort_task: bool,
    /// ATSS: ABORT TASK SET.
    pub abort_task_set: bool,
    /// CACAS: CLEAR ACA.
    pub clear_aca: bool,
    /// CTSS: CLEAR TASK SET.
    pub clear_task_set: bool,
    /// LURS: LOGICAL UNIT RESET.
    pub logical_unit_reset: bool,
    /// TRS: TARGET RESET, which only transports of old have.
    pub target_reset: bool,
}

impl TaskManagementFunctions {
    /// The parameter data, with REPD in the long format, which says that nothing is known of how long a function takes.
    #[must_use]
    pub fn to_bytes(&self, extended: bool) -> Vec<u8> {
        let flags = u8::from(self.abort_task) << 7
            | u8::from(self.abort_task_set) << 6
            | u8::from(self.clear_aca) << 5
            | u8::from(self.clear_task_set) << 4
            | u8::from(self.logical_unit_reset) << 3
            | u8::from(self.target_reset) << 1;
        let mut bytes = vec![flags, 0, 0, 0];
        if extended {
            bytes.resize(16, 0);
            // What follows the header of four bytes.
            bytes[3] = 12;
        }
        bytes
    }

    /// Reads parameter data of either format.
    ///
    /// # Errors
    /// Less than 4 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let (&[flags, ..], _): (&[u8; 4], _) = prefix("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS data", bytes)?;
        let flag = |bit: u8| flags >> bit & 1 != 0;
        Ok(Self {
            abort_task: flag(7),
            abort_task_set: flag(6),
            clear_aca: flag(5),
            clear_task_set: flag(4),
            logical_unit_reset: flag(3),
            target_reset: flag(1),
        })
    }
}

/// SUPPORT.
const NOT_SUPPORTED: u8 = 1;
const SUPPORTED: u8 = 3;
const SUPPORTED_BY_VENDOR: u8 = 5;

/// SPC-4 6.35.4, a command timeouts descriptor in which all times are 0, which means that nothing is said.
const TIMEOUTS: [u8; 12] = [0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Descriptor {
    opcode: u8,
    reserved_1: u8,
    service_action: U16,
    reserved_4: u8,
    flags: u8,
    cdb_len: U16,
}
const _: () = assert!(size_of::<Descriptor>() == 8);

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct OneHeader {
    reserved: u8,
    support: u8,
    cdb_len: U16,
}
const _: () = assert!(size_of::<OneHeader>() == 4);
