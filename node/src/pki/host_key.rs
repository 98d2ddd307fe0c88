//! This host's key: one per host, for all clusters it will ever belong to. It never leaves the host.

use super::files::{self, Secrecy, failed};
use super::{Fingerprint, PkiError};
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use std::path::Path;

/// The key's file in the directory `pki`.
const FILE: &str = "host.key";

/// A private key (ECDSA on P-256).
#[derive(Debug)]
pub struct HostKey {
    pair: KeyPair,
}

impl HostKey {
    /// A new one, nowhere stored.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn make() -> Result<HostKey, PkiError> {
        let pair = KeyPair::generate().map_err(|error| PkiError(format!("no key can be made: {error}")))?;
        Ok(HostKey { pair })
    }

    /// The host's key in `dir`, which is made when it is not there.
    ///
    /// # Errors
    /// When it can not be read or written, or is no key.
    pub fn open(dir: &Path) -> Result<HostKey, PkiError> {
        if let Some(pem) = files::read(&dir.join(FILE))? {
            let pair = KeyPair::from_pem(&pem).map_err(|error| {
                let remedy = "move it away and join the cluster again: a new key is made then";
                failed(&dir.join(FILE), &format!("it is no private key ({error}); {remedy}"))
            })?;
            return Ok(HostKey { pair });
        }
        let key = HostKey::make()?;
        files::make_dir(dir)?;
        files::write(dir, FILE, &key.pem(), Secrecy::Key)?;
        Ok(key)
    }

    /// Removes the host's key from `dir`.
    ///
    /// # Errors
    /// When it is there and can not be removed.
    pub fn remove(dir: &Path) -> Result<(), PkiError> {
        match std::fs::remove_file(dir.join(FILE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed(&dir.join(FILE), &error))
            }
            _ => Ok(()),
        }
    }

    /// The private key as it is stored.
    #[must_use]
    pub fn pem(&self) -> String {
        self.pair.serialize_pem()
    }

    /// The public key's name.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_public_key(&self.pair.subject_public_key_info())
    }

    /// A certificate request in DER (RFC 2986): it proves that this host has the key. Names and role are the
    /// authority's to say, so it asks for none.
    ///
    /// # Errors
    /// When signing fails.
    pub fn request(&self) -> Result<Vec<u8>, PkiError> {
        let failed = |error: rcgen::Error| PkiError(format!("no certificate request can be made: {error}"));
        let request = CertificateParams::default().serialize_request(&self.pair).map_err(failed)?;
        Ok(request.der().to_vec())
    }
}
