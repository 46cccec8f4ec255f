//! A proxy between host and array that cuts connections when it is told to. It sees bytes only, as the network does.

use std::io::{Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// When a connection is cut next. One cut is for one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// As soon as bytes come from the host; the array does not get them.
    Request,
    /// As soon as bytes come from the array; the host does not get them.
    Answer,
    /// Bytes of the host are held for this long, then it is cut.
    RequestHeld(Duration),
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    cuts: Vec<Cut>,
}

/// The proxy. Its threads end with the connections and with the test.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Proxy {
    pub(crate) fn start(array: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for host in listener.incoming() {
                let (Ok(host), Ok(array)) = (host, TcpStream::connect(array)) else { return };
                lock(&shared).connections += 1;
                relay(host, array, &shared);
            }
        });
        Ok(Self { address, seen })
    }

    /// Cuts the connections that carry bytes next, one after the other.
    pub(crate) fn cut(&self, cuts: &[Cut]) {
        lock(&self.seen).cuts = cuts.iter().rev().copied().collect();
    }

    /// How many connections there were so far.
    pub(crate) fn connections(&self) -> usize {
        lock(&self.seen).connections
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Host,
    Array,
}

fn relay(host: TcpStream, array: TcpStream, seen: &Arc<Mutex<Seen>>) {
    for stream in [&host, &array] {
        // Without it the proxy is slower, and nothing else.
        drop(stream.set_nodelay(true));
    }
    let (Ok(host_too), Ok(array_too)) = (host.try_clone(), array.try_clone()) else { return };
    for (from, to, side) in [(host, array, From::Host), (array_too, host_too, From::Array)] {
        let seen = Arc::clone(seen);
        thread::spawn(move || {
            pass_on(&from, &to, side, &seen);
            // Whoever still reads or writes on either side sees the end; it may have come from there.
            drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
        });
    }
}

fn pass_on(mut from: &TcpStream, mut to: &TcpStream, side: From, seen: &Mutex<Seen>) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 {
            return;
        }
        let cut = {
            let mut seen = lock(seen);
            let applies = |cut: &Cut| {
                matches!((cut, side), (Cut::Answer, From::Array) | (Cut::Request | Cut::RequestHeld(_), From::Host))
            };
            if seen.cuts.last().is_some_and(applies) { seen.cuts.pop() } else { None }
        };
        match cut {
            Some(Cut::RequestHeld(held)) => {
                let until = Instant::now() + held;
                while Instant::now() < until {
                    thread::sleep(until.saturating_duration_since(Instant::now()));
                }
                return;
            }
            Some(Cut::Request | Cut::Answer) => return,
            None => {}
        }
        if to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}
