//! The conformance suite over our own provider, sound and with every fault that can be planted, and the command that runs it.

mod command;
mod faults;
