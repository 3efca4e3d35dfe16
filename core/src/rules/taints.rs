//! Which taints a pod tolerates, and for how long.

use std::time::Duration;

use crate::kinds::{Taint, Toleration};

impl Toleration {
    /// Whether this tolerates `taint`. An empty effect or (with `Exists`) an empty key stands for any.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        if !self.effect.is_empty() && self.effect != taint.effect {
            return false;
        }
        if !self.key.is_empty() && self.key != taint.key {
            return false;
        }
        match self.operator.as_str() {
            "" | "Equal" => self.value == taint.value && (!self.key.is_empty() || taint.key.is_empty()),
            "Exists" => true,
            _ => false,
        }
    }
}

/// The first of the taints that `wanted` picks which no toleration tolerates.
pub fn untolerated<'a>(
    taints: &'a [Taint],
    tolerations: &[Toleration],
    wanted: impl Fn(&Taint) -> bool,
) -> Option<&'a Taint> {
    taints.iter().filter(|taint| wanted(taint)).find(|taint| !tolerations.iter().any(|t| t.tolerates(taint)))
}

/// What becomes of a pod on a node with `NoExecute` taints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// There is no such taint.
    Untainted,
    /// Every taint is tolerated, without limit.
    Forever,
    /// Every taint is tolerated, for this long.
    For(Duration),
    /// A taint is not tolerated.
    Leave,
}

/// How long a pod with these tolerations stays on a node with these taints. Of several tolerations of one taint the first
/// counts, of several taints the shortest time.
pub fn stay(taints: &[Taint], tolerations: &[Toleration]) -> Stay {
    let mut shortest: Option<i64> = None;
    let mut tainted = false;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        tainted = true;
        let Some(toleration) = tolerations.iter().find(|t| t.tolerates(taint)) else { return Stay::Leave };
        if let Some(seconds) = toleration.toleration_seconds {
            shortest = Some(shortest.unwrap_or(seconds).min(seconds));
        }
    }
    match shortest {
        _ if !tainted => Stay::Untainted,
        None => Stay::Forever,
        Some(seconds) => Stay::For(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
    }
}
