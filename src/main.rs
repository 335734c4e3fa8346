//! The `meshscript` program: runs the library and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(meshscript::run())
}
