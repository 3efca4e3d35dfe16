//! Sockets, at the wanted port or at one that stands for it.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, UdpSocket};

/// The ports that stand for one that cannot be had.
fn stand_ins(port: u16) -> impl Iterator<Item = u16> {
    (0..6u32).filter_map(move |i| u16::try_from(8_000 + i * 10_000 + u32::from(port)).ok())
}

/// Whether another port may work where this error came up.
fn may_move(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::AddrInUse)
}

/// Binds with `bind` at `wanted` or, if `moving`, at a port that stands for it.
pub(super) fn bind<S>(
    wanted: SocketAddr,
    moving: bool,
    bind: impl Fn(SocketAddr) -> io::Result<S>,
) -> io::Result<S> {
    let first = match bind(wanted) {
        Err(e) if moving && may_move(&e) => e,
        done => return done,
    };
    for port in stand_ins(wanted.port()) {
        match bind(SocketAddr::new(wanted.ip(), port)) {
            Err(e) if may_move(&e) => {}
            done => return done,
        }
    }
    Err(first)
}

/// Whether a failure at the wanted port lets a stand-in be tried.
pub(super) fn is_movable(error: &io::Error) -> bool {
    may_move(error)
}

/// Pending connections that the kernel keeps.
const BACKLOG: u32 = 1024;

/// Listens.
pub(super) fn tcp(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Connections that have just ended must not keep a new listener away.
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// Receives.
pub(super) fn udp(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
