//! What the operator's tool says, in the few fields that the tests ask about.
//!
//! It reads `--output json` and no tables: those are for people, and may change.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failed::{Context, Failed, Result, expect};
use crate::lab::programs::program;

/// The tool's own waiting ends after 5 s; this is for when that is broken.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// One run of the operator's tool.
pub struct Told {
    /// What it was asked.
    pub question: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its answer.
    pub stdout: String,
    /// Its complaints.
    pub stderr: String,
}

impl Told {
    /// Asks the daemon behind this socket.
    ///
    /// # Errors
    /// When the tool cannot be run or does not end.
    pub fn ask(socket: &Path, arguments: &[&str]) -> Result<Told> {
        Told::ask_with(socket, arguments, &[])
    }

    /// The same with more environment of the tool.
    ///
    /// # Errors
    /// When the tool cannot be run or does not end.
    pub fn ask_with(socket: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Told> {
        let mut command = Command::new(program("bannkreis")?);
        command.envs(environment.iter().copied());
        Told::run(command, socket, arguments)
    }

    /// The same as somebody else of this host, who is in the group `gid` and in no other. `program` is a copy of the
    /// tool that they may run.
    ///
    /// # Errors
    /// When the tool cannot be run or does not end.
    pub fn ask_as(uid: u32, gid: u32, program: &Path, socket: &Path, arguments: &[&str]) -> Result<Told> {
        let mut command = Command::new(program);
        // Of root's further groups none is left: the standard library gives them up with the user.
        command.uid(uid).gid(gid).current_dir("/");
        Told::run(command, socket, arguments)
    }

    fn run(mut command: Command, socket: &Path, arguments: &[&str]) -> Result<Told> {
        let question = arguments.join(" ");
        let mut child = command
            .arg("--socket")
            .arg(socket)
            .args(arguments)
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| "cannot run bannkreis".to_owned())?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // Both are read while it runs: a pipe holds 64 KiB and then the writer waits.
        let stdout = std::thread::spawn(move || read_all(stdout));
        let stderr = std::thread::spawn(move || read_all(stderr));
        let began = Instant::now();
        let status = loop {
            if let Some(status) =
                child.try_wait().context(|| format!("cannot wait for bannkreis {question}"))?
            {
                break status;
            }
            if began.elapsed() > ANSWER_MAX {
                // Already ended: then the next lines find that out.
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failed(format!("bannkreis {question}: no end after {} s", ANSWER_MAX.as_secs())));
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let stdout = stdout.join().unwrap_or_default();
        let stderr = stderr.join().unwrap_or_default();
        Ok(Told { question, status, stdout, stderr })
    }

    /// Itself, if it ended well.
    ///
    /// # Errors
    /// What it said, if it did not.
    pub fn expect_success(self) -> Result<Told> {
        expect(self.status.success(), || {
            format!(
                "bannkreis {} ended with {}: {} {}",
                self.question,
                self.status,
                self.stderr.trim(),
                self.stdout.trim()
            )
        })?;
        Ok(self)
    }

    /// The answer as JSON, if it ended well.
    ///
    /// # Errors
    /// What it said otherwise, or what is wrong with the text.
    pub fn json(&self) -> Result<Value> {
        expect(self.status.success(), || {
            format!("bannkreis {} ended with {}: {}", self.question, self.status, self.stderr.trim())
        })?;
        self.json_in_any_case()
    }

    /// A text in the answer, by its JSON pointer (RFC 6901).
    ///
    /// # Errors
    /// When the answer is none, or has no such text.
    pub fn text_at(&self, pointer: &str) -> Result<String> {
        let answer = self.json()?;
        let text = answer.pointer(pointer).and_then(Value::as_str);
        text.map(str::to_owned)
            .ok_or_else(|| Failed(format!("bannkreis {}: nothing at {pointer}", self.question)))
    }

    /// A number in the answer, by its JSON pointer.
    ///
    /// # Errors
    /// When the answer is none, or has no such number.
    pub fn number_at(&self, pointer: &str) -> Result<u64> {
        let answer = self.json()?;
        let number = answer.pointer(pointer).and_then(Value::as_u64);
        number.ok_or_else(|| Failed(format!("bannkreis {}: nothing at {pointer}", self.question)))
    }

    /// Whether a `ban` or `unban` is known to be done: committed, and not only asked for.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.nodes_that_do_not_enforce().is_ok()
    }

    /// From the answer to `ban` or `unban`, which was done: the nodes that do not enforce it yet.
    ///
    /// # Errors
    /// When it was not done.
    pub fn nodes_that_do_not_enforce(&self) -> Result<Vec<String>> {
        let json = self.json_in_any_case()?;
        let is_done = |result: &Value| result.get("outcome").and_then(Value::as_str) == Some("done");
        expect(list(&json, "results")?.iter().all(is_done), || format!("not everything was done: {json}"))?;
        let nodes = list(&json, "enforcement")?.iter();
        nodes
            .filter(|node| node.get("state").and_then(Value::as_str) != Some("enforced"))
            .map(|node| text(node, "name"))
            .collect()
    }

    /// The answer as JSON, however it ended.
    fn json_in_any_case(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout)
            .context(|| format!("bannkreis {} did not answer with JSON: {}", self.question, self.stdout))
    }
}

/// A member of the cluster, as one node sees it.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Votes.
    pub is_voter: bool,
    /// Was heard of lately.
    pub is_reachable: bool,
}

/// The cluster, as one node sees it.
#[derive(Debug)]
pub struct ClusterStatus {
    /// All members.
    pub nodes: Vec<Member>,
    /// The leader's name.
    pub leader: Option<String>,
}

impl ClusterStatus {
    /// Reads the answer to `cluster status`.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(told: &Told) -> Result<ClusterStatus> {
        let json = told.json()?;
        let members = list(&json, "members")?;
        let nodes = members
            .iter()
            .map(|member| {
                Ok(Member {
                    name: text(member, "name")?,
                    is_voter: text(member, "role")? == "voter",
                    is_reachable: flag(member, "is_reachable") || flag(member, "is_self"),
                })
            })
            .collect::<Result<Vec<Member>>>()?;
        let leader = members.iter().find(|member| flag(member, "is_leader"));
        Ok(ClusterStatus { nodes, leader: leader.map(|member| text(member, "name")).transpose()? })
    }
}

/// A line of `bans`.
#[derive(Clone, Debug)]
pub struct Ban {
    /// Who, as one address where it is one.
    pub subnet: String,
    /// The jail.
    pub jail: String,
    /// Whether it is on the cluster's ban list, and not only this host's block.
    pub is_committed: bool,
    /// When it ends, in ms of cluster time; `None` is never.
    pub until_ms: Option<u64>,
    /// The names of the nodes that asked for it.
    pub origins: Vec<String>,
}

impl Ban {
    /// Reads the answer to `bans`.
    ///
    /// # Errors
    /// When it is none.
    pub fn read_all(told: &Told) -> Result<Vec<Ban>> {
        list(&told.json()?, "bans")?.iter().map(Ban::from_json).collect()
    }

    fn from_json(ban: &Value) -> Result<Ban> {
        let origins = ban.get("origins").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Ok(Ban {
            subnet: without_full_prefix(&text(ban, "subnet")?),
            // An operator's decision for one host belongs to no jail.
            jail: text(ban, "jail").unwrap_or_default(),
            is_committed: text(ban, "kind")? == "ban",
            until_ms: ban.get("until_ms").and_then(Value::as_u64),
            origins: origins.iter().map(|origin| text(origin, "name")).collect::<Result<Vec<String>>>()?,
        })
    }
}

/// Of these bans, the subnets of those that are on the cluster's list.
#[must_use]
pub fn committed(bans: &[Ban]) -> BTreeSet<String> {
    bans.iter().filter(|ban| ban.is_committed).map(|ban| ban.subnet.clone()).collect()
}

/// One ban that `why` explains.
#[derive(Debug)]
pub struct Explained {
    /// The ban or block itself.
    pub ban: Ban,
    /// The node whose log decided.
    pub node: String,
    /// The lines that led to it.
    pub lines: Vec<String>,
}

/// The answer to `why`.
#[derive(Debug)]
pub struct Why {
    /// Everything that holds the address.
    pub bans: Vec<Explained>,
    /// Whether this host's firewall blocks it.
    pub is_blocked_here: bool,
}

impl Why {
    /// Reads the answer to `why`.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(told: &Told) -> Result<Why> {
        let json = told.json()?;
        let bans = list(&json, "bans")?
            .iter()
            .map(|entry| {
                let evidence = entry.get("evidence").unwrap_or(&Value::Null);
                let lines =
                    evidence.get("lines").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                Ok(Explained {
                    ban: Ban::from_json(entry)?,
                    node: evidence.get("node").and_then(Value::as_str).unwrap_or_default().to_owned(),
                    lines: lines.iter().map(|line| text(line, "text")).collect::<Result<Vec<String>>>()?,
                })
            })
            .collect::<Result<Vec<Explained>>>()?;
        Ok(Why { bans, is_blocked_here: flag(&json, "is_blocked_here") })
    }
}

/// An IPv4 /32 and an IPv6 /128 are one address.
fn without_full_prefix(subnet: &str) -> String {
    subnet
        .strip_suffix("/32")
        .filter(|rest| !rest.contains(':'))
        .or(subnet.strip_suffix("/128"))
        .unwrap_or(subnet)
        .to_owned()
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a [Value]> {
    let list = value.get(key).and_then(Value::as_array);
    list.map(Vec::as_slice).ok_or_else(|| Failed(format!("the answer has no list `{key}`: {value}")))
}

fn text(value: &Value, key: &str) -> Result<String> {
    let text = value.get(key).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| Failed(format!("the answer has no text `{key}`: {value}")))
}

fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn read_all(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What could be read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
