//! Having a part of 127/8 for oneself.

use std::net::{Ipv4Addr, UdpSocket};

use crate::mirror::{Mirror, MirrorError, Networks};

/// Keeps other clusters off the blocks of a mirror, in this process and in others, until it is dropped or the process
/// ends in whatever way.
#[derive(Debug)]
pub struct Claim {
    _sockets: Vec<UdpSocket>,
}

/// The port at each block's first address (which is nobody's) whose holder has the block.
const CLAIM_PORT: u16 = 6444;

/// The first free layout for these ranges.
///
/// # Errors
/// When the ranges cannot be mirrored, or every layout is in use. The texts name the block and the reason.
pub fn claim(networks: &Networks) -> Result<(Mirror, Claim), MirrorError> {
    let mut reason = String::new();
    for layout in Mirror::layouts(networks) {
        let mirror = match layout {
            Ok(mirror) => mirror,
            // Later layouts fit no better, but for what was moved past the end.
            Err(MirrorError::Full) if !reason.is_empty() => continue,
            Err(e) => return Err(e),
        };
        let sockets: Result<Vec<UdpSocket>, _> = mirror
            .blocks()
            .map(|block| {
                let at = (Ipv4Addr::new(127, block, 0, 0), CLAIM_PORT);
                UdpSocket::bind(at).map_err(|e| format!("127.{block}.0.0/16: {e}"))
            })
            .collect();
        match sockets {
            Ok(sockets) => return Ok((mirror, Claim { _sockets: sockets })),
            Err(e) if reason.is_empty() => reason = e,
            Err(_) => {}
        }
    }
    Err(MirrorError::NoneFree(reason))
}
