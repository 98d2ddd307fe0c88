//! From which addresses the operator works: what sshd has put into the environment of their session.
//!
//! sudo takes it out of what it starts, so the environments of the processes above are asked too. Whoever forges it
//! takes away their own guard rail and nothing else.

use std::fs;
use std::net::IpAddr;

/// Where sshd says from where somebody came: `client port server port`, or without the server (ssh(1)).
const VARIABLES: [&str; 2] = ["SSH_CONNECTION", "SSH_CLIENT"];
/// So many processes above this one are asked.
const ANCESTORS_MAX: usize = 32;
/// So much of a process's environment is read, in bytes.
const ENVIRONMENT_BYTES_MAX: usize = 1 << 20;

/// The addresses, each once; none on the console.
#[must_use]
pub fn addresses() -> Vec<String> {
    let own = VARIABLES.into_iter().filter_map(|name| std::env::var(name).ok());
    let mut found: Vec<IpAddr> = own.filter_map(|value| client_in(&value)).collect();
    if found.is_empty() {
        found = above();
    }
    found.sort_unstable();
    found.dedup();
    found.iter().map(ToString::to_string).collect()
}

/// What the nearest process above says that says anything.
fn above() -> Vec<IpAddr> {
    let mut pid = parent_of("self");
    for _ in 0..ANCESTORS_MAX {
        let Some(asked) = pid.filter(|pid| *pid > 1) else { break };
        // Another user's environment can not be read, unless by root.
        let environment = fs::read(format!("/proc/{asked}/environ")).unwrap_or_default();
        let found = clients_in(&environment[..environment.len().min(ENVIRONMENT_BYTES_MAX)]);
        if !found.is_empty() {
            return found;
        }
        pid = parent_of(&asked.to_string());
    }
    Vec::new()
}

/// In an environment as proc_pid_environ(5) shows it.
fn clients_in(environment: &[u8]) -> Vec<IpAddr> {
    let named = |entry: &[u8]| {
        let (name, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
        VARIABLES.contains(&name).then(|| client_in(value))?
    };
    environment.split(|byte| *byte == 0).filter_map(named).collect()
}

/// The first word; a zone behind an address (`%eth0`) means nothing on another host.
fn client_in(value: &str) -> Option<IpAddr> {
    value.split_ascii_whitespace().next()?.split('%').next()?.parse().ok()
}

/// By proc_pid_stat(5): the parent stands after the state, and that after the name in parentheses, which may hold
/// anything.
fn parent_of(pid: &str) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{client_in, clients_in, parent_of};

    #[test]
    fn the_client_of_a_session_is_the_first_word() {
        let address = |text: &str| Some(text.parse().unwrap());
        assert_eq!(client_in("192.0.2.7 50022 10.0.0.1 22"), address("192.0.2.7"));
        assert_eq!(client_in("2001:db8::7 50022 22"), address("2001:db8::7"));
        assert_eq!(client_in("fe80::1%eth0 50022 22"), address("fe80::1"));
        assert_eq!((client_in(""), client_in("UNKNOWN 65535 UNKNOWN 65535")), (None, None));
    }

    #[test]
    fn the_environments_of_the_processes_above_are_read() {
        let environment = b"PATH=/bin\0SSH_CLIENT=192.0.2.7 1 22\0NOT_SSH_CLIENT=192.0.2.8 1 22\0\xff=\0\0";
        assert_eq!(clients_in(environment), ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(parent_of("self"), Some(std::os::unix::process::parent_id()));
    }
}
