//! Pods as processes of the node.

use std::ffi::OsString;
use std::process::ExitCode;

/// Parent process of one container: the hidden `shim` subcommand.
pub fn shim(_args: Vec<OsString>) -> ExitCode {
    ExitCode::FAILURE
}
