//! A set of nodes as bits: [`NodeSet`].

use crate::snapshot::NodeId;

/// A set of nodes, one bit for each slot of the snapshot.
#[derive(Clone, Debug, Default)]
pub struct NodeSet {
    words: Vec<u64>,
}

impl PartialEq for NodeSet {
    /// Equal when the same nodes are in both, whatever the room each has.
    fn eq(&self, other: &NodeSet) -> bool {
        let n = self.words.len().max(other.words.len());
        (0..n).all(|i| self.word(i) == other.word(i))
    }
}

impl NodeSet {
    /// The empty set.
    pub fn new() -> NodeSet {
        NodeSet::default()
    }

    fn word(&self, i: usize) -> u64 {
        self.words.get(i).copied().unwrap_or(0)
    }

    /// Puts a node in.
    pub fn insert(&mut self, node: NodeId) {
        let word = node.index() / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (node.index() % 64);
    }

    /// Takes a node out.
    pub fn remove(&mut self, node: NodeId) {
        if let Some(word) = self.words.get_mut(node.index() / 64) {
            *word &= !(1 << (node.index() % 64));
        }
    }

    /// Puts a node in or takes it out.
    pub fn set(&mut self, node: NodeId, present: bool) {
        if present {
            self.insert(node);
        } else {
            self.remove(node);
        }
    }

    /// Whether a node is in.
    pub fn contains(&self, node: NodeId) -> bool {
        self.word(node.index() / 64) >> (node.index() % 64) & 1 == 1
    }

    /// How many nodes are in.
    pub fn len(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Whether no node is in.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|w| *w == 0)
    }

    /// Keeps what is in `other` too.
    pub fn intersect(&mut self, other: &NodeSet) {
        for (i, word) in self.words.iter_mut().enumerate() {
            *word &= other.word(i);
        }
    }

    /// Takes out what is in `other`.
    pub fn subtract(&mut self, other: &NodeSet) {
        for (i, word) in self.words.iter_mut().enumerate() {
            *word &= !other.word(i);
        }
    }

    /// Puts in what is in `other`.
    pub fn unite(&mut self, other: &NodeSet) {
        if other.words.len() > self.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// Keeps the nodes for which `keep` holds. Allocates nothing.
    pub fn retain(&mut self, mut keep: impl FnMut(NodeId) -> bool) {
        for (i, word) in self.words.iter_mut().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let bit = rest.trailing_zeros();
                rest &= rest - 1;
                if !keep(NodeId::new(i * 64 + bit as usize)) {
                    *word &= !(1 << bit);
                }
            }
        }
    }

    /// The nodes, by slot.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.words.iter().enumerate().flat_map(|(i, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    NodeId::new(i * 64 + bit)
                })
            })
        })
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> NodeSet {
        let mut set = NodeSet::new();
        nodes.into_iter().for_each(|node| set.insert(node));
        set
    }
}
