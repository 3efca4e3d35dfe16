//! What has changed in a snapshot of late: [`Journal`]. Who keeps answers reads in it which to look at again.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::crowds::CrowdId;
use crate::snapshot::NodeId;

/// One change of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Touch {
    /// Something about the node itself or those who wait for room on it.
    Node(NodeId),
    /// A pod came (`by` 1) or left (-1).
    Pod { node: NodeId, crowd: CrowdId, by: i8 },
}

impl Touch {
    pub(crate) fn node(&self) -> NodeId {
        match self {
            Touch::Node(node) | Touch::Pod { node, .. } => *node,
        }
    }
}

/// The last touches, numbered.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// The number of the first touch that is still here.
    first: u64,
    touches: VecDeque<Touch>,
    /// One for each snapshot: a clone goes its own way.
    identity: Arc<Identity>,
    /// Changes whenever nodes, their labels or taints do.
    pub(crate) layout: u64,
    /// Changes whenever what terms mean does: namespaces, and the numbers of crowds.
    pub(crate) terms: u64,
    /// Changes whenever what selects pods does.
    pub(crate) selectors: u64,
    /// Changes whenever budgets do.
    pub(crate) budgets: u64,
}

/// Says which snapshot this is.
#[derive(Debug, Default)]
pub(crate) struct Identity;

impl Clone for Journal {
    fn clone(&self) -> Journal {
        Journal { touches: self.touches.clone(), identity: Arc::default(), ..*self }
    }
}

impl Journal {
    /// Notes a touch; forgets the oldest of more than `room`.
    pub(crate) fn note(&mut self, touch: Touch, room: usize) {
        if self.touches.len() >= room {
            self.touches.pop_front();
            self.first += 1;
        }
        self.touches.push_back(touch);
    }

    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// The number of the next touch.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.touches.len() as u64
    }

    /// What has happened since `next` was this; `None` if that is forgotten.
    pub(crate) fn since(&self, next: u64) -> Option<impl ExactSizeIterator<Item = Touch> + '_> {
        let skip = usize::try_from(next.checked_sub(self.first)?).ok()?;
        Some(self.touches.range(skip.min(self.touches.len())..).copied())
    }
}
