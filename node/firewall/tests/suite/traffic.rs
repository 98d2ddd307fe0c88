//! Traffic that deserves a look of its own: between local programs, and of established connections.
//! Only a kernel has this.

use crate::in_kernel::{Sent, sender};
use crate::lab::{HOST_V4, Lab, may_run};
use crate::probe::{Probe, block, chain, ip};
use bannkreis_core::jail::Ports;
use bannkreis_core::time::{HOUR_MS, Until};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
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
        crate::in_kernel::connect(&socket, listener.local_addr().unwrap()).unwrap();
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
