//! Who proves to be whom: the cluster's own certificate authority, this host's key, certificates from
//! elsewhere, and what TLS is made of them.
//!
//! Knows keys, certificates and their files below the state directory. It does not know which node a key
//! belongs to (the ban list's node records say that, and `wire` asks them), nor sockets, nor settings, nor
//! the time: that is told. In the order of suggested reading: [`fingerprint`], [`certificate`],
//! [`host_key`], [`authority`], [`sessions`] (what TLS needs), [`keyring`] (what is in use now, and its
//! renewal), [`join_token`] and [`knocking`] (the
//! way in), `files`.

pub mod authority;
pub mod certificate;
mod files;
pub mod fingerprint;
pub mod host_key;
pub mod join_token;
pub mod keyring;
pub mod knocking;
pub mod sessions;

pub use authority::{Authority, Subject};
pub use certificate::{Bearer, Certificate};
pub use fingerprint::Fingerprint;
pub use host_key::HostKey;
pub use join_token::JoinToken;
pub use keyring::{Keyring, Origin, Who};
pub use sessions::Sessions;

/// What is wrong with a key or a certificate: a sentence with the file or the value, the cause and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PkiError(pub String);

#[cfg(test)]
mod tests;
