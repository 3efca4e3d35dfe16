//! What a runtime is asked to run.

use std::fmt;
use std::net::IpAddr;

use crate::meta::Labels;
use crate::object::Name;

/// The runtime's own name of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SandboxId(pub Name);

/// The runtime's own name of a container, without the `runtime://` that a pod's status puts before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(pub Name);

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the containers of one pod share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SandboxSpec {
    /// The pod's UID; finds the sandbox again after a restart.
    pub uid: Name,
    /// The pod's namespace.
    pub namespace: Name,
    /// The pod's name.
    pub name: Name,
    /// The node that the agent speaks for.
    pub node: Name,
    /// Counts the sandboxes that this pod has had on this node.
    pub attempt: u32,
    /// What `hostname` prints inside.
    pub hostname: Name,
    /// The addresses by which the cluster knows the pod, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// The address on this machine on which declared ports are to be bound, where that is not the pod's own: the
    /// loopback mirror. `None`: the runtime makes the pod reachable by its own means, or not at all.
    pub bind: Option<IpAddr>,
    /// Whether the pod shares the network of the machine.
    pub host_network: bool,
    /// How names are resolved inside.
    pub dns: DnsConfig,
    /// Every port that a container of the pod declares.
    pub ports: Vec<Port>,
    /// The pod's labels.
    pub labels: Labels,
    /// The pod's annotations.
    pub annotations: Labels,
}

/// The contents of `/etc/resolv.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsConfig {
    /// Addresses of name servers.
    pub servers: Vec<Name>,
    /// Domains that are tried for short names.
    pub searches: Vec<Name>,
    /// `ndots:5`.
    pub options: Vec<Name>,
}

/// A transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// From the name in the API; empty means TCP.
    pub fn parse(text: &str) -> Option<Protocol> {
        match text {
            "" | "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }

    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A port that a container listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// The port's name; may be empty.
    pub name: Name,
    /// The number inside the pod, by which the cluster knows it.
    pub container: u16,
    /// The number under which it is bound at [`SandboxSpec::bind`]; see [`bind_port`].
    pub bind: u16,
    /// The number on the node's own address; 0: none.
    pub host: u16,
    /// The transport.
    pub protocol: Protocol,
}

/// Under which number a port is bound on this machine, where only ports from `unprivileged_from` on may be: a lower
/// one moves to 8000 + port. Whoever binds and whoever connects must ask this one function.
///
/// A pod that declares both 80 and 8080 has both on 8080 then: its address is its own, so nobody else is met there.
pub const fn bind_port(port: u16, unprivileged_from: u16) -> u16 {
    if port == 0 || port >= unprivileged_from { port } else { 8000u16.saturating_add(port) }
}

/// One container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerSpec {
    /// The name within the pod.
    pub name: Name,
    /// Counts the restarts: 0 is the first.
    pub attempt: u32,
    /// The image as the pod names it.
    pub image: Name,
    /// Replaces the image's entry point; empty: the image's own.
    pub command: Vec<Name>,
    /// Replaces the image's arguments.
    pub args: Vec<Name>,
    /// Empty: the image's own.
    pub working_dir: Name,
    /// Environment, in order; a later name wins.
    pub env: Vec<(Name, Name)>,
    /// The ports that this container listens on.
    pub ports: Vec<Port>,
    /// What is mounted where.
    pub mounts: Vec<Mount>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether its standard input is kept open.
    pub stdin: bool,
    /// Whether it is meant to end by itself: an init container, or one of a pod that is not always restarted. A hint
    /// for simulated runtimes, which cannot know from a program's name whether it serves or computes.
    pub one_shot: bool,
    /// Whether it is an init container, whose end others wait for. A hint, too.
    pub init: bool,
    /// `SIGTERM` where empty.
    pub stop_signal: Name,
    /// CPU weight in thousandths of a core; 0: the least.
    pub cpu_request_milli: i64,
    /// Thousandths of a core that it may use; 0: no limit.
    pub cpu_limit_milli: i64,
    /// Bytes of memory that it may use; 0: no limit.
    pub memory_limit_bytes: i64,
}

/// Something mounted into a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The volume's name in the pod.
    pub volume: Name,
    /// Where it appears.
    pub path: Name,
    /// What appears there.
    pub source: MountSource,
    /// Whether it may not be written to.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// An empty directory that lives as long as the sandbox.
    Empty,
    /// A path of the machine.
    Host(Name),
    /// Files given by content: path below the mount, bytes. One with an empty path is what the mount itself is.
    Files(Vec<(Name, bytes::Bytes)>),
    /// Something that this build does not know how to mount; a runtime may refuse it.
    Other,
}

/// An image to fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImagePull {
    /// `registry.example.com/web:1`.
    pub image: Name,
    /// Credentials for the image's registry.
    pub auth: Option<PullAuth>,
    /// The annotations of the pod that it is for.
    pub annotations: Labels,
}

/// Credentials for a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct PullAuth {
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: String,
}

impl fmt::Debug for PullAuth {
    /// Without the password: debug output ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullAuth").field("username", &self.username).finish_non_exhaustive()
    }
}
