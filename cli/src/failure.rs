//! Ways in which a command ends without an answer to show, and the exit codes.
//!
//! Every text says what happened, to what, and what to do about it.

use serde_json::{Value, json};
use std::fmt;

/// How the command ended, for the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: refused, or an error.
    Refused,
    /// 2: not understood.
    Usage,
    /// 3: the daemon can not be reached.
    NotReachable,
    /// 4: the outcome is unknown.
    Unknown,
    /// 5: done, but not enforced on every node.
    NotEverywhere,
    /// 255: `regex` could not make its test; fail2ban-regex ends so.
    NotTested,
}

impl Exit {
    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Refused => 1,
            Exit::Usage => 2,
            Exit::NotReachable => 3,
            Exit::Unknown => 4,
            Exit::NotEverywhere => 5,
            Exit::NotTested => 255,
        }
    }

    /// The word for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Refused => "refused",
            Exit::Usage => "usage",
            Exit::NotReachable => "not_reachable",
            Exit::Unknown => "unknown",
            Exit::NotEverywhere => "not_everywhere",
            Exit::NotTested => "not_tested",
        }
    }
}

/// A command that has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How it ends.
    pub exit: Exit,
    /// What happened and what to do, for people.
    pub message: String,
    /// The id of the command whose outcome is unknown.
    pub command_id: Option<u128>,
}

impl Failure {
    /// A failure without an id.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), command_id: None }
    }

    /// As `{"error": …}`.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "error": {
            "kind": self.exit.word(),
            "exit_code": self.exit.code(),
            "message": self.message,
            "command_id": self.command_id.map(|id| format!("{id:032x}")),
        }})
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
