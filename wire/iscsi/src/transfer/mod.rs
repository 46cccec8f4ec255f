//! A task's data on its way (RFC 7143 4.2.4, 11.7, 11.8): who may send how much, when, and in what pieces.

mod read;
mod write;

pub use read::{DataInSlice, ReadError, ReadTransfer, data_in_slices};
pub use write::{
    DataOutPlacement, DataOutSlice, ReadyToTransferGrant, WriteError, WritePlan, WriteTransfer, data_out_slices,
};
