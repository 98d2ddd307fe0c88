//! Where the programs under test lie.

use std::path::PathBuf;

use crate::failed::{Context, Result, expect};

/// Names another directory than the one of the running test.
const DIRECTORY_VARIABLE: &str = "BANNKREIS_BIN_DIR";

/// The path of the program of that name: in `BANNKREIS_BIN_DIR`, or where cargo put it beside this one.
///
/// # Errors
/// When it is not there.
pub fn program(name: &str) -> Result<PathBuf> {
    let directory = match std::env::var_os(DIRECTORY_VARIABLE) {
        Some(directory) => PathBuf::from(directory),
        None => own_directory()?,
    };
    let path = directory.join(name);
    expect(path.is_file(), || {
        format!(
            "there is no {}: build it first (cargo build --workspace --bins), or name its directory in {DIRECTORY_VARIABLE}",
            path.display()
        )
    })?;
    Ok(path)
}

/// target/debug, also for tests, which lie in target/debug/deps.
fn own_directory() -> Result<PathBuf> {
    let mut path = std::env::current_exe().context(|| "cannot find this program's own file".to_owned())?;
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    Ok(path)
}
