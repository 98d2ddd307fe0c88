//! Messages that are sent to a node: over every transport, from whom it takes them, and what they become.

use super::*;
use crate::source::Trust;
use bannkreis_filter::syslog_path::SyslogPath;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

/// Ports that are free now. Whoever takes one meanwhile makes a test fail, which nothing on this machine does.
fn plan(directory: &Path) -> SyslogPlan {
    let udp = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let tcp = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    SyslogPlan {
        udp: Some(SocketAddr::new([0, 0, 0, 0].into(), udp.port())),
        tcp: Some(tcp),
        from: vec!["192.0.2.0/24".parse().expect("a network")],
        save_to: Some(directory.join("saved.log")),
    }
}

/// Connects as soon as somebody listens there.
fn connect(tcp: SocketAddr) -> TcpStream {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match TcpStream::connect(tcp) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "nobody listens: {error}"),
        }
        std::thread::yield_now();
    }
}

fn log(path: &str, trust: Trust) -> LogSpec {
    let path = SyslogPath::parse(path).expect("a path");
    LogSpec { kind: LogKind::Syslog(path, trust), reader: READER.to_owned() }
}

#[test]
fn messages_come_by_datagrams_and_streams_and_go_to_the_logs_that_select_them() {
    let mut test = Logs::new();
    let plan = plan(test.directory.path());
    let paths =
        ["syslog://?facility=mail&program=kerio*", "syslog://?host=127.0.0.1", "syslog://?program=none"];
    let logs = [Trust::Full, Trust::Low].into_iter().flat_map(|trust| paths.map(|path| log(path, trust)));
    test.start_all(logs.collect(), plan.clone(), Beginnings::default());
    let tcp = plan.tcp.expect("set");
    let udp = SocketAddr::new([127, 0, 0, 1].into(), plan.udp.expect("set").port());

    let sender = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let mut stream = connect(tcp);
    sender.send_to(b"<22>Nov 20 10:00:01 mx kerio-connect[811]: a", udp).expect("sent");
    stream.write_all(b"<22>Nov 20 10:00:02 mx kerio: b\n<38>Nov 20 10:00:03 mx sshd: c\n").expect("sent");
    stream.write_all(b"42 <22>1 2026-11-22T05:30:08Z h kerio 7").expect("sent");
    let seen = test.collected.wait("the first ones", |seen| seen.lines.len() >= 5);
    // Each transport keeps its order; between them there is none.
    let mut first: Vec<String> = texts(&seen.lines);
    drop(seen);
    first.sort();
    let expected = [
        "Nov 20 10:00:01 mx kerio-connect[811]: a",
        "Nov 20 10:00:01 mx kerio-connect[811]: a",
        "Nov 20 10:00:02 mx kerio: b",
        "Nov 20 10:00:02 mx kerio: b",
        "Nov 20 10:00:03 mx sshd: c",
    ];
    assert_eq!(first, expected);
    // The rest of one that was cut, and one whose end is the stream's.
    stream.write_all(b" - - x<22>Nov 20 10:00:04 mx kerio: the last").expect("sent");
    drop(stream);
    let seen = test.collected.wait("the last", |seen| seen.lines.len() >= 9);
    let last = texts(&seen.lines[5..]);
    assert!(last.iter().any(|line| line.starts_with("2026-11-22T05:30:08Z h kerio[7]: x")), "{last:?}");
    assert!(last.iter().any(|line| line == "Nov 20 10:00:04 mx kerio: the last"), "{last:?}");
    // Datagrams of other hosts are sources of their own.
    assert_eq!((seen.open.len(), seen.low_trust.len()), (6, 3));
    assert!(seen.lines.iter().all(|line| !seen.low_trust.contains(&line.source)));
    drop(seen);
    test.handle.take().expect("started").stop();
    let saved = fs::read_to_string(test.path("saved.log")).expect("saved");
    assert_eq!(saved.lines().count(), 5, "{saved}");
}

#[test]
fn a_port_that_is_taken_is_tried_again_and_the_log_says_so() {
    let mut test = Logs::new();
    let mut plan = plan(test.directory.path());
    plan.udp = None;
    let tcp = plan.tcp.expect("set");
    let other = TcpListener::bind(tcp).expect("free");
    test.start_all(vec![log("syslog://", Trust::Full)], plan, Beginnings::default());
    drop(test.collected.wait("it is open", |seen| !seen.open.is_empty()));
    let error = || test.handle().status().into_iter().find_map(|status| status.error);
    let deadline = Instant::now() + DEADLINE;
    let error = loop {
        match error() {
            Some(error) => break error,
            None => assert!(Instant::now() < deadline, "it says nothing"),
        }
        std::thread::yield_now();
    };
    assert!(error.contains(&format!("syslog.tcp = \"{tcp}\"")) && error.contains("in use"), "{error}");
    drop(other);
    test.clock.boottime_ms.fetch_add(10_000, Ordering::SeqCst);
    connect(tcp);
}
