//! Turns the published `.proto` into Rust, with the JSON form of the same messages. Needs no protoc.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

const PROTO: &str = "proto/gate.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let descriptors = protox::compile([PROTO], ["proto"])?;
    let bytes = descriptors.encode_to_vec();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    std::fs::write(out.join("gate.bin"), &bytes)?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    // A field that a newer side adds must not break an older one.
    pbjson_build::Builder::new()
        .register_descriptors(&bytes)?
        .ignore_unknown_fields()
        .build(&[".switchboard.gate.v1"])?;
    Ok(())
}
