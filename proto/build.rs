//! Generates the Rust types and services of every file in `proto/bannkreis/v1`.
//!
//! protox compiles the files in this process, so nobody who builds bannkreis needs a `protoc`. The
//! descriptor set is kept beside the generated code: the control service's reflection serves it.

use prost::Message;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Where imports are looked for: `import "bannkreis/v1/ban.proto";`.
const INCLUDE: &str = "proto";
/// The one package.
const PACKAGE_DIR: &str = "proto/bannkreis/v1";

fn main() -> Result<(), Box<dyn Error>> {
    // A directory is watched with all that is in it, so a new file is noticed as well.
    println!("cargo::rerun-if-changed={INCLUDE}");
    let mut files: Vec<PathBuf> =
        fs::read_dir(PACKAGE_DIR)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    // The order of a directory differs from machine to machine; the descriptor set must not.
    files.sort();

    let descriptors = protox::compile(&files, [INCLUDE])?;
    let out_dir = env::var("OUT_DIR")?;
    fs::write(Path::new(&out_dir).join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .bytes(".bannkreis.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
