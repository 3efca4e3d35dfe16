//! What is seen of a machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What [`super::check`] judges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Devices and files that are swapped to.
    pub swaps: Vec<String>,
    /// Whether the kernel forwards packets; `None`: it does not say.
    pub ip_forward: Option<bool>,
    /// Whether bridged packets pass the kernel's filter; `None`: the module is not loaded.
    pub bridge_netfilter: Option<bool>,
    /// A firewall that is active.
    pub firewall: Option<Firewall>,
    /// Whether SELinux enforces its rules; `None`: there is none.
    pub selinux_enforcing: Option<bool>,
    /// Which control groups there are.
    pub cgroups: Cgroups,
    /// TCP ports that something listens on.
    pub listening: BTreeSet<u16>,
    /// Container engines whose sockets are there.
    pub engines: Vec<String>,
    /// Whether something keeps the clock right.
    pub time_synchronized: bool,
    /// The first port that this process may bind.
    pub unprivileged_from: u16,
}

/// A firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firewall {
    /// Of Red Hat's family.
    Firewalld,
    /// Of Ubuntu.
    Ufw,
}

/// Control groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cgroups {
    /// None are mounted.
    #[default]
    None,
    /// The old hierarchies.
    V1,
    /// The unified hierarchy, with these controllers.
    V2(Vec<String>),
}

/// `CAP_NET_BIND_SERVICE`, by which a process may bind every port.
const BIND_SERVICE_BIT: u32 = 10;

impl Facts {
    /// Looks at the machine whose root directory this is: `/`, or a copy of the few files that matter.
    pub fn read(root: &Path) -> Facts {
        let text = |path: &str| fs::read_to_string(root.join(path)).ok();
        let exists = |path: &str| root.join(path).exists();
        let flag = |path: &str| text(path).map(|text| text.trim() == "1");
        let swaps = text("proc/swaps").unwrap_or_default();
        let firewall = if exists("run/firewalld/dbus") || exists("run/firewalld.pid") {
            Some(Firewall::Firewalld)
        } else if text("etc/ufw/ufw.conf")
            .is_some_and(|conf| conf.lines().any(|line| line.trim() == "ENABLED=yes"))
        {
            Some(Firewall::Ufw)
        } else {
            None
        };
        let cgroups = match text("sys/fs/cgroup/cgroup.controllers") {
            Some(controllers) => Cgroups::V2(controllers.split_whitespace().map(str::to_owned).collect()),
            None if exists("sys/fs/cgroup/memory") => Cgroups::V1,
            None => Cgroups::None,
        };
        let engines = [
            ("run/docker.sock", "Docker"),
            ("var/run/docker.sock", "Docker"),
            ("run/containerd/containerd.sock", "containerd"),
            ("run/crio/crio.sock", "CRI-O"),
            ("run/podman/podman.sock", "Podman"),
        ];
        let mut found: Vec<String> = Vec::new();
        for (path, name) in engines {
            if exists(path) && !found.iter().any(|known| known == name) {
                found.push(name.to_owned());
            }
        }
        let capable = text("proc/self/status").is_some_and(|status| may_bind_all(&status));
        let unprivileged_from = match text("proc/sys/net/ipv4/ip_unprivileged_port_start") {
            _ if capable => 0,
            Some(text) => text.trim().parse().unwrap_or(1024),
            None => 1024,
        };
        Facts {
            swaps: swaps
                .lines()
                .skip(1)
                .filter_map(|line| line.split_whitespace().next())
                .map(str::to_owned)
                .collect(),
            ip_forward: flag("proc/sys/net/ipv4/ip_forward"),
            bridge_netfilter: flag("proc/sys/net/bridge/bridge-nf-call-iptables"),
            firewall,
            selinux_enforcing: flag("sys/fs/selinux/enforce"),
            cgroups,
            listening: ["proc/net/tcp", "proc/net/tcp6"]
                .into_iter()
                .filter_map(text)
                .flat_map(|table| listening(&table))
                .collect(),
            engines: found,
            time_synchronized: exists("run/systemd/timesync/synchronized")
                || exists("run/chrony/chronyd.pid")
                || exists("run/chronyd.pid")
                || exists("run/ntpd.pid"),
            unprivileged_from,
        }
    }
}

/// Whether the effective capabilities of `/proc/self/status` allow every port.
fn may_bind_all(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|caps| caps >> BIND_SERVICE_BIT & 1 == 1)
}

/// The ports in state LISTEN of a `/proc/net/tcp`.
fn listening(table: &str) -> Vec<u16> {
    let port = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state) = (fields.get(1)?, fields.get(3)?);
        let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        (*state == "0A").then_some(port)
    };
    table.lines().skip(1).filter_map(port).collect()
}
