//! Whether a machine can be a node.
