//! The portals of a target: addresses to listen on, and which of them an initiator is told of.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket};

use crate::{BindError, PortalGroup};

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// RFC 7143 2.2, network portal: an address, and the portal group that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkPortal {
    /// The address; port 0 lets the system choose.
    pub address: SocketAddr,
    /// The portal group.
    pub group: PortalGroup,
}

/// A text is not a portal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an address with a port, such as 192.0.2.1:3260 or [2001:db8::1]:3260; what may follow is a comma and the tag of a portal \
     group, 1 to 65535"
)]
pub struct InvalidPortal(String);

impl From<SocketAddr> for NetworkPortal {
    /// The address in the first group.
    fn from(address: SocketAddr) -> Self {
        Self { address, group: PortalGroup::FIRST }
    }
}

impl FromStr for NetworkPortal {
    type Err = InvalidPortal;

    /// Reads an address, and the tag after a comma, as SendTargets writes them (RFC 7143 13.8). Without a tag it is in the first group.
    fn from_str(text: &str) -> Result<Self, InvalidPortal> {
        let (address, tag) = text.split_once(',').unwrap_or((text, "1"));
        match (address.parse(), tag.parse()) {
            (Ok(address), Ok(tag)) => Ok(Self { address, group: PortalGroup(tag) }),
            _ => Err(InvalidPortal(text.to_owned())),
        }
    }
}

impl fmt::Display for NetworkPortal {
    /// The text that [`from_str`](Self::from_str) reads, with a tag where it is not that of the first group.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        if self.group == PortalGroup::FIRST { Ok(()) } else { write!(f, ",{}", self.group) }
    }
}

/// The sockets of all portals.
pub(crate) struct Portals {
    listeners: Vec<(NetworkPortal, TcpListener)>,
    /// Which one is asked first for its next connection, so that none waits for another for ever.
    turn: AtomicUsize,
}

/// A connection that has just come.
pub(crate) struct Arrival {
    /// Of no runtime yet.
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    /// The group of the portal that it came through.
    pub(crate) group: PortalGroup,
}

impl Portals {
    /// Listens on all addresses.
    pub(crate) fn bind(portals: &[NetworkPortal]) -> Result<Self, BindError> {
        let listen = |&NetworkPortal { address, group }: &NetworkPortal| match bind(address) {
            Ok((address, listener)) => Ok((NetworkPortal { address, group }, listener)),
            Err(source) => Err(BindError::Listen { address, source }),
        };
        let listeners = portals.iter().map(listen).collect::<Result<Vec<_>, _>>()?;
        if listeners.is_empty() {
            return Err(BindError::NoPortal);
        }
        Ok(Self { listeners, turn: AtomicUsize::new(0) })
    }

    /// The portals, with the ports that the system has chosen.
    pub(crate) fn portals(&self) -> Vec<NetworkPortal> {
        self.listeners.iter().map(|&(portal, _)| portal).collect()
    }

    /// The next connection of any portal.
    pub(crate) async fn accept(&self) -> io::Result<Arrival> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.listeners.len();
        let (before, from_first) = self.listeners.split_at(first);
        poll_fn(|context| {
            for (portal, listener) in from_first.iter().chain(before) {
                if let Poll::Ready(accepted) = listener.poll_accept(context) {
                    let arrived = accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
                    return Poll::Ready(arrived.map(|(stream, peer)| Arrival { stream, peer, group: portal.group }));
                }
            }
            Poll::Pending
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
pub(crate) fn told_of(portals: &[NetworkPortal], reached: NetworkPortal) -> Vec<NetworkPortal> {
    let from = reached.address;
    let is_of_use = |ip: IpAddr| !ip.is_unspecified() && (!ip.is_loopback() || from.ip().is_loopback());
    let others = portals.iter().copied().filter(|portal| portal.address != from && is_of_use(portal.address.ip()));
    std::iter::once(reached).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portal(text: &str) -> NetworkPortal {
        text.parse().expect("a portal")
    }

    fn portals(texts: &[&str]) -> Vec<NetworkPortal> {
        texts.iter().map(|text| portal(text)).collect()
    }

    #[test]
    fn initiators_are_told_of_what_they_can_reach() {
        let all = portals(&["192.0.2.1:3260", "[2001:db8::1]:3260,2", "127.0.0.1:3260,3", "0.0.0.0:3270"]);
        let told = |reached: &str| told_of(&all, portal(reached));
        assert_eq!(told("[2001:db8::1]:3260,2"), portals(&["[2001:db8::1]:3260,2", "192.0.2.1:3260"]));
        let expected = portals(&["127.0.0.1:3260,3", "192.0.2.1:3260", "[2001:db8::1]:3260,2"]);
        assert_eq!(told("127.0.0.1:3260,3"), expected);
        // Through the wildcard.
        let expected = portals(&["192.0.2.9:3270", "192.0.2.1:3260", "[2001:db8::1]:3260,2"]);
        assert_eq!(told("192.0.2.9:3270"), expected);
    }

    #[test]
    fn portals_are_written_as_they_are_read() {
        for text in ["192.0.2.1:3260", "192.0.2.1:0,2", "[2001:db8::1]:3260,65535"] {
            assert_eq!(portal(text).to_string(), text);
        }
        assert_eq!(portal("192.0.2.1:3260,1").to_string(), "192.0.2.1:3260");
        let wrong =
            ["", "192.0.2.1", "array:3260", "192.0.2.1:3260,0", "192.0.2.1:3260,65536", "192.0.2.1:3260,", "1:2,3,4"];
        for text in wrong {
            let error = text.parse::<NetworkPortal>().expect_err("no portal");
            assert!(error.to_string().starts_with(&format!("{text:?} is not an address")), "{error}");
        }
    }
}
