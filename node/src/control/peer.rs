//! Who asks, and what they may do: on the unix socket the user at the other end, as the kernel says (SO_PEERCRED,
//! unix(7)); on the nodes' port the bearer of a client certificate.
//!
//! Root and the daemon's own user may do everything; what others may do stands in their certificates.

use crate::pki::Bearer;
use bannkreis_core::ids::NodeId;
use bannkreis_raft::Role as CertifiedRole;
use std::ffi::CStr;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

/// The longest line of passwd(5) that is looked at for a name.
const PASSWD_BYTES_MAX: usize = 16 * 1024;

/// What a caller may do: each role what the one before it may, and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Viewer,
    /// Ban and unban.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// As people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The node through which they ask: this one.
    pub node_id: NodeId,
    /// What they may do.
    pub role: Role,
    /// The person, as the audit names them: `uid 0 (root)`, `alice (certificate, operator)`.
    pub author: String,
}

impl Peer {
    /// Who sent `request` to `node_id`.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` with a sentence when they may not ask at all.
    pub fn of<T>(request: &Request<T>, node_id: NodeId) -> Result<Peer, Status> {
        if let Some(bearer) = request.extensions().get::<Bearer>() {
            return Peer::certified(bearer, node_id);
        }
        let info = request.extensions().get::<UdsConnectInfo>();
        let uid = info.and_then(|info| info.peer_cred).map(|credentials| credentials.uid());
        let Some(uid) = uid else {
            return Err(Status::permission_denied(
                "who asks is not known: ask over the control socket, or with a certificate for a person \
                 (`bannkreis pki issue`)",
            ));
        };
        // SAFETY: geteuid(2) takes nothing, touches nothing and can not fail.
        let own_uid = unsafe { libc::geteuid() };
        Peer::admitted(uid, own_uid, node_id)
    }

    /// Whether they may do what needs this role.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` with a sentence.
    pub fn check(&self, needed: Role) -> Result<(), Status> {
        if self.role >= needed {
            return Ok(());
        }
        Err(Status::permission_denied(format!(
            "{} may not do this: it takes the role {}. `bannkreis pki issue` on a node makes a certificate for it",
            self.author,
            needed.name()
        )))
    }

    fn certified(bearer: &Bearer, node_id: NodeId) -> Result<Peer, Status> {
        let role = match bearer.role {
            CertifiedRole::Admin => Role::Admin,
            CertifiedRole::Operator => Role::Operator,
            CertifiedRole::Viewer => Role::Viewer,
            CertifiedRole::Node => return Err(Status::permission_denied("nodes have nothing to ask here")),
        };
        // The name is the signer's word, and may come from an authority elsewhere.
        let author = format!("{} (certificate, {})", bearer.name.escape_debug(), role.name());
        Ok(Peer { node_id, role, author })
    }

    fn admitted(uid: u32, own_uid: u32, node_id: NodeId) -> Result<Peer, Status> {
        let author = match user_name(uid) {
            Some(name) => format!("uid {uid} ({name})"),
            None => format!("uid {uid}"),
        };
        if uid == 0 || uid == own_uid {
            return Ok(Peer { node_id, role: Role::Admin, author });
        }
        Err(Status::permission_denied(format!(
            "{author} may not ask this node: only root and the daemon's own user may. Try again with sudo"
        )))
    }
}

/// The name of a user, when the system knows one that can be printed.
fn user_name(uid: u32) -> Option<String> {
    let mut buffer = vec![0; PASSWD_BYTES_MAX];
    let mut found = std::ptr::null_mut();
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::zeroed();
    // SAFETY: all pointers are to live memory of the given sizes, for the time of the call; getpwuid_r(3) is
    // the variant that shares nothing between threads.
    let failed = unsafe {
        libc::getpwuid_r(uid, entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found)
    };
    if failed != 0 || found.is_null() {
        return None;
    }
    // SAFETY: on success `found` points to `entry`, whose name points into `buffer`, ended by a zero byte.
    let name = unsafe { CStr::from_ptr((*found).pw_name) };
    let name = name.to_str().ok()?;
    name.chars().all(|c| c.is_ascii_graphic()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Bearer, CertifiedRole, Peer, Role};
    use bannkreis_core::ids::NodeId;
    use tonic::{Code, Request};

    #[test]
    fn root_and_the_daemon_are_admins_and_others_are_told_what_to_do() {
        let root = Peer::admitted(0, 990, NodeId(1)).unwrap();
        assert_eq!((root.role, root.author.as_str()), (Role::Admin, "uid 0 (root)"));
        assert!(Peer::admitted(4_000_000, 4_000_000, NodeId(1)).is_ok());
        let refused = Peer::admitted(4_000_000, 0, NodeId(1)).unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("uid 4000000 may not") && refused.message().contains("sudo"));
    }

    #[test]
    fn a_certificate_says_what_its_bearer_may_do() {
        let of = |role| {
            let mut request = Request::new(());
            request.extensions_mut().insert(Bearer { name: "alice\n".to_owned(), role });
            Peer::of(&request, NodeId(1))
        };
        let alice = of(CertifiedRole::Operator).unwrap();
        assert_eq!(alice.author, "alice\\n (certificate, operator)");
        assert!(alice.check(Role::Viewer).is_ok() && alice.check(Role::Operator).is_ok());
        let refused = alice.check(Role::Admin).unwrap_err();
        assert!(refused.message().contains("role admin"), "{refused:?}");
        assert!(of(CertifiedRole::Viewer).unwrap().check(Role::Operator).is_err());
        assert!(of(CertifiedRole::Admin).unwrap().check(Role::Admin).is_ok());
        assert!(of(CertifiedRole::Node).is_err());
    }

    #[test]
    fn a_caller_without_credentials_is_refused() {
        assert_eq!(Peer::of(&Request::new(()), NodeId(1)).unwrap_err().code(), Code::PermissionDenied);
    }
}
