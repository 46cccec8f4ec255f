//! The portals of a target: addresses to listen on, and which of them an initiator is told of.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::BindError;

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// The sockets of all portals.
pub(crate) struct Portals {
    listeners: Vec<(SocketAddr, TcpListener)>,
    /// Which one is asked first for its next connection, so that none waits for another for ever.
    turn: AtomicUsize,
}

impl Portals {
    /// Listens on all addresses.
    pub(crate) fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let listen = |&address: &SocketAddr| bind(address).map_err(|source| BindError::Listen { address, source });
        let listeners = addresses.iter().map(listen).collect::<Result<Vec<_>, _>>()?;
        if listeners.is_empty() {
            return Err(BindError::NoPortal);
        }
        Ok(Self { listeners, turn: AtomicUsize::new(0) })
    }

    /// The addresses, with the ports that the system has chosen.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|&(address, _)| address).collect()
    }

    /// The next connection of any portal.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.listeners.len();
        let (before, from_first) = self.listeners.split_at(first);
        poll_fn(|context| {
            let mut accepted = from_first.iter().chain(before).map(|(_, listener)| listener.poll_accept(context));
            accepted.find(Poll::is_ready).unwrap_or(Poll::Pending)
        })
        .await
    }
}

fn bind(address: SocketAddr) -> io::Result<(SocketAddr, TcpListener)> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    // A target that is started again must not wait for the connections of the one before it.
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // Both wildcard addresses can be portals of one target.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    Ok((listener.local_addr()?, listener))
}

/// The portals that an initiator is told of which has reached the target at `reached`: that one first. A wildcard address tells nobody where to go,
/// and loopback leads others than this machine elsewhere.
pub(crate) fn told_of(portals: &[SocketAddr], reached: SocketAddr) -> Vec<SocketAddr> {
    let is_of_use = |ip: IpAddr| !ip.is_unspecified() && (!ip.is_loopback() || reached.ip().is_loopback());
    let others = portals.iter().copied().filter(|portal| *portal != reached && is_of_use(portal.ip()));
    std::iter::once(reached).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initiators_are_told_of_what_they_can_reach() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().expect("an address")).collect()
        };
        let portals = addresses(&["192.0.2.1:3260", "[2001:db8::1]:3260", "127.0.0.1:3260", "0.0.0.0:3270"]);
        let told = |reached: &str| told_of(&portals, reached.parse().expect("an address"));
        assert_eq!(told("[2001:db8::1]:3260"), addresses(&["[2001:db8::1]:3260", "192.0.2.1:3260"]));
        assert_eq!(told("127.0.0.1:3260"), addresses(&["127.0.0.1:3260", "192.0.2.1:3260", "[2001:db8::1]:3260"]));
        // Through the wildcard.
        assert_eq!(told("192.0.2.9:3270"), addresses(&["192.0.2.9:3270", "192.0.2.1:3260", "[2001:db8::1]:3260"]));
    }
}
