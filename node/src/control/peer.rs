//! Who asks, and what they may do: on the unix socket the user at the other end, as the kernel says (SO_PEERCRED,
//! unix(7)); on the nodes' port the bearer of a client certificate.
//!
//! Root and the daemon's own user may do everything; what others on this host may do is said by the groups that they
//! are in, and what those elsewhere may do stands in their certificates.

use crate::pki::Bearer;
use bannkreis_core::ids::NodeId;
use bannkreis_raft::Role as CertifiedRole;
use std::ffi::{CStr, CString};
use std::net::IpAddr;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

/// The longest line of passwd(5) that is looked at for a name.
const PASSWD_BYTES_MAX: usize = 16 * 1024;

/// The longest line of group(5), with all members.
const GROUP_BYTES_MAX: usize = 256 * 1024;
/// Somebody in more groups than this counts as being in the first one only.
const GROUPS_MAX: usize = 1_024;

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

/// Which groups of this host may do what over the control socket; `None`: nobody by being in one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// May do everything.
    pub admin: Option<String>,
    /// May ban and unban.
    pub operator: Option<String>,
    /// May look.
    pub viewer: Option<String>,
}

impl Groups {
    /// Whether anybody but root and the daemon's own user may ask at all.
    #[must_use]
    pub fn are_named(&self) -> bool {
        [&self.admin, &self.operator, &self.viewer].into_iter().any(Option::is_some)
    }

    /// The most that somebody in these groups may do.
    fn role(&self, of: &[String]) -> Option<Role> {
        let is_in = |group: &Option<String>| group.as_ref().is_some_and(|group| of.contains(group));
        let roles =
            [(&self.admin, Role::Admin), (&self.operator, Role::Operator), (&self.viewer, Role::Viewer)];
        roles.into_iter().find(|(group, _)| is_in(group)).map(|(_, role)| role)
    }

    /// What whoever has these ids may do here. They are looked up each time: nobody stays in a group by having asked
    /// before.
    #[must_use]
    pub fn role_of(&self, uid: u32, gid: u32) -> Option<Role> {
        // SAFETY: geteuid(2) takes nothing, touches nothing and can not fail.
        let own_uid = unsafe { libc::geteuid() };
        if uid == 0 || uid == own_uid {
            return Some(Role::Admin);
        }
        if self.are_named() { self.role(&groups_of(uid, gid)) } else { None }
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
    /// From which address, if they are on another host.
    pub from: Option<IpAddr>,
}

impl Peer {
    /// Who sent `request` to `node_id`.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` with a sentence when they may not ask at all.
    pub fn of<T>(request: &Request<T>, node_id: NodeId, groups: &Groups) -> Result<Peer, Status> {
        if let Some(bearer) = request.extensions().get::<Bearer>() {
            return Peer::certified(bearer, node_id);
        }
        let info = request.extensions().get::<UdsConnectInfo>();
        let ids = info.and_then(|info| info.peer_cred).map(|peer| (peer.uid(), peer.gid()));
        let Some((uid, gid)) = ids else {
            return Err(Status::permission_denied(
                "who asks is not known: ask over the control socket, or with a certificate for a person \
                 (`bannkreis pki issue`)",
            ));
        };
        Peer::admitted(uid, groups.role_of(uid, gid), node_id)
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
            "{} may not do this: it takes the role {}. `bannkreis pki issue` on a node makes a certificate for it, or be \
             in the group that `control` in bannkreis.toml names for it",
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
        Ok(Peer { node_id, role, author, from: bearer.from })
    }

    fn admitted(uid: u32, role: Option<Role>, node_id: NodeId) -> Result<Peer, Status> {
        let author = match user_name(uid) {
            Some(name) => format!("uid {uid} ({name})"),
            None => format!("uid {uid}"),
        };
        match role {
            Some(role) => Ok(Peer { node_id, role, author, from: None }),
            None => Err(Status::permission_denied(format!(
                "{author} may not ask this node: only root, the daemon's own user and the groups that `control` in \
                 bannkreis.toml names may. Try again with sudo"
            ))),
        }
    }
}

/// The names of all groups that a user is in: getgrouplist(3), for SO_PEERCRED tells the first one only.
fn groups_of(uid: u32, gid: u32) -> Vec<String> {
    let mut gids = vec![gid];
    if let Some(name) = user_name(uid).and_then(|name| CString::new(name).ok()) {
        let mut found = vec![0; GROUPS_MAX];
        let mut n_found = libc::c_int::try_from(found.len()).unwrap_or(0);
        // SAFETY: the name ends with a zero byte, and the list has room for as many as it is told.
        let told = unsafe { libc::getgrouplist(name.as_ptr(), gid, found.as_mut_ptr(), &raw mut n_found) };
        if told >= 0 {
            found.truncate(usize::try_from(n_found).unwrap_or(0));
            gids.append(&mut found);
        }
    }
    gids.sort_unstable();
    gids.dedup();
    gids.into_iter().filter_map(group_name).collect()
}

/// The name of a group, when the system knows one.
fn group_name(gid: u32) -> Option<String> {
    let mut buffer = vec![0; GROUP_BYTES_MAX];
    let mut found = std::ptr::null_mut();
    let mut entry = std::mem::MaybeUninit::<libc::group>::zeroed();
    // SAFETY: as for getpwuid_r(3) below.
    let failed = unsafe {
        libc::getgrgid_r(gid, entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found)
    };
    if failed != 0 || found.is_null() {
        return None;
    }
    // SAFETY: on success `found` points to `entry`, whose name points into `buffer`, ended by a zero byte.
    let name = unsafe { CStr::from_ptr((*found).gr_name) };
    name.to_str().ok().map(str::to_owned)
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
    use super::{Bearer, CertifiedRole, Groups, Peer, Role, groups_of};
    use bannkreis_core::ids::NodeId;
    use tonic::{Code, Request};

    #[test]
    fn root_and_the_daemon_are_admins_and_others_are_told_what_to_do() {
        let nobody = Groups::default();
        // SAFETY: geteuid(2) and getegid(2) take nothing, touch nothing and can not fail.
        let (own_uid, own_gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        assert_eq!(nobody.role_of(0, 0), Some(Role::Admin));
        assert_eq!(nobody.role_of(own_uid, own_gid), Some(Role::Admin));
        assert_eq!(nobody.role_of(4_000_000, 4_000_000), None);
        let root = Peer::admitted(0, Some(Role::Admin), NodeId(1)).unwrap();
        assert_eq!((root.role, root.author.as_str()), (Role::Admin, "uid 0 (root)"));
        let refused = Peer::admitted(4_000_000, None, NodeId(1)).unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("uid 4000000 may not") && refused.message().contains("sudo"));
    }

    #[test]
    fn whoever_is_in_a_named_group_may_do_what_it_may() {
        let named = |name: &str| Some(name.to_owned());
        let groups = Groups { operator: named("mailadmins"), viewer: named("helpdesk"), ..Groups::default() };
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            groups.role(&names)
        };
        assert_eq!(of(&["users", "helpdesk"]), Some(Role::Viewer));
        assert_eq!(of(&["helpdesk", "mailadmins"]), Some(Role::Operator));
        assert_eq!(of(&["users"]), None);
        assert!(groups.are_named() && !Groups::default().are_named());

        // Somebody of this system, by the group that they have with them: root's, which every system has.
        let of_root = groups_of(4_000_000, 0);
        assert_eq!(of_root.len(), 1, "{of_root:?}");
        let groups = Groups { viewer: Some(of_root[0].clone()), ..Groups::default() };
        assert_eq!(groups.role_of(4_000_000, 0), Some(Role::Viewer));
        assert_eq!(groups.role_of(4_000_000, 4_000_000), None);
        // And by a further group, if somebody of this system is in one.
        if let Some((group, uid)) = somebodys_further_group() {
            assert!(groups_of(uid, 4_000_000).contains(&group), "{group} of {uid}");
        }
    }

    /// By group(5) and passwd(5).
    fn somebodys_further_group() -> Option<(String, u32)> {
        let groups = std::fs::read_to_string("/etc/group").ok()?;
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        let uid_of = |user: &str| {
            let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
            fields.into_iter().find(|fields| fields[0] == user)?.get(2)?.parse::<u32>().ok()
        };
        groups.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let user = fields.get(3)?.split(',').next().filter(|user| !user.is_empty())?;
            Some((fields[0].to_owned(), uid_of(user)?))
        })
    }

    #[test]
    fn a_certificate_says_what_its_bearer_may_do() {
        let of = |role| {
            let mut request = Request::new(());
            request.extensions_mut().insert(Bearer { name: "alice\n".to_owned(), role, from: None });
            Peer::of(&request, NodeId(1), &Groups::default())
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
        assert_eq!(
            Peer::of(&Request::new(()), NodeId(1), &Groups::default()).unwrap_err().code(),
            Code::PermissionDenied
        );
    }
}
