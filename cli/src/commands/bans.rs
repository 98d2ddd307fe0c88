//! `bans`: everything that is banned or blocked, written while it arrives: a list of a million bans is
//! never held as a whole.

use crate::args::Output;
use crate::client::{self, Client};
use crate::failure::{Exit, Failure};
use crate::json;
use crate::state;
use crate::table::{Cell, Column, Table};
use crate::text::{Style, Tone, counted, length, shown, shown_json};
use bannkreis_core::jail::JailName;
use bannkreis_filter::time_text;
use bannkreis_proto::v1::{BanInfo, BanKind, ListBansRequest, ListBansResponse, NodeState};
use jiff::Timestamp;
use jiff::civil::DateTime;
use std::io::{self, ErrorKind, Write};

/// What to ask for.
///
/// # Errors
/// When `since` is neither a time nor a length of time.
pub fn request(
    jail: Option<&JailName>,
    node: Option<&str>,
    since: Option<&str>,
    style: &Style,
) -> Result<ListBansRequest, Failure> {
    let since_ms = since.map(|text| since_ms(text, style)).transpose()?.unwrap_or(0);
    Ok(ListBansRequest {
        jail: jail.map(ToString::to_string).unwrap_or_default(),
        node: node.unwrap_or_default().to_owned(),
        since_ms,
    })
}

/// A time, in this machine's zone when it names none; `1h` is an hour ago. A date comes first: fail2ban's lengths
/// may be sums, and as one of those `2026-03-01` is 2022 seconds.
pub(crate) fn since_ms(text: &str, style: &Style) -> Result<u64, Failure> {
    // Digits alone would be a date as well (ISO 8601's basic format); fail2ban means seconds.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let dated = if is_number { "" } else { text };
    let instant: Option<Timestamp> = dated.parse().ok().or_else(|| {
        let local: DateTime = dated.parse().ok()?;
        local.to_zoned(style.zone.clone()).ok().map(|zoned| zoned.timestamp())
    });
    if let Some(instant) = instant {
        return Ok(u64::try_from(instant.as_millisecond()).unwrap_or(0));
    }
    let now_ms = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    let ago_ms = if is_like_a_date(text) { None } else { time_text::milliseconds(text).ok() };
    ago_ms.map(|ago_ms| now_ms.saturating_sub(ago_ms)).ok_or_else(|| {
        let message =
            format!("--since: `{}` is no time; write e.g. 1h, 2026-03-01 or 2026-03-01T12:00", shown(text));
        Failure::new(Exit::Usage, message)
    })
}

/// `2026-02-30` is no date, and whoever types it means none of 1994 seconds either.
fn is_like_a_date(text: &str) -> bool {
    let form = "dddd-dd-";
    text.len() > form.len()
        && text.bytes().zip(form.bytes()).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            _ => byte == wanted,
        })
}

/// Asks, and shows the answer while it arrives.
///
/// # Errors
/// When there is no answer, or it breaks off.
pub async fn run(
    client: &mut Client,
    request: ListBansRequest,
    output: Output,
    style: &Style,
) -> Result<Exit, Failure> {
    let mut stream = client::within(client::ANSWER_TIMEOUT, client.list_bans(request))
        .await
        .map_err(|s| client::read_failure(&s))?;
    let mut printer = Printer::new(io::BufWriter::new(io::stdout().lock()), output, style.clone());
    loop {
        let written = match stream.message().await {
            Ok(Some(part)) => printer.part(&part),
            Ok(None) => return unwritten(printer.end()).map(|()| Exit::Done),
            Err(status) => {
                let failure = client::read_failure(&status);
                if output == Output::Table {
                    // What has arrived is shown; the failure is said by the caller.
                    unwritten(printer.flush())?;
                    return Err(failure);
                }
                unwritten(printer.broken(&failure))?;
                return Ok(failure.exit);
            }
        };
        match written {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Exit::Done),
            written => unwritten(written)?,
        }
    }
}

fn unwritten(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Refused, format!("the answer can not be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a list of bans, part by part.
#[derive(Debug)]
pub struct Printer<W> {
    out: W,
    output: Output,
    style: Style,
    state: NodeState,
    table: Table,
    n_bans: u64,
}

impl<W: Write> Printer<W> {
    /// A printer that has written nothing yet.
    pub fn new(out: W, output: Output, style: Style) -> Printer<W> {
        let columns = [
            Column::Fixed("ADDRESS"),
            Column::Wraps("JAIL"),
            Column::Fixed("LEFT"),
            Column::Right("COUNT"),
            Column::Wraps("ORIGIN"),
            Column::Wraps("PORTS"),
        ];
        Printer { out, output, style, state: NodeState::default(), table: Table::new(&columns), n_bans: 0 }
    }

    /// Writes the next part; the first one carries the state.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn part(&mut self, part: &ListBansResponse) -> io::Result<()> {
        if let Some(state) = &part.state {
            self.state = state.clone();
            match self.output {
                Output::Table => self.out.write_all(state::lines(state, &self.style).as_bytes())?,
                Output::Json => {
                    let state = shown_json(&json::state(state).to_string());
                    write!(self.out, "{{\n\"state\": {state},\n\"bans\": [")?;
                }
            }
        }
        match self.output {
            Output::Json => {
                for (n, ban) in (self.n_bans..).zip(&part.bans) {
                    let comma = if n > 0 { "," } else { "" };
                    write!(self.out, "{comma}\n{}", shown_json(&json::ban(ban).to_string()))?;
                }
            }
            Output::Table if !part.bans.is_empty() => {
                for ban in &part.bans {
                    let (cells, note) = row(ban, self.state.now_ms);
                    self.table.row_with_note(cells, note);
                }
                self.out.write_all(self.table.render(&self.style).as_bytes())?;
                self.table = self.table.continued();
            }
            Output::Table => {}
        }
        self.n_bans += part.bans.len() as u64;
        Ok(())
    }

    /// Writes the end of the list.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn end(&mut self) -> io::Result<()> {
        match self.output {
            Output::Table if self.n_bans == 0 => writeln!(self.out, "nobody is banned")?,
            Output::Table => {}
            Output::Json => writeln!(self.out, "\n],\n\"n_bans\": {}\n}}", self.n_bans)?,
        }
        self.flush()
    }

    /// Ends a JSON document in the middle of the list, with the failure in it.
    fn broken(&mut self, failure: &Failure) -> io::Result<()> {
        let error = failure.json();
        if self.state == NodeState::default() {
            writeln!(self.out, "{error}")?;
        } else {
            writeln!(self.out, "\n],\n\"error\": {}\n}}", error["error"])?;
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn row(ban: &BanInfo, now_ms: u64) -> (Vec<Cell>, Cell) {
    let left = ban.until_ms.map_or("for ever".to_owned(), |end| length(end.saturating_sub(now_ms)));
    let origins: Vec<&str> = ban.origins.iter().map(|origin| origin.name.as_str()).collect();
    let count = if ban.count == 0 { String::new() } else { ban.count.to_string() };
    let remarks = remarks(ban);
    let tone = if ban.kind() == BanKind::Ban { Tone::Plain } else { Tone::Warn };
    let cells = vec![
        shown(&ban.subnet).into(),
        if ban.jail.is_empty() { "-".into() } else { shown(&ban.jail).into() },
        left.into(),
        count.into(),
        shown(&origins.join(", ")).into(),
        ports_of(&ban.ports).into(),
    ];
    (cells, Cell::toned(tone, remarks))
}

/// Ports that can be broken between two of them.
pub(crate) fn ports_of(ports: &str) -> String {
    shown(ports).replace(',', ", ")
}

/// What else there is to say about a ban, in one line.
pub(crate) fn remarks(ban: &BanInfo) -> String {
    let kind = match ban.kind() {
        BanKind::Ban | BanKind::Unspecified => "",
        BanKind::Waiting => "blocked here, waits for the cluster",
        BanKind::Local => "blocked here only",
        BanKind::Notice => "blocked here on a peer's notice",
        BanKind::OverrideBlock => "blocked on this host by an operator",
        BanKind::OverrideRelease => "let through on this host by an operator",
    };
    let mut remarks = vec![kind.to_owned()];
    if !ban.damped_by.is_empty() {
        remarks.push(format!("cut short: {} is over its quota of bans", shown(&ban.damped_by)));
    }
    if !ban.not_blocked_here.is_empty() {
        remarks.push(format!("not blocked here: {}", shown(&ban.not_blocked_here)));
    }
    remarks.push(shown(&ban.note));
    remarks.retain(|remark| !remark.is_empty());
    remarks.join("; ")
}

/// `12 bans`, for other commands.
pub(crate) fn n_bans(n: u64) -> String {
    counted(n, "ban", "bans")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    #[test]
    fn a_date_is_a_date_and_a_length_is_a_length() {
        let style = Style { color: false, zone: TimeZone::fixed(jiff::tz::offset(1)) };
        let since = |text: &str| since_ms(text, &style).map_err(|failure| failure.message);
        let midnight_ms = 1_798_761_600_000 - 3_600_000;
        assert_eq!(since("2027-01-01"), Ok(midnight_ms));
        assert_eq!(since("2027-01-01T01:00"), Ok(midnight_ms + 3_600_000));
        assert_eq!(since("2027-01-01T00:00:00Z"), Ok(midnight_ms + 3_600_000));
        for (length, seconds) in [("1h", 3_600), ("1h-30m", 1_800), ("600", 600), ("20270101", 20_270_101)] {
            let ago_ms = u64::try_from(Timestamp::now().as_millisecond()).unwrap() - since(length).unwrap();
            assert!(ago_ms.abs_diff(seconds * 1_000) < 60_000, "{length}: {ago_ms} ms ago");
        }
        for nonsense in ["2027-13-01", "yesterday"] {
            let told = since(nonsense);
            assert!(told.as_ref().is_err_and(|message| message.contains("no time")), "{told:?}");
        }
    }
}
