//! The Lease that names the cluster: what stands in it, how it is read and changed, and what a node does about it.
//!
//! ```text
//! metadata.annotations  bannkreis.io/cluster   the cluster's uuid
//!                       bannkreis.io/members   host:port of every node that is, or wants to be, a member
//! spec.holderIdentity                          host:port of the node that has created it
//! ```
//!
//! It is created once, and never renewed: it is no lock, but the answer to "which cluster?". Every change names the
//! version that it changes (`metadata.resourceVersion`), so of two at the same time one fails and looks again.

use super::client::{Answer, ApiServer};
use hyper::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

const CLUSTER: &str = "bannkreis.io/cluster";
const MEMBERS: &str = "bannkreis.io/members";
/// So many addresses are kept; the first ones go when there are more. Which they are decides nothing, but that
/// there are others does.
const MEMBERS_MAX: usize = 64;
/// The longest name of an object, and of a namespace (RFC 1123, as Kubernetes has it).
const NAME_BYTES_MAX: usize = 253;

/// Which Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    namespace: String,
    name: String,
}

impl FromStr for LeaseName {
    type Err = String;

    fn from_str(text: &str) -> Result<LeaseName, String> {
        let (namespace, name) = text.split_once('/').ok_or("it is not NAMESPACE/NAME")?;
        let is_name = |part: &str| {
            let is_plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
            !part.is_empty() && part.len() <= NAME_BYTES_MAX && part.bytes().all(is_plain)
        };
        if !is_name(namespace) || !is_name(name) {
            return Err("names in Kubernetes have small letters, digits, `-` and `.` only".to_owned());
        }
        Ok(LeaseName { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl LeaseName {
    fn collection(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.name)
    }

    /// The Lease as it is; `None` when there is none.
    ///
    /// # Errors
    /// A sentence: the server can not be asked, or what it has is no Lease of ours.
    pub async fn get(&self, api: &ApiServer) -> Result<Option<Lease>, String> {
        let answer = api.call(Method::GET, &self.path(), None).await?;
        match answer.status {
            200 => Lease::read(answer.body).map(Some).map_err(|why| format!("the Lease {self} {why}")),
            404 => Ok(None),
            _ => Err(self.refused("read", &answer)),
        }
    }

    /// Creates it for this node. `false` when it was there first.
    ///
    /// # Errors
    /// A sentence.
    pub async fn create(&self, api: &ApiServer, own: &Own) -> Result<bool, String> {
        let object = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "annotations": { CLUSTER: own.cluster, MEMBERS: own.address },
            },
            "spec": { "holderIdentity": own.address },
        });
        let answer = api.call(Method::POST, &self.collection(), Some(&object)).await?;
        match answer.status {
            200..=299 => Ok(true),
            409 => Ok(false),
            _ => Err(self.refused("created", &answer)),
        }
    }

    /// Changes it, if nobody has meanwhile: then `false`.
    ///
    /// # Errors
    /// A sentence.
    pub async fn replace(&self, api: &ApiServer, lease: &Lease) -> Result<bool, String> {
        let answer = api.call(Method::PUT, &self.path(), Some(&lease.object())).await?;
        match answer.status {
            200..=299 => Ok(true),
            // Changed, or deleted.
            404 | 409 => Ok(false),
            _ => Err(self.refused("changed", &answer)),
        }
    }

    fn refused(&self, what: &str, answer: &Answer) -> String {
        let hint = match answer.status {
            401 | 403 => "; the pod's service account needs a Role with get, create and update on leases",
            _ => "",
        };
        format!("the Lease {self} can not be {what}: {}{hint}", answer.why())
    }
}

/// What stands in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// Who has created it.
    pub holder: String,
    /// The cluster's uuid.
    pub cluster: String,
    /// Who is, or wants to be, a member.
    pub members: Vec<String>,
    /// The object as it was read, with everything that others have written into it.
    object: Value,
}

impl Lease {
    fn read(object: Value) -> Result<Lease, String> {
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        // RFC 6901 writes a slash in a name as ~1.
        let annotation = |name: &str| text(&format!("/metadata/annotations/{}", name.replace('/', "~1")));
        let (holder, cluster) = (text("/spec/holderIdentity"), annotation(CLUSTER));
        if holder.is_empty() || cluster.is_empty() {
            return Err(format!(
                "is somebody else's: it has no holder, or no annotation {CLUSTER}; name another Lease"
            ));
        }
        let members = annotation(MEMBERS);
        let members = members.split(',').filter(|address| !address.is_empty()).map(str::to_owned).collect();
        Ok(Lease { holder, cluster, members, object })
    }

    fn object(&self) -> Value {
        let mut object = self.object.clone();
        object["metadata"]["annotations"][CLUSTER] = json!(self.cluster);
        object["metadata"]["annotations"][MEMBERS] = json!(self.members.join(","));
        object["spec"]["holderIdentity"] = json!(self.holder);
        object
    }

    /// Everybody in it but `own`.
    fn others(&self, own: &str) -> Vec<String> {
        let named = std::iter::once(&self.holder).chain(&self.members);
        let mut seen = BTreeSet::from([own]);
        named.filter(|address| seen.insert(address)).cloned().collect()
    }

    /// The same with `own` among the members.
    fn with(&self, own: &str) -> Lease {
        let mut members = self.members.clone();
        members.push(own.to_owned());
        let n_over = members.len().saturating_sub(MEMBERS_MAX);
        members.drain(..n_over);
        Lease { members, ..self.clone() }
    }
}

/// The node that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Where others reach it.
    pub address: String,
    /// The uuid of its cluster.
    pub cluster: String,
    /// It is its cluster's only member.
    pub is_alone: bool,
}

/// What a node does about the Lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nobody has created it: it does.
    Create,
    /// It belongs to the cluster that is named there, and is named as well.
    Stay,
    /// It writes this in its place, and looks again.
    Replace(Lease),
    /// It joins the cluster that is named there, by the first of these that is a member of it.
    Join(Vec<String>),
    /// It can do nothing. Why, as a sentence.
    Foreign(String),
}

/// Decides. Whoever joins is in the list before; so a holder that has lost its store, finds its own name with another
/// cluster and nobody beside it knows that nobody has ever joined, and may begin anew. Where there is anybody, the
/// cluster may live on without it: it looks for them, for ever if need be.
#[must_use]
pub fn judge(lease: Option<&Lease>, own: &Own) -> Verdict {
    let Some(lease) = lease else { return Verdict::Create };
    let is_named = lease.members.contains(&own.address);
    if lease.cluster == own.cluster {
        return if is_named { Verdict::Stay } else { Verdict::Replace(lease.with(&own.address)) };
    }
    if !own.is_alone {
        return Verdict::Foreign(format!(
            "it names the cluster {}, and this node is one of several of the cluster {}: two clusters never mix. \
             Delete the Lease if that cluster is gone, or give this one a Lease of its own",
            lease.cluster, own.cluster
        ));
    }
    let others = lease.others(&own.address);
    if others.is_empty() {
        return Verdict::Replace(Lease { cluster: own.cluster.clone(), ..lease.clone() });
    }
    if !is_named {
        return Verdict::Replace(lease.with(&own.address));
    }
    Verdict::Join(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: &str = "11111111-1111-1111-1111-111111111111";
    const D: &str = "22222222-2222-2222-2222-222222222222";

    fn lease(holder: &str, members: &str) -> Lease {
        Lease::read(json!({
            "metadata": { "resourceVersion": "7", "annotations": { CLUSTER: C, MEMBERS: members, "team": "mail" } },
            "spec": { "holderIdentity": holder, "leaseTransitions": 0 },
        }))
        .unwrap()
    }

    fn own(address: &str, cluster: &str, is_alone: bool) -> Own {
        Own { address: address.to_owned(), cluster: cluster.to_owned(), is_alone }
    }

    #[test]
    fn who_is_first_stays_and_the_others_write_their_names_before_they_join() {
        assert_eq!(judge(None, &own("a", D, true)), Verdict::Create);
        assert_eq!(judge(Some(&lease("a", "a")), &own("a", C, true)), Verdict::Stay);
        let Verdict::Replace(named) = judge(Some(&lease("a", "a")), &own("b", D, true)) else {
            panic!("b joins")
        };
        assert_eq!(
            (&named.members[..], &named.cluster[..], &named.holder[..]),
            (&["a".into(), "b".into()][..], C, "a")
        );
        assert_eq!(judge(Some(&named), &own("b", D, true)), Verdict::Join(vec!["a".to_owned()]));
        assert_eq!(judge(Some(&named), &own("b", C, false)), Verdict::Stay);
        // A member that has moved says so.
        let Verdict::Replace(moved) = judge(Some(&named), &own("b2", C, false)) else {
            panic!("b has moved")
        };
        assert_eq!(moved.members, ["a", "b", "b2"]);
    }

    #[test]
    fn a_holder_without_its_store_begins_anew_only_when_nobody_has_ever_joined() {
        let Verdict::Replace(anew) = judge(Some(&lease("a", "a")), &own("a", D, true)) else {
            panic!("a stays alone")
        };
        assert_eq!((&anew.cluster[..], &anew.members[..]), (D, &["a".to_owned()][..]));
        let joined = lease("a", "a,b,c");
        assert_eq!(judge(Some(&joined), &own("a", D, true)), Verdict::Join(vec!["b".into(), "c".into()]));
    }

    #[test]
    fn a_member_of_several_never_joins_another_cluster() {
        assert!(
            matches!(judge(Some(&lease("a", "a")), &own("b", D, false)), Verdict::Foreign(why) if why.contains(D))
        );
    }

    #[test]
    fn what_others_have_written_stays_and_a_strange_lease_is_left_alone() {
        let object = lease("a", "a").with("b").object();
        assert_eq!(object["metadata"]["annotations"]["team"], "mail");
        assert_eq!(object["metadata"]["resourceVersion"], "7");
        assert_eq!(object["metadata"]["annotations"][MEMBERS], "a,b");
        let strange = json!({ "metadata": {}, "spec": { "holderIdentity": "controller" } });
        assert!(Lease::read(strange).unwrap_err().contains("somebody else's"));
        let mut long = lease("a", "a");
        (0..2 * MEMBERS_MAX).for_each(|n| long = long.with(&format!("n{n}")));
        assert_eq!((long.members.len(), long.members.last().unwrap().as_str()), (MEMBERS_MAX, "n127"));
    }

    #[test]
    fn names_are_checked_before_they_become_a_path() {
        let name: LeaseName = "mail/bannkreis".parse().unwrap();
        assert_eq!(name.path(), "/apis/coordination.k8s.io/v1/namespaces/mail/leases/bannkreis");
        for bad in ["bannkreis", "mail/", "/x", "mail/a/b", "mail/A", "mail/a?b", "mail/a b"] {
            assert!(bad.parse::<LeaseName>().is_err(), "{bad}");
        }
    }
}
