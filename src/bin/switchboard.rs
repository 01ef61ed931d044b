//! The `switchboard` binary: flags, logging, and one call into the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    switchboard::cli::main()
}
