//! What the network between two hosts of the lab costs by itself: the least that anything can cost which one tells the
//! other. Not for what the nodes add to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use bannkreis_tests::failed::{Context, Result};
use bannkreis_tests::lab::host::Host;

use crate::sample::Sample;

const N_ROUND_TRIPS: usize = 500;

/// How long a byte takes there and back, often.
///
/// # Errors
/// When one of them can not listen or connect.
pub fn between(here: &Host, there: &Host) -> Result<Sample> {
    let address = SocketAddr::new(there.addresses()[0], 0);
    let listener = there.netns().run(|| TcpListener::bind(address).context(|| "cannot listen".to_owned()))?;
    let address = listener.local_addr().context(|| "no address".to_owned())?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut byte = [0];
            let Ok((mut stream, _)) = listener.accept() else { return };
            // Until the other side is gone.
            while stream.set_nodelay(true).is_ok()
                && stream.read_exact(&mut byte).is_ok()
                && stream.write_all(&byte).is_ok()
            {}
        });
        let asked = here.netns().run(|| {
            let ask = || {
                let mut stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                let mut byte = [0];
                let mut times = Vec::new();
                for _ in 0..N_ROUND_TRIPS {
                    let began = Instant::now();
                    stream.write_all(&byte)?;
                    stream.read_exact(&mut byte)?;
                    times.push(began.elapsed());
                }
                Ok::<_, std::io::Error>(times)
            };
            ask().context(|| format!("cannot ask {address}"))
        });
        asked.map(Sample::new)
    })
}
