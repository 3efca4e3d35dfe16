//! UDP: a session for each client.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;

use super::backend::{Backend, Pick};
use super::fronts::Entrance;
use super::{Shared, Task};
use crate::balance::Flow;

/// The largest datagram.
const DATAGRAM_MAX: usize = 65_535;
/// Clients of one port at a time; the datagrams of others are dropped.
const SESSIONS_MAX: usize = 4096;

struct Session {
    socket: Arc<UdpSocket>,
    pick: Pick,
    /// The state of the backend in which `pick` was last found to be on offer.
    generation: u64,
    /// Whether something came since the last look.
    used: Arc<AtomicBool>,
    _answers: Task,
}

type Sessions = Arc<Mutex<BTreeMap<SocketAddr, Session>>>;

/// Serves one socket until the task is dropped, and its sessions with it.
pub(super) async fn serve(
    shared: Arc<Shared>,
    socket: UdpSocket,
    backend: Arc<Backend>,
    entrance: Entrance,
    wanted: SocketAddr,
) {
    let socket = Arc::new(socket);
    let sessions = Sessions::default();
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        // An error here is an answer to an earlier datagram, such as a port that was unreachable.
        let Ok((len, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let upstream = {
            let mut table = sessions.lock().unwrap_or_else(PoisonError::into_inner);
            let generation = backend.generation();
            let valid = table.get_mut(&peer).is_some_and(|session| {
                if session.generation != generation && backend.offers(&session.pick.target) {
                    session.generation = generation;
                }
                session.generation == generation
            });
            if !valid {
                table.remove(&peer);
                if table.len() >= SESSIONS_MAX {
                    continue;
                }
                let flow = Flow::new(peer, wanted);
                let Some(pick) = backend.pick(&flow, entrance.way, entrance.node.as_ref(), &[]) else {
                    continue;
                };
                let Ok(session) = open(&shared, &socket, &sessions, pick, generation, peer) else { continue };
                table.insert(peer, session);
            }
            table.get(&peer).map(|session| {
                session.used.store(true, Ordering::Relaxed);
                Arc::clone(&session.socket)
            })
        };
        if let Some(upstream) = upstream {
            let _ = upstream.send(&buffer[..len]).await;
        }
    }
}

fn open(
    shared: &Shared,
    front: &Arc<UdpSocket>,
    sessions: &Sessions,
    pick: Pick,
    generation: u64,
    peer: SocketAddr,
) -> std::io::Result<Session> {
    let local =
        if pick.target.at.ip().is_loopback() { peer.ip() } else { std::net::Ipv4Addr::UNSPECIFIED.into() };
    let socket = std::net::UdpSocket::bind(SocketAddr::new(local, 0))?;
    socket.connect(pick.target.at)?;
    socket.set_nonblocking(true)?;
    let socket = Arc::new(UdpSocket::from_std(socket)?);
    let used = Arc::new(AtomicBool::new(true));
    let answers = answers(
        Arc::clone(&socket),
        Arc::clone(front),
        Arc::downgrade(sessions),
        Arc::clone(&used),
        peer,
        shared.options.udp_idle,
    );
    Ok(Session { socket, pick, generation, used, _answers: Task::spawn(answers) })
}

/// Carries answers back until nothing came either way for `idle`.
async fn answers(
    socket: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    sessions: std::sync::Weak<Mutex<BTreeMap<SocketAddr, Session>>>,
    used: Arc<AtomicBool>,
    peer: SocketAddr,
    idle: std::time::Duration,
) {
    // Most answers are short; a long one grows the buffer once.
    let mut buffer = vec![0; 2048];
    loop {
        let readable = match tokio::time::timeout(idle, socket.readable()).await {
            Ok(readable) => readable,
            Err(_) if used.swap(false, Ordering::Relaxed) => continue,
            Err(_) => break,
        };
        if readable.is_err() {
            break;
        }
        match socket.try_recv(&mut buffer) {
            Ok(len) if len == buffer.len() && len < DATAGRAM_MAX => {
                // Cut off: this one is lost, as datagrams may be; the next such one is not.
                buffer.resize(DATAGRAM_MAX, 0);
            }
            Ok(len) => {
                used.store(true, Ordering::Relaxed);
                let _ = front.send_to(&buffer[..len], peer).await;
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            // Nobody listens there; the session stays for a while, for the endpoint may be starting.
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(_) => break,
        }
    }
    if let Some(sessions) = sessions.upgrade() {
        sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
    }
}
