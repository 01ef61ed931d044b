//! The `switchboard` binary: flags, logging, and one call into the library.

use std::process::ExitCode;

/// What is decoded on one thread is freed on another, all day long; the system's allocator has both wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    switchboard::cli::main()
}
