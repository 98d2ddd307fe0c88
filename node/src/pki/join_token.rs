//! A join token: what lets a host into a cluster once. It carries a secret, and the name of the cluster's
//! authority, so that the host believes nobody else on its way in.
//!
//! ```text
//! bkt1_ + base64url (RFC 4648, 5; without padding) of: 16 random bytes, SHA-256 of the authority's public key
//! ```
//!
//! The cluster keeps only the hash of the secret. Not for who may have one, nor for how long it counts: that
//! is the ban list's.

use super::{Fingerprint, PkiError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use std::str::FromStr;

/// What every token of this format begins with.
const PREFIX: &str = "bkt1_";
/// 128 random bits: nobody guesses one.
const SECRET_BYTES: usize = 16;
const BYTES: usize = SECRET_BYTES + 32;

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    secret: [u8; SECRET_BYTES],
    /// The authority's key; zeros for a cluster without an authority of its own.
    pub authority: Fingerprint,
}

impl JoinToken {
    /// A new one, for the cluster with this authority.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn make(authority: Fingerprint) -> Result<JoinToken, PkiError> {
        let mut secret = [0; SECRET_BYTES];
        SystemRandom::new()
            .fill(&mut secret)
            .map_err(|_| PkiError("no token can be made: the kernel gives no random bytes".to_owned()))?;
        Ok(JoinToken { secret, authority })
    }

    /// What is shown to the cluster.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// By what the cluster knows it.
    #[must_use]
    pub fn hash(&self) -> Vec<u8> {
        hash_of(&self.secret)
    }
}

/// By what the cluster knows the token with this secret: its SHA-256.
#[must_use]
pub fn hash_of(secret: &[u8]) -> Vec<u8> {
    digest(&SHA256, secret).as_ref().to_vec()
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.secret.to_vec();
        bytes.extend_from_slice(&self.authority.0);
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// Never the secret: errors and logs show this.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<JoinToken, PkiError> {
        // The text itself is not repeated: it may be a secret with one letter missing.
        let not_one = |why: &str| {
            PkiError(format!("this is no join token: {why}; `bannkreis token create` on a member makes one"))
        };
        let encoded =
            text.trim().strip_prefix(PREFIX).ok_or_else(|| not_one("it does not begin with bkt1_"))?;
        let bytes = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| not_one("it is not whole, or has a character that no token has"))?;
        let (secret, authority) = bytes.split_at_checked(SECRET_BYTES).unwrap_or_default();
        let (Ok(secret), Ok(authority)) = (secret.try_into(), authority.try_into()) else {
            return Err(not_one(&format!("it has {} bytes in it, and a token has {BYTES}", bytes.len())));
        };
        Ok(JoinToken { secret, authority: Fingerprint(authority) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again_and_spaces_around_it_do_no_harm() {
        let token = JoinToken::make(Fingerprint([7; 32])).unwrap();
        let text = token.to_string();
        assert_eq!(text.len(), 5 + 64);
        assert_eq!(format!(" {text}\n").parse::<JoinToken>().unwrap(), token);
        assert_eq!(token.hash(), hash_of(token.secret()));
        assert!(!format!("{token:?}").contains(&text[5..20]));
    }

    #[test]
    fn what_is_no_token_is_refused_with_the_reason_and_without_repeating_it() {
        let whole = JoinToken::make(Fingerprint([7; 32])).unwrap().to_string();
        for (text, why) in [
            ("", "begin with bkt1_"),
            ("bkt2_AAAA", "begin with bkt1_"),
            ("bkt1_", "0 bytes"),
            (&whole[..60], "is no join token"),
            ("bkt1_AAAA", "3 bytes"),
            ("bkt1_??", "a character that no token has"),
        ] {
            let error = text.parse::<JoinToken>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("token create"), "{error}");
            assert!(text.len() < 9 || !error.contains(text), "{error}");
        }
    }
}
