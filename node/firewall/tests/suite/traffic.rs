//! Traffic that deserves a look of its own: between local programs, of established connections, and to a container.
//! Only a kernel has this.

use crate::in_kernel::{Sent, connect, connected_within, sender};
use crate::lab::{HOST_V4, Lab, has_program, may_run};
use crate::probe::{Probe, block, chain, ip};
use bannkreis_core::jail::Ports;
use bannkreis_core::time::{HOUR_MS, Until};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

#[test]
fn traffic_over_loopback_is_never_dropped() {
    if !may_run("traffic::traffic_over_loopback_is_never_dropped") {
        return;
    }
    let mut probe = Sent::new(Sent::nftables);
    let until = Until::at(probe.now().plus_ms(HOUR_MS));
    let whole = chain("sshd", Ports::whole_host());
    let now = probe.now();
    probe
        .firewall()
        .apply(now, &[block("127.0.0.0/8", &whole, until), block("192.0.2.1", &whole, until)])
        .unwrap();
    for address in [HOST_V4.into(), ip("127.0.0.1")] {
        let [receiver, sender] =
            [0, 0].map(|port| probe.lab.host.enter(|| UdpSocket::bind((address, port)).unwrap()));
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        sender.send_to(b"?", receiver.local_addr().unwrap()).unwrap();
        assert_eq!(receiver.recv(&mut [0; 8]).expect("it passes"), 1);
    }
}

#[test]
fn an_established_connection_is_cut() {
    if !may_run("traffic::an_established_connection_is_cut") {
        return;
    }
    let mut probe = Sent::new(Sent::nftables);
    let source = ip("198.51.100.1");
    let listener = probe.lab.host.enter(|| TcpListener::bind((Lab::host_for(source), 22)).unwrap());
    let (mut here, mut there) = probe.lab.peer.enter(|| {
        let socket = sender(source, libc::SOCK_STREAM).unwrap();
        connect(&socket, listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, TcpStream::from(socket))
    });
    there.write_all(b"before").unwrap();
    here.read_exact(&mut [0; 6]).unwrap();
    let until = Until::at(probe.now().plus_ms(HOUR_MS));
    let now = probe.now();
    probe.firewall().apply(now, &[block("198.51.100.1", &chain("sshd", Ports::tcp(&[22])), until)]).unwrap();
    there.write_all(b"after").unwrap();
    // Had it passed, it would be here before this one.
    assert!(probe.udp_passes(ip("198.51.100.2"), 53));
    here.set_nonblocking(true).unwrap();
    assert_eq!(here.read(&mut [0; 8]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
}

#[test]
fn traffic_that_goes_on_to_a_container_is_dropped() {
    let test = "traffic::traffic_that_goes_on_to_a_container_is_dropped";
    if !may_run(test) || !has_program(test, "nft") {
        return;
    }
    let mut probe = Sent::new(Sent::nftables);
    let container = probe.lab.container(8_080);
    let _listener = container.enter(|| TcpListener::bind(("0.0.0.0", 80)).unwrap());
    let reaches = |probe: &Sent, source: &str, time: Duration| {
        let to = SocketAddr::from((HOST_V4, 8_080));
        let connection = probe.lab.peer.enter(|| {
            let socket = sender(ip(source), libc::SOCK_STREAM).unwrap();
            connect(&socket, to).unwrap();
            TcpStream::from(socket)
        });
        connected_within(&connection, time)
    };
    // The first packets to a new wire may be lost and are sent again; later ones need less than the shorter time.
    let (at_first, later) = (Duration::from_secs(20), Duration::from_millis(500));
    let (whole, port, other) = ("198.51.100.1", "198.51.100.2", "198.51.100.3");
    for source in [whole, port, other] {
        assert!(reaches(&probe, source, at_first), "{source} reaches the container");
    }
    let until = Until::at(probe.now().plus_ms(HOUR_MS));
    let now = probe.now();
    let deltas = [
        block(whole, &chain("sshd", Ports::whole_host()), until),
        // The port that the attacker speaks to, not the container's.
        block(port, &chain("web", Ports::tcp(&[8_080])), until),
        block(other, &chain("mail", Ports::tcp(&[80])), until),
    ];
    probe.firewall().apply(now, &deltas).unwrap();
    assert!(!reaches(&probe, whole, later) && !reaches(&probe, port, later));
    assert!(reaches(&probe, other, at_first));
}
