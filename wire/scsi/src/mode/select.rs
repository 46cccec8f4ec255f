//! The parameter list of MODE SELECT.

use zerocopy::FromBytes;

use super::{BlockDescriptor, Header6, Header10, ModeForm, ModePage};
use crate::FieldPointer;

/// A page of a mode parameter list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPage<'a> {
    /// Where the page begins in the list.
    pub offset: usize,
    /// The whole page with its header.
    pub bytes: &'a [u8],
    /// What it says.
    pub page: ModePage,
}

/// A mode parameter list that MODE SELECT brings (SPC-4 6.9.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModeList<'a> {
    /// NUMBER OF LOGICAL BLOCKS and LOGICAL BLOCK LENGTH of the block descriptor.
    pub block_descriptor: Option<(u32, u32)>,
    /// The pages.
    pub pages: Vec<ListedPage<'a>>,
}

/// What is wrong with a mode parameter list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ModeListError {
    /// Its header, a block descriptor or a page is cut off: PARAMETER LIST LENGTH ERROR, 1Ah/00h.
    #[error("a mode parameter list of {0} bytes is cut off")]
    CutOff(usize),
    /// A field is invalid: INVALID FIELD IN PARAMETER LIST, 26h/00h.
    #[error("the field at byte {} of the mode parameter list is invalid", .0.byte)]
    InvalidField(FieldPointer),
}

impl<'a> ModeList<'a> {
    /// Reads a list. An empty one has no pages and is no error.
    ///
    /// # Errors
    /// What the device server has to answer.
    pub fn parse(form: ModeForm, list: &'a [u8]) -> Result<Self, ModeListError> {
        if list.is_empty() {
            return Ok(Self::default());
        }
        let cut_off = ModeListError::CutOff(list.len());
        let (header_len, descriptors_len) = match form {
            ModeForm::Six => {
                let (header, _) = Header6::ref_from_prefix(list).map_err(|_| cut_off)?;
                (size_of::<Header6>(), usize::from(header.descriptors_len))
            }
            ModeForm::Ten => {
                let (header, _) = Header10::ref_from_prefix(list).map_err(|_| cut_off)?;
                (size_of::<Header10>(), usize::from(header.descriptors_len.get()))
            }
        };
        let block_descriptor = match descriptors_len {
            0 => None,
            8 => {
                let bytes = list.get(header_len..).and_then(|rest| BlockDescriptor::ref_from_prefix(rest).ok());
                let (descriptor, _) = bytes.ok_or(cut_off)?;
                Some((descriptor.block_count.get(), descriptor.block_bytes.get() & 0x00ff_ffff))
            }
            // BLOCK DESCRIPTOR LENGTH ends the header.
            _ => return Err(ModeListError::InvalidField(FieldPointer::byte(header_len - 1))),
        };
        let mut offset = header_len + descriptors_len;
        let mut pages = Vec::new();
        while offset < list.len() {
            let rest = &list[offset..];
            let (page, next) = ModePage::read(rest).ok_or(cut_off)?;
            let bytes = &rest[..rest.len() - next.len()];
            pages.push(ListedPage { offset, bytes, page });
            offset += bytes.len();
        }
        Ok(Self { block_descriptor, pages })
    }
}
