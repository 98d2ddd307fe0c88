//! The name of a key: SHA-256 of the DER of its SubjectPublicKeyInfo (RFC 5280, 4.1), which stays the same
//! when its certificate is renewed.
//!
//! Not for whose key it is: the replicated node records say that.

use std::fmt;

/// A public key's fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn of_public_key(spki_der: &[u8]) -> Fingerprint {
        let digest = ring::digest::digest(&ring::digest::SHA256, spki_der);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Fingerprint(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
