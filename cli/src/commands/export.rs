//! `export`: the cluster's bans as a list for other programs, or for `import`.
//!
//! Written while it arrives: a list of a million bans is never held as a whole.

use crate::args::ExportArgs;
use crate::client::{self, Client};
use crate::failure::{Exit, Failure};
use bannkreis_proto::v1::{BanInfo, BanKind, ListAllowedRequest, ListBansRequest};
use serde_json::json;
use std::io::{self, ErrorKind, Write};

/// Asks for the list, and writes it to standard output.
///
/// # Errors
/// When there is no answer, it breaks off, or can not be written.
pub async fn run(client: &mut Client, args: &ExportArgs) -> Result<Exit, Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match write_all(client, args, &mut out).await {
        // Whoever reads has seen enough.
        Err(Broken::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(Broken::Write(error)) => {
            Err(Failure::new(Exit::Refused, format!("the list can not be written: {error}")))
        }
        Err(Broken::Asked(failure)) => Err(failure),
        Ok(()) => Ok(Exit::Done),
    }
}

enum Broken {
    Write(io::Error),
    Asked(Failure),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Write(error)
    }
}

impl From<tonic::Status> for Broken {
    fn from(status: tonic::Status) -> Broken {
        Broken::Asked(client::read_failure(&status))
    }
}

async fn write_all(client: &mut Client, args: &ExportArgs, out: &mut impl Write) -> Result<(), Broken> {
    let request = ListBansRequest {
        jail: args.jail.as_ref().map(ToString::to_string).unwrap_or_default(),
        ..ListBansRequest::default()
    };
    let mut bans = client::within(client::ANSWER_TIMEOUT, client.list_bans(request)).await?;
    let mut is_first = true;
    if args.json {
        write!(out, "{{\"bans\": [")?;
    }
    // Several jails may ban the same address, one after the other.
    let mut last = String::new();
    while let Some(part) = bans.message().await? {
        for ban in part.bans.iter().filter(|ban| ban.kind() == BanKind::Ban) {
            if args.json {
                let comma = if std::mem::replace(&mut is_first, false) { "" } else { "," };
                write!(out, "{comma}\n  {}", entry(ban))?;
            } else if last != ban.subnet {
                writeln!(out, "{}", ban.subnet)?;
                last.clone_from(&ban.subnet);
            }
        }
    }
    if args.json {
        write!(out, "\n], \"allow\": [")?;
        let mut allowed =
            client::within(client::ANSWER_TIMEOUT, client.list_allowed(ListAllowedRequest {})).await?;
        let mut is_first = true;
        while let Some(part) = allowed.message().await? {
            for entry in &part.entries {
                let comma = if std::mem::replace(&mut is_first, false) { "" } else { "," };
                let json = json!({ "subnet": entry.subnet, "until_ms": entry.until_ms, "note": entry.note });
                write!(out, "{comma}\n  {json}")?;
            }
        }
        writeln!(out, "\n]}}")?;
    }
    out.flush()?;
    Ok(())
}

fn entry(ban: &BanInfo) -> serde_json::Value {
    let origins: Vec<&str> = ban.origins.iter().map(|origin| origin.name.as_str()).collect();
    json!({
        "subnet": ban.subnet,
        "jail": ban.jail,
        "since_ms": ban.since_ms,
        "until_ms": ban.until_ms,
        "count": ban.count,
        "note": format!("from {}", origins.join(", ")),
    })
}
