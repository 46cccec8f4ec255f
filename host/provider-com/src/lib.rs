//! `lunshadow-provider.exe`: COM shells around a `HardwareProvider`, class object, service, installer, event log. No decisions.
//!
//! What can be decided without Windows (settings, the command line, the order of an installation, what a check means) builds everywhere and is
//! tested everywhere; the rest is `cfg(windows)`.
#![cfg_attr(windows, expect(unsafe_code, reason = "Windows' interfaces are unsafe to call and to implement"))]

pub mod cli;
pub mod config;
pub mod config_command;
pub mod configured;
pub mod doctor;
#[cfg(windows)]
pub mod event_log;
#[cfg(windows)]
mod folders;
pub mod ids;
pub mod install;
pub mod message_table;
#[cfg(windows)]
pub mod program;
#[cfg(windows)]
pub mod server;
#[cfg(windows)]
mod shell;
pub mod status;

/// What the build script has under this name is a copy.
use lunshadow_provider as events;
