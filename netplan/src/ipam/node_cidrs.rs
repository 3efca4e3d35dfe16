//! One pod range of each family for every node.

use ipnet::IpNet;

use super::cidr_set::{CidrSet, CidrSetError, default_node_mask};

/// Gives every node a pod range from each of the cluster's ranges (one, or an IPv4 and an IPv6 one).
///
/// ```
/// use orlop_netplan::ipam::NodeCidrs;
///
/// let mut cidrs = NodeCidrs::new(&["10.244.0.0/16".parse().unwrap()]).unwrap();
/// cidrs.occupy(&["10.244.0.0/24".parse().unwrap()]); // what a node already has
/// assert_eq!(cidrs.allocate().unwrap()[0].to_string(), "10.244.1.0/24");
/// ```
#[derive(Clone, Debug)]
pub struct NodeCidrs {
    sets: Vec<CidrSet>,
}

/// Why nodes get no ranges.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeCidrsError {
    /// The ranges are no single range, nor one of each family.
    #[error("a cluster has one pod range, or one of each family, not {0}")]
    Families(usize),
    /// A range cannot be cut.
    #[error(transparent)]
    Set(#[from] CidrSetError),
}

impl NodeCidrs {
    /// Node ranges of the default size: /24 in IPv4, /64 in IPv6.
    ///
    /// # Errors
    /// When there are not one or two ranges, two are of one family, or one cannot be cut.
    pub fn new(cluster: &[IpNet]) -> Result<NodeCidrs, NodeCidrsError> {
        let cut: Vec<(IpNet, u8)> = cluster.iter().map(|net| (*net, default_node_mask(net))).collect();
        NodeCidrs::with_masks(&cut)
    }

    /// Node ranges with the given prefix lengths.
    ///
    /// # Errors
    /// As [`NodeCidrs::new`].
    pub fn with_masks(cluster: &[(IpNet, u8)]) -> Result<NodeCidrs, NodeCidrsError> {
        match cluster {
            [_] => {}
            [(a, _), (b, _)] if a.addr().is_ipv4() != b.addr().is_ipv4() => {}
            _ => return Err(NodeCidrsError::Families(cluster.len())),
        }
        let sets = cluster.iter().map(|(net, mask)| CidrSet::new(*net, *mask)).collect::<Result<_, _>>()?;
        Ok(NodeCidrs { sets })
    }

    /// Takes what a node already has (`spec.podCIDRs`). Ranges from elsewhere are ignored: somebody else gave them.
    pub fn occupy(&mut self, ranges: &[IpNet]) {
        for range in ranges {
            for set in &mut self.sets {
                // A stranger to this set is no error here.
                let _ = set.occupy(range);
            }
        }
    }

    /// Frees what a node had.
    pub fn release(&mut self, ranges: &[IpNet]) {
        for range in ranges {
            for set in &mut self.sets {
                let _ = set.release(range);
            }
        }
    }

    /// The next ranges, in the order of the cluster's.
    ///
    /// # Errors
    /// [`CidrSetError::Full`]; nothing is taken then.
    pub fn allocate(&mut self) -> Result<Vec<IpNet>, CidrSetError> {
        let mut given = Vec::with_capacity(self.sets.len());
        for set in &mut self.sets {
            match set.allocate_next() {
                Ok(range) => given.push(range),
                Err(full) => {
                    self.release(&given);
                    return Err(full);
                }
            }
        }
        Ok(given)
    }
}
