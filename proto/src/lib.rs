//! What bannkreis writes to the wire and to disk.
//!
//! Five files in `proto/bannkreis/v1` say what that is: `ban.proto` (everything about bans that is
//! replicated or stored), `history.proto` (what a node keeps of them for people), `raft.proto` (the
//! replicated log between nodes), `peer.proto` (what nodes tell each other beside it, and keep for
//! themselves) and `control.proto` (the operator's side). The module [`v1`] is generated from them, and
//! [`convert`] turns what has a meaning in `bannkreis-core` into the types of that crate and back.
//!
//! Not here: what any of it means (`bannkreis-core`), who sends it (`node/raft`, `node::wire`,
//! `node::control`, the CLI), how it lies in files (`node/raft`).

pub mod convert;

/// The generated types and services of the package `bannkreis.v1`.
///
/// What a field means, its unit and its bounds stand as comments in the `.proto` files, which become
/// the documentation here.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::wildcard_imports,
    clippy::semicolon_if_nothing_returned,
    clippy::cloned_instead_of_copied,
    clippy::explicit_iter_loop,
    clippy::needless_pass_by_value,
    clippy::redundant_closure_for_method_calls,
    rustdoc::all,
    reason = "generated code: its style is that of prost and tonic, not ours"
)]
pub mod v1 {
    tonic::include_proto!("bannkreis.v1");

    /// All `.proto` files of the package as one encoded `google.protobuf.FileDescriptorSet`, for the
    /// gRPC reflection service.
    pub const DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("descriptors");
}
