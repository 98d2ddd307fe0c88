//! What is in use now: this node's sessions, the authority if this node has it, and how they are renewed
//! while connections are open. New handshakes take what is newest.
//!
//! Below the state directory, of our own authority:
//!
//! ```text
//! pki/host.key                 this host's key, for all clusters
//! pki/<cluster>/ca.crt         the cluster's authority
//! pki/<cluster>/ca.key         its key: on voters
//! pki/<cluster>/host.crt       this node's certificate there
//! ```
//!
//! A directory per cluster: a node that joins another cluster has its certificates of there before it gives
//! up those of here, and whichever cluster `identity` names after a crash, its files are whole.

use super::authority::{Authority, CERTIFICATE_FILE, Subject};
use super::files::{self, Secrecy, failed};
use super::host_key::HostKey;
use super::sessions::{Material, Naming, Sessions};
use super::{Fingerprint, PkiError};
use bannkreis_core::ids::{ClusterId, NodeId};
use bannkreis_core::time::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// The directory in the state directory.
const DIR: &str = "pki";
/// This node's certificate in the cluster's directory.
const HOST_CERTIFICATE_FILE: &str = "host.crt";

/// Where keys and certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The cluster's own authority; files below this state directory.
    Own {
        /// The state directory.
        state_dir: PathBuf,
        /// Certificates hold for so many days.
        days: u32,
    },
    /// Somebody else's authority, such as cert-manager: files that somebody else writes and renews.
    Files {
        /// The authorities' certificates.
        ca: PathBuf,
        /// This node's certificate.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

/// Which node this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its id there.
    pub node: NodeId,
    /// Its host's name.
    pub name: String,
    /// It is the only member: it may found the cluster's authority.
    pub is_alone: bool,
}

struct InUse {
    who: Who,
    material: Material,
    sessions: Arc<Sessions>,
    authority: Option<Arc<Authority>>,
}

/// The keys and certificates of one life of a node.
pub struct Keyring {
    origin: Origin,
    in_use: RwLock<Option<InUse>>,
}

impl Keyring {
    /// Empty: no handshake works before [`Keyring::open`].
    #[must_use]
    pub fn new(origin: Origin) -> Keyring {
        Keyring { origin, in_use: RwLock::default() }
    }

    /// Reads what there is for this node; a node that is alone makes what is missing. Blocks on files.
    ///
    /// # Errors
    /// A sentence with file, cause and remedy.
    pub fn open(&self, who: Who, now: Timestamp) -> Result<(), PkiError> {
        let opened = match &self.origin {
            Origin::Own { state_dir, days } => open_own(state_dir, *days, who, now)?,
            Origin::Files { ca, certificate, key } => {
                let material = read_files(ca, certificate, key)?;
                let sessions = Sessions::make(&material, Naming::Host)
                    .map_err(|PkiError(why)| failed(certificate, &why))?;
                InUse { who, material, sessions: Arc::new(sessions), authority: None }
            }
        };
        *self.in_use.write().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        Ok(())
    }

    /// For the next handshake; `None` before [`Keyring::open`].
    #[must_use]
    pub fn sessions(&self) -> Option<Arc<Sessions>> {
        self.with(|in_use| in_use.sessions.clone())
    }

    /// The cluster's authority, when this node has it.
    #[must_use]
    pub fn authority(&self) -> Option<Arc<Authority>> {
        self.with(|in_use| in_use.authority.clone()).flatten()
    }

    /// Of the key that this node shows.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.with(|in_use| in_use.sessions.own.fingerprint)
    }

    /// Whether the certificates are made by the cluster itself.
    #[must_use]
    pub fn is_own(&self) -> bool {
        matches!(self.origin, Origin::Own { .. })
    }

    /// Whether this node's own certificate should be made anew.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.is_own() && self.with(|in_use| in_use.sessions.own.renew_at() <= now).unwrap_or(false)
    }

    /// Signs a request by the cluster's authority: the certificate and the authority's, in PEM. For whoever
    /// lets nodes in: whether `subject` is entitled to it must be decided before.
    ///
    /// # Errors
    /// When this node does not have the authority's key, or the request is refused.
    pub fn sign(&self, request: &[u8], subject: &Subject, now: Timestamp) -> Result<Signed, PkiError> {
        self.sign_for(None, request, subject, now)
    }

    /// The same, for so many days; `None`: as many as the nodes' own certificates count.
    ///
    /// # Errors
    /// As [`Keyring::sign`].
    pub fn sign_for(
        &self,
        wanted_days: Option<u32>,
        request: &[u8],
        subject: &Subject,
        now: Timestamp,
    ) -> Result<Signed, PkiError> {
        let Origin::Own { days, .. } = &self.origin else {
            let why = "certificates of this cluster come from elsewhere (tls.mode = \"files\"): ask there";
            return Err(PkiError(why.to_owned()));
        };
        let authority = self.authority().ok_or_else(|| {
            PkiError(
                "this node does not have the authority's key: ask a node that votes (`bannkreis cluster status`)"
                    .to_owned(),
            )
        })?;
        let certificate = authority.sign(request, subject, now, wanted_days.unwrap_or(*days))?;
        Ok(Signed { certificate, authority: authority.certificate_pem().to_owned() })
    }

    /// A request for this host's key; `None` when its certificates come from elsewhere.
    ///
    /// # Errors
    /// When the key can not be read.
    pub fn request(&self) -> Result<Option<Vec<u8>>, PkiError> {
        match &self.origin {
            Origin::Own { state_dir, .. } => HostKey::open(&state_dir.join(DIR))?.request().map(Some),
            Origin::Files { .. } => Ok(None),
        }
    }

    /// Stores a certificate for this node and shows it from the next handshake on. Blocks on files.
    ///
    /// # Errors
    /// When it is not for this node's key, or can not be stored.
    pub fn install(&self, signed: &Signed, now: Timestamp) -> Result<(), PkiError> {
        let Origin::Own { state_dir, .. } = &self.origin else { return Ok(()) };
        let who = self.with(|in_use| in_use.who.clone());
        let who = who.ok_or_else(|| PkiError("this node's keys are not open yet".to_owned()))?;
        adopt(state_dir, who.cluster, signed)?;
        self.open(who, now)
    }

    /// Makes this node's certificate anew, by the authority that this node has. Blocks on files.
    ///
    /// # Errors
    /// As [`Keyring::sign`] and [`Keyring::install`].
    pub fn renew(&self, now: Timestamp) -> Result<(), PkiError> {
        let who = self.with(|in_use| in_use.who.clone());
        let (Some(request), Some(who)) = (self.request()?, who) else {
            let why = "this node's certificate comes from elsewhere (tls.mode = \"files\"): renew it there; \
                       changed files are read within a minute";
            return Err(PkiError(why.to_owned()));
        };
        let signed = self.sign(&request, &Subject::Node { node: who.node, name: who.name }, now)?;
        self.install(&signed, now)
    }

    /// Takes over the authority's key, which another voter gave. Blocks on files.
    ///
    /// # Errors
    /// When it is not the key of this cluster's authority, or can not be stored.
    pub fn adopt_authority(&self, key_pem: String, now: Timestamp) -> Result<(), PkiError> {
        let Origin::Own { state_dir, .. } = &self.origin else { return Ok(()) };
        let known = self.with(|in_use| (in_use.who.clone(), in_use.material.authorities.clone()));
        let (who, certificate) =
            known.ok_or_else(|| PkiError("this node's keys are not open yet".to_owned()))?;
        let authority = Authority::from_pem(who.cluster, certificate, key_pem)?;
        authority.write(&cluster_dir(state_dir, who.cluster))?;
        self.open(who, now)
    }

    /// Reads files that somebody else writes, when they have changed; what is there now and can not be used is
    /// an error, and what is in use stays in use. Returns the new sessions without using them: their key may
    /// be another one, which the cluster must hear of first. Blocks on files.
    ///
    /// # Errors
    /// A sentence with the file's name.
    pub fn changed(&self) -> Result<Option<Changed>, PkiError> {
        let Origin::Files { ca, certificate, key } = &self.origin else { return Ok(None) };
        let material = read_files(ca, certificate, key)?;
        if self.with(|in_use| in_use.material == material).unwrap_or(true) {
            return Ok(None);
        }
        let sessions =
            Sessions::make(&material, Naming::Host).map_err(|PkiError(why)| failed(certificate, &why))?;
        Ok(Some(Changed { material, sessions: Arc::new(sessions) }))
    }

    /// From now on, handshakes take these.
    pub fn use_changed(&self, changed: Changed) {
        let mut in_use = self.in_use.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(in_use) = in_use.as_mut() {
            in_use.material = changed.material;
            in_use.sessions = changed.sessions;
        }
    }

    fn with<T>(&self, look: impl FnOnce(&InUse) -> T) -> Option<T> {
        self.in_use.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }
}

/// What an authority gives to a node, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The node's certificate.
    pub certificate: String,
    /// The authority's.
    pub authority: String,
}

/// Files that have changed, read and found good.
#[derive(Clone)]
pub struct Changed {
    material: Material,
    sessions: Arc<Sessions>,
}

impl Changed {
    /// Of the key in them.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.sessions.own.fingerprint
    }
}

/// Stores what the authority of `cluster` gave to this host: the first step of a join, before the node's
/// identity names that cluster. The certificate must be for this host's key. Blocks on files.
///
/// # Errors
/// When the certificate is not for this host's key, or a file can not be written.
pub fn adopt(state_dir: &Path, cluster: ClusterId, signed: &Signed) -> Result<(), PkiError> {
    let key = HostKey::open(&state_dir.join(DIR))?;
    let material =
        Material { authorities: signed.authority.clone(), chain: signed.certificate.clone(), key: key.pem() };
    let sessions = Sessions::make(&material, Naming::Cluster(cluster.to_string()))?;
    if sessions.own.fingerprint != key.fingerprint() {
        return Err(PkiError("the certificate is not for this host's key".to_owned()));
    }
    let dir = cluster_dir(state_dir, cluster);
    files::make_dir(&dir)?;
    files::write(&dir, CERTIFICATE_FILE, &signed.authority, Secrecy::Certificate)?;
    files::write(&dir, HOST_CERTIFICATE_FILE, &signed.certificate, Secrecy::Certificate)
}

/// Removes this host's key; the next [`Keyring::open`] makes another. For a node whose key was revoked.
///
/// # Errors
/// When it can not be removed.
pub fn forget_key(state_dir: &Path) -> Result<(), PkiError> {
    HostKey::remove(&state_dir.join(DIR))
}

fn cluster_dir(state_dir: &Path, cluster: ClusterId) -> PathBuf {
    state_dir.join(DIR).join(cluster.to_string())
}

fn open_own(state_dir: &Path, days: u32, who: Who, now: Timestamp) -> Result<InUse, PkiError> {
    let key = HostKey::open(&state_dir.join(DIR))?;
    let dir = cluster_dir(state_dir, who.cluster);
    let mut authority = Authority::read(&dir, who.cluster)?;
    let certificate = files::read(&dir.join(CERTIFICATE_FILE))?;
    if certificate.is_none() && who.is_alone {
        let founded = Authority::make(who.cluster, now)?;
        founded.write(&dir)?;
        authority = Some(founded);
    }
    let naming = || Naming::Cluster(who.cluster.to_string());
    let authorities = match (&authority, certificate) {
        (Some(authority), _) => authority.certificate_pem().to_owned(),
        (None, Some(certificate)) => certificate,
        (None, None) => {
            let why = "it is missing, and without it this node can neither believe its peers nor be believed: \
                       restore the directory from a backup, or join the cluster again";
            return Err(failed(&dir.join(CERTIFICATE_FILE), &why));
        }
    };
    let path = dir.join(HOST_CERTIFICATE_FILE);
    let material = |chain| Material { authorities: authorities.clone(), chain, key: key.pem() };
    if let Some(chain) = files::read(&path)? {
        let material = material(chain);
        let usable = Sessions::make(&material, naming()).and_then(|sessions| {
            let own = &sessions.own;
            if own.node() != Some(who.node) {
                let why = format!("it is for the node {}, and this is {}", own.common_name, who.node);
                return Err(PkiError(why));
            }
            if own.not_after <= now {
                return Err(PkiError("it has ended".to_owned()));
            }
            Ok(sessions)
        });
        match usable {
            Ok(sessions) => {
                return Ok(InUse {
                    who,
                    material,
                    sessions: Arc::new(sessions),
                    authority: authority.map(Arc::new),
                });
            }
            Err(PkiError(why)) if authority.is_none() => {
                let remedy = "join the cluster again to get a new one";
                return Err(failed(&path, &format!("{why}; {remedy}")));
            }
            // A new one is made below.
            Err(PkiError(why)) => tracing::warn!("{}: {why}; it is made anew", path.display()),
        }
    }
    let Some(authority) = authority else {
        let why = "this node's certificate is missing, and it does not have the authority's key to make one: \
                   join the cluster again";
        return Err(failed(&path, &why));
    };
    let subject = Subject::Node { node: who.node, name: who.name.clone() };
    let chain = authority.sign(&key.request()?, &subject, now, days)?;
    files::write(&dir, HOST_CERTIFICATE_FILE, &chain, Secrecy::Certificate)?;
    let material = material(chain);
    let sessions = Sessions::make(&material, naming())?;
    Ok(InUse { who, material, sessions: Arc::new(sessions), authority: Some(Arc::new(authority)) })
}

fn read_files(ca: &Path, certificate: &Path, key: &Path) -> Result<Material, PkiError> {
    let read = |path: &Path, setting: &str| {
        files::read(path)?.ok_or_else(|| {
            failed(path, &format!("there is no such file; put it there or set `{setting}` to another one"))
        })
    };
    Ok(Material {
        authorities: read(ca, "tls.ca")?,
        chain: read(certificate, "tls.certificate")?,
        key: read(key, "tls.key")?,
    })
}
