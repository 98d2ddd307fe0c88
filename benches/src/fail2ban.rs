//! The peer that ours stands beside: Debian's own fail2ban, unpacked and never installed.
//!
//! Not for what is asked of it.

use std::path::{Path, PathBuf};

/// Its configuration directory: what `BANNKREIS_FAIL2BAN_DIR` names, or where this project unpacks it. `None` when it is not
/// there.
#[must_use]
pub fn config_dir() -> Option<PathBuf> {
    let from_environment = std::env::var_os("BANNKREIS_FAIL2BAN_DIR").map(PathBuf::from);
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fail2ban/etc/fail2ban");
    from_environment.or(Some(unpacked)).filter(|directory| directory.is_dir())
}

/// Its Python modules, beside that configuration.
#[must_use]
pub fn modules_dir(config_dir: &Path) -> PathBuf {
    config_dir.join("../../usr/lib/python3/dist-packages")
}

/// One of its programs, beside that configuration.
#[must_use]
pub fn program(config_dir: &Path, name: &str) -> PathBuf {
    config_dir.join("../../usr/bin").join(name)
}
