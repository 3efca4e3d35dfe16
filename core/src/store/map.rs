//! An ordered map whose copies share what is equal: the key space at a revision costs one pointer.
//!
//! A B+ tree with `Arc` nodes. Writing copies the nodes on the path that someone else still holds, and no others.

use std::sync::Arc;

use super::Entry;

/// Entries of a leaf and children of a branch.
const WIDTH: usize = 16;

/// Entries by key.
#[derive(Clone, Default)]
pub(super) struct Map {
    root: Arc<Node>,
}

#[derive(Clone)]
enum Node {
    Leaf(Vec<Entry>),
    Branch(Vec<Child>),
}

#[derive(Clone)]
struct Child {
    /// No key below is smaller, and every key of the children before is.
    low: Arc<str>,
    /// How many entries are below.
    len: usize,
    node: Arc<Node>,
}

impl Default for Node {
    fn default() -> Node {
        Node::Leaf(Vec::new())
    }
}

impl Map {
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => return find(entries, key).ok().map(|at| &entries[at]),
                Node::Branch(children) => node = &children.get(child_of(children, key))?.node,
            }
        }
    }

    /// Answers with the entry that was there.
    pub(super) fn insert(&mut self, entry: Entry) -> Option<Entry> {
        let (old, split) = Node::insert(&mut self.root, entry);
        if let Some(right) = split {
            let left = std::mem::take(&mut self.root);
            let low = left.low().expect("a node that was split is not empty");
            let left = Child { low, len: left.len(), node: left };
            self.root = Arc::new(Node::Branch(vec![left, right]));
        }
        old
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Entry> {
        // A miss must not copy the path.
        self.get(key)?;
        let old = Node::remove(&mut self.root, key);
        loop {
            let next = match &*self.root {
                Node::Branch(children) if children.is_empty() => Arc::default(),
                Node::Branch(children) if children.len() == 1 => children[0].node.clone(),
                _ => return old,
            };
            self.root = next;
        }
    }

    /// Visits entries in order until `each` answers false, beginning with the first key that is not `skipped`, which
    /// must hold for a beginning of the key space.
    pub(super) fn visit(&self, skipped: &impl Fn(&str) -> bool, each: &mut impl FnMut(&Entry) -> bool) {
        self.root.visit(skipped, each);
    }

    /// How many keys are `counted`, which must hold for a beginning of the key space.
    pub(super) fn rank(&self, counted: &impl Fn(&str) -> bool) -> usize {
        let (mut node, mut before) = (&*self.root, 0);
        loop {
            match node {
                Node::Leaf(entries) => return before + entries.partition_point(|e| counted(&e.key)),
                Node::Branch(children) => {
                    let Some(at) = children.partition_point(|c| counted(&c.low)).checked_sub(1) else {
                        return before;
                    };
                    before += children[..at].iter().map(|c| c.len).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }
}

fn find(entries: &[Entry], key: &str) -> Result<usize, usize> {
    entries.binary_search_by(|e| (*e.key).cmp(key))
}

/// The child below which `key` is or belongs.
fn child_of(children: &[Child], key: &str) -> usize {
    children.partition_point(|c| *c.low <= *key).saturating_sub(1)
}

/// Cuts what overflows off; `at` is where the last item came in. Ascending keys leave full nodes behind.
fn split<T>(items: &mut Vec<T>, at: usize) -> Option<Vec<T>> {
    if items.len() <= WIDTH {
        return None;
    }
    let cut = if at + 1 == items.len() { at } else { items.len() / 2 };
    let right = items.split_off(cut);
    items.shrink_to_fit();
    Some(right)
}

impl Node {
    /// Entries of a leaf, children of a branch.
    fn width(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Branch(children) => children.len(),
        }
    }

    /// Entries below.
    fn len(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Branch(children) => children.iter().map(|c| c.len).sum(),
        }
    }

    fn low(&self) -> Option<Arc<str>> {
        match self {
            Node::Leaf(entries) => entries.first().map(|e| e.key.clone()),
            Node::Branch(children) => children.first().map(|c| c.low.clone()),
        }
    }

    fn into_child(self) -> Child {
        let low = self.low().expect("only nodes with entries become children");
        Child { low, len: self.len(), node: Arc::new(self) }
    }

    /// Answers with the old entry, and what was split off to the right.
    fn insert(this: &mut Arc<Node>, entry: Entry) -> (Option<Entry>, Option<Child>) {
        match Arc::make_mut(this) {
            Node::Leaf(entries) => match find(entries, &entry.key) {
                Ok(at) => (Some(std::mem::replace(&mut entries[at], entry)), None),
                Err(at) => {
                    // Leaves are most of the map's memory: no spare room in them.
                    entries.reserve_exact(1);
                    entries.insert(at, entry);
                    (None, split(entries, at).map(|right| Node::Leaf(right).into_child()))
                }
            },
            Node::Branch(children) => {
                let at = child_of(children, &entry.key);
                let child = &mut children[at];
                if *entry.key < *child.low {
                    child.low = entry.key.clone();
                }
                let (old, right) = Node::insert(&mut child.node, entry);
                child.len += usize::from(old.is_none());
                let Some(right) = right else { return (old, None) };
                child.len -= right.len;
                children.insert(at + 1, right);
                (old, split(children, at + 1).map(|right| Node::Branch(right).into_child()))
            }
        }
    }

    fn remove(this: &mut Arc<Node>, key: &str) -> Option<Entry> {
        match Arc::make_mut(this) {
            Node::Leaf(entries) => find(entries, key).ok().map(|at| entries.remove(at)),
            Node::Branch(children) => {
                let at = child_of(children, key);
                let child = &mut children[at];
                let old = Node::remove(&mut child.node, key)?;
                child.len -= 1;
                if child.len == 0 {
                    children.remove(at);
                } else if child.node.width() < WIDTH / 4 {
                    let left = at.min(children.len().saturating_sub(2));
                    merge(children, left);
                }
                Some(old)
            }
        }
    }

    fn visit(&self, skipped: &impl Fn(&str) -> bool, each: &mut impl FnMut(&Entry) -> bool) -> bool {
        match self {
            Node::Leaf(entries) => entries[entries.partition_point(|e| skipped(&e.key))..].iter().all(each),
            Node::Branch(children) => {
                let from = children.partition_point(|c| skipped(&c.low)).saturating_sub(1);
                children[from..].iter().all(|c| c.node.visit(skipped, each))
            }
        }
    }
}

/// Makes one child of two neighbours if they fit.
fn merge(children: &mut Vec<Child>, left: usize) {
    let Some(right) = children.get(left + 1) else { return };
    if children[left].node.width() + right.node.width() > WIDTH {
        return;
    }
    let right = children.remove(left + 1);
    let child = &mut children[left];
    child.len += right.len;
    match (Arc::make_mut(&mut child.node), &*right.node) {
        (Node::Leaf(to), Node::Leaf(from)) => to.extend_from_slice(from),
        (Node::Branch(to), Node::Branch(from)) => to.extend_from_slice(from),
        _ => unreachable!("all leaves are equally deep"),
    }
}
