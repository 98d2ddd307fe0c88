//! The Kubernetes API, as far as this daemon needs it: one Lease (coordination.k8s.io/v1) that says which cluster the
//! pods of a DaemonSet belong to, when all of them start at once.
//!
//! First what is read and written (`lease`), then how (`client`): JSON by HTTP/1.1 over our own TLS, one connection
//! for each call. Not for joining: that is `by_lease`, in the assembly.

mod client;
mod lease;

pub use client::ApiServer;
pub use lease::{Lease, LeaseName, Own, Verdict, judge};
