//! What the service manager is told, by the protocol of sd_notify(3): datagrams of `NAME=value` lines to the unix
//! socket in `NOTIFY_SOCKET`, which is a file or, with a leading `@`, abstract (unix(7)).
//!
//! Not for when there is something to tell: that is `readiness.rs`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// Names the manager's socket.
pub const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";
/// How often the manager wants to hear that all is well, in microseconds; for which process.
const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";
const WATCHDOG_PID_VARIABLE: &str = "WATCHDOG_PID";
/// A status is cut to so many bytes: it stands on one line of `systemctl status`.
const STATUS_BYTES_MAX: usize = 400;

/// The way to the service manager.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    supervisor: SocketAddr,
    /// It wants to hear from this process at least so often.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// The one that the environment names. `None` without one: then nobody waits for a word.
    ///
    /// # Errors
    /// When the name is none, or there is no room for a socket.
    pub fn from_environment(environment: &dyn Fn(&str) -> Option<OsString>) -> io::Result<Option<Notifier>> {
        let Some(name) = environment(SOCKET_VARIABLE).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let supervisor = address(&name)?;
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold this daemon up.
        socket.set_nonblocking(true)?;
        Ok(Some(Notifier { socket, supervisor, watchdog: watchdog(environment, std::process::id()) }))
    }

    /// How often it wants a word: a half of what it waits, as sd_watchdog_enabled(3) recommends.
    #[must_use]
    pub fn ping_interval(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 2)
    }

    /// The daemon has come up: every kept ban is in the kernel, and the sources are open.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// How it is, in one line.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={}", one_line(status)));
    }

    /// All parts answer.
    pub fn ping(&self) {
        self.tell("WATCHDOG=1");
    }

    /// It goes down in order.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// A word that is lost is no reason to stop blocking: the manager decides what its silence means.
    fn tell(&self, lines: &str) {
        if let Err(error) = self.socket.send_to_addr(lines.as_bytes(), &self.supervisor) {
            tracing::debug!("{SOCKET_VARIABLE}: the service manager is not told {lines:?}: {error}");
        }
    }
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        [b'/', ..] => SocketAddr::from_pathname(Path::new(name)),
        _ => {
            let why = format!("{name:?} is neither a path nor an abstract name with @");
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }
}

/// `None` when no word is waited for, or another process's.
fn watchdog(environment: &dyn Fn(&str) -> Option<OsString>, own_pid: u32) -> Option<Duration> {
    let number = |name: &str| environment(name)?.into_string().ok()?.parse::<u64>().ok();
    let is_ours = match environment(WATCHDOG_PID_VARIABLE) {
        None => true,
        Some(_) => number(WATCHDOG_PID_VARIABLE) == Some(u64::from(own_pid)),
    };
    number(WATCHDOG_VARIABLE).filter(|usec| *usec > 0 && is_ours).map(Duration::from_micros)
}

/// A line break would begin another word of the protocol.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() > STATUS_BYTES_MAX {
        line.truncate(line.floor_char_boundary(STATUS_BYTES_MAX));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: Vec<(&'static str, OsString)>) -> impl Fn(&str) -> Option<OsString> {
        move |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }

    fn heard(supervisor: &UnixDatagram) -> String {
        supervisor.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut datagram = [0; 1_024];
        let n_bytes = supervisor.recv(&mut datagram).unwrap();
        String::from_utf8(datagram[..n_bytes].to_vec()).unwrap()
    }

    #[test]
    fn a_supervisor_hears_it_by_a_file_and_by_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let by_file = (UnixDatagram::bind(&path).unwrap(), path.clone().into_os_string());
        let name = format!("bannkreis-notify-{}", std::process::id());
        let bound = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (supervisor, socket) in [by_file, (bound, format!("@{name}").into())] {
            let notifier =
                Notifier::from_environment(&environment(vec![(SOCKET_VARIABLE, socket)])).unwrap().unwrap();
            assert_eq!(notifier.ping_interval(), None);
            notifier.ready("one of 3 nodes");
            assert_eq!(heard(&supervisor), "READY=1\nSTATUS=one of 3 nodes");
            notifier.status("a line\nREADY=0\r");
            assert_eq!(heard(&supervisor), "STATUS=a line READY=0 ");
            notifier.status(&"ü".repeat(STATUS_BYTES_MAX));
            assert!(heard(&supervisor).ends_with("ü…"));
            notifier.ping();
            assert_eq!(heard(&supervisor), "WATCHDOG=1");
            notifier.stopping();
            assert_eq!(heard(&supervisor), "STOPPING=1");
        }
    }

    #[test]
    fn nobody_to_tell_is_no_error_and_a_strange_name_is() {
        assert!(Notifier::from_environment(&environment(Vec::new())).unwrap().is_none());
        assert!(
            Notifier::from_environment(&environment(vec![(SOCKET_VARIABLE, "".into())])).unwrap().is_none()
        );
        let strange = environment(vec![(SOCKET_VARIABLE, "vsock:2:1234".into())]);
        assert!(Notifier::from_environment(&strange).unwrap_err().to_string().contains("vsock:2:1234"));
        // Nobody listens there: nothing happens.
        let gone = environment(vec![(SOCKET_VARIABLE, "/nowhere/notify".into())]);
        Notifier::from_environment(&gone).unwrap().unwrap().ready("up");
    }

    #[test]
    fn the_watchdog_is_ours_or_nobodys() {
        let of = |usec: &str, pid: Option<&str>| {
            let mut pairs = vec![(WATCHDOG_VARIABLE, OsString::from(usec))];
            pairs.extend(pid.map(|pid| (WATCHDOG_PID_VARIABLE, OsString::from(pid))));
            watchdog(&environment(pairs), 77)
        };
        assert_eq!(of("3000000", None), Some(Duration::from_secs(3)));
        assert_eq!(of("3000000", Some("77")), Some(Duration::from_secs(3)));
        assert_eq!(of("3000000", Some("78")), None);
        assert_eq!(of("0", None), None);
        assert_eq!(of("soon", None), None);
    }
}
