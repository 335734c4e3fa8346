//! The command line: one file per command.

/// Parses the arguments of this process, runs the command, returns the exit code.
pub fn main() -> u8 {
    0
}
