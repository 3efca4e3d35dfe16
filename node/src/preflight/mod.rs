//! Whether a machine can be a node.
//!
//! [`Facts::read`] looks at the machine, [`check`] judges what it has seen, without looking again. A finding that is
//! not well says why it matters and which commands mend it; [`mending`] collects them, and running them is the
//! caller's business.
//!
//! ```
//! use orlop_node::preflight::{Facts, Wants, check};
//!
//! let machine = Facts { swaps: vec!["/dev/sda2".into()], ..Facts::default() };
//! let findings = check(&machine, &Wants::default());
//! let swap = findings.iter().find(|finding| finding.name == "swap").expect("swap is checked");
//! assert_eq!(swap.mend[0], "swapoff -a");
//! ```

mod facts;

pub use facts::{Cgroups, Facts, Firewall};

/// What is asked of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Ports that must be free, each with what listens there.
    pub ports: Vec<(u16, &'static str)>,
    /// Whether containers are real ones, so that an engine and the kernel's forwarding are needed.
    pub engine: bool,
}

impl Default for Wants {
    /// A worker with a container engine.
    fn default() -> Wants {
        Wants { ports: vec![(10250, "node agent"), (10256, "service proxy")], engine: true }
    }
}

impl Wants {
    /// A node that also holds the management components.
    pub fn control_plane() -> Wants {
        let mut wants = Wants::default();
        wants.ports.extend([(6443, "API server"), (10257, "controller manager"), (10259, "scheduler")]);
        wants
    }
}

/// How well it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Pass,
    /// It works, but not as well as it could.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked, in a word or two.
    pub name: &'static str,
    /// How well it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// Why it matters; empty if all is well.
    pub why: &'static str,
    /// The shell commands that mend it, in order, to be run as root.
    pub mend: Vec<String>,
    /// Whether a person has to decide what to do, so that `mend` only shows what there is to see.
    pub by_hand: bool,
}

/// Whether the machine can be a node: nothing fails.
pub fn is_fit(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.level != Level::Fail)
}

/// The commands that mend all that can be mended without a person's decision, in order, each once.
pub fn mending(findings: &[Finding]) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mendable = findings.iter().filter(|finding| finding.level != Level::Pass && !finding.by_hand);
    for command in mendable.flat_map(|finding| &finding.mend) {
        if !commands.contains(command) {
            commands.push(command.clone());
        }
    }
    commands
}

/// Judges a machine.
pub fn check(facts: &Facts, wants: &Wants) -> Vec<Finding> {
    let need = |level: Level| if wants.engine { level } else { level.min(Level::Warn) };
    let mut findings = vec![
        swap(facts, need(Level::Fail)),
        forwarding(facts, need(Level::Fail)),
        bridge(facts, need(Level::Fail)),
        firewall(facts, need(Level::Fail)),
        selinux(facts, need(Level::Fail)),
        cgroups(facts, need(Level::Fail)),
    ];
    findings.extend(wants.ports.iter().map(|(port, user)| port_is_free(facts, *port, user)));
    findings.push(engine(facts, need(Level::Fail)));
    findings.push(time(facts));
    findings
}

fn pass(name: &'static str, found: impl Into<String>) -> Finding {
    Finding { name, level: Level::Pass, found: found.into(), why: "", mend: Vec::new(), by_hand: false }
}

fn finding<const N: usize>(
    name: &'static str,
    level: Level,
    found: impl Into<String>,
    why: &'static str,
    mend: [&str; N],
) -> Finding {
    Finding { name, level, found: found.into(), why, mend: mend.map(str::to_owned).to_vec(), by_hand: false }
}

const SYSCTL_FILE: &str = "/etc/sysctl.d/99-orlop.conf";

fn swap(facts: &Facts, bad: Level) -> Finding {
    if facts.swaps.is_empty() {
        return pass("swap", "off");
    }
    finding(
        "swap",
        bad,
        format!("on: {}", facts.swaps.join(", ")),
        "a pod that is swapped out keeps the memory it was promised only on paper, and grows slow instead of being \
         restarted or moved",
        ["swapoff -a", r"sed -i.orlop -E '/^[^#].*\sswap\s/ s/^/#/' /etc/fstab"],
    )
}

fn forwarding(facts: &Facts, bad: Level) -> Finding {
    if facts.ip_forward == Some(true) {
        return pass("IP forwarding", "on");
    }
    finding(
        "IP forwarding",
        bad,
        "off",
        "packets between pods pass through the node, and the kernel drops what it may not forward",
        ["sysctl -w net.ipv4.ip_forward=1", &format!("echo 'net.ipv4.ip_forward = 1' >> {SYSCTL_FILE}")],
    )
}

fn bridge(facts: &Facts, bad: Level) -> Finding {
    let why = "pods on one bridge would reach each other past the rules that stand for Services and network policies";
    let set = "sysctl -w net.bridge.bridge-nf-call-iptables=1";
    let keep = format!("echo 'net.bridge.bridge-nf-call-iptables = 1' >> {SYSCTL_FILE}");
    match facts.bridge_netfilter {
        Some(true) => pass("bridge netfilter", "on"),
        Some(false) => finding("bridge netfilter", bad, "off", why, [set, &keep]),
        None => finding(
            "bridge netfilter",
            bad,
            "the kernel module br_netfilter is not loaded",
            why,
            ["modprobe br_netfilter", "echo br_netfilter > /etc/modules-load.d/orlop.conf", set, &keep],
        ),
    }
}

fn firewall(facts: &Facts, bad: Level) -> Finding {
    let why = "a firewall that does not know the cluster drops traffic to pods, Services and the API; alternatively \
               let it accept the pod and Service ranges and the ports below";
    match facts.firewall {
        None => pass("firewall", "none in the way"),
        Some(Firewall::Firewalld) => {
            finding("firewall", bad, "firewalld is active", why, ["systemctl disable --now firewalld"])
        }
        Some(Firewall::Ufw) => finding("firewall", bad, "ufw is enabled", why, ["ufw disable"]),
    }
}

fn selinux(facts: &Facts, bad: Level) -> Finding {
    match facts.selinux_enforcing {
        None => pass("SELinux", "absent"),
        Some(false) => pass("SELinux", "permissive"),
        Some(true) => finding(
            "SELinux",
            bad,
            "enforcing",
            "containers may not read volumes that do not carry their label",
            ["setenforce 0", "sed -i.orlop 's/^SELINUX=enforcing$/SELINUX=permissive/' /etc/selinux/config"],
        ),
    }
}

fn cgroups(facts: &Facts, bad: Level) -> Finding {
    let grub = "grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=1 \
                || { sed -i.orlop 's/^GRUB_CMDLINE_LINUX=\"/&systemd.unified_cgroup_hierarchy=1 /' /etc/default/grub \
                && update-grub; }";
    match &facts.cgroups {
        Cgroups::V2(controllers) => {
            let lacking: Vec<&str> = ["cpu", "memory", "pids"]
                .into_iter()
                .filter(|c| !controllers.iter().any(|have| have == c))
                .collect();
            if lacking.is_empty() {
                return pass("cgroups", "v2");
            }
            // What the root of the hierarchy does not offer no write to `cgroup.subtree_control` can bring: the kernel
            // has left it out, was told to, or gave it to a v1 hierarchy, and all of that is settled at boot.
            let take = lacking.join(",");
            let update = format!(
                "grubby --update-kernel=ALL --remove-args=cgroup_disable --args='cgroup_no_v1={take}' \
                 || {{ sed -i.orlop -E 's/cgroup_disable=[^ \"]+ ?//; s/^GRUB_CMDLINE_LINUX=\"/&cgroup_no_v1={take} /' \
                 /etc/default/grub && update-grub; }}"
            );
            Finding {
                by_hand: true,
                ..finding(
                    "cgroups",
                    bad,
                    format!("v2 without {}", lacking.join(", ")),
                    "limits of containers cannot be enforced without these controllers; the first command shows what \
                     the kernel was told of them and whether it has them, the second tells it at the next boot to have \
                     them under v2 (a kernel of Raspberry Pi wants cgroup_enable=memory, too)",
                    ["grep -H . /proc/cmdline /proc/cgroups", &update],
                )
            }
        }
        Cgroups::V1 => finding(
            "cgroups",
            Level::Warn.min(bad),
            "v1",
            "Kubernetes maintains v1 no more, and memory is limited less exactly under it; takes a reboot",
            [grub],
        ),
        Cgroups::None => finding(
            "cgroups",
            bad,
            "not mounted",
            "limits of containers cannot be enforced",
            ["mount -t cgroup2 none /sys/fs/cgroup"],
        ),
    }
}

fn port_is_free(facts: &Facts, port: u16, user: &str) -> Finding {
    if !facts.listening.contains(&port) {
        return pass("port", format!("{port} is free ({user})"));
    }
    Finding {
        name: "port",
        level: Level::Fail,
        found: format!("{port} is in use ({user})"),
        why: "two programs cannot listen on one port; this shows which one does, to be stopped or moved",
        mend: vec![format!("ss -ltnp 'sport = :{port}'")],
        by_hand: true,
    }
}

fn engine(facts: &Facts, bad: Level) -> Finding {
    match facts.engines.first() {
        Some(engine) => pass("container engine", engine.as_str()),
        None => finding(
            "container engine",
            bad,
            "none",
            "something has to run the containers; the mock runtime only pretends to",
            ["apt-get install -y docker.io || dnf install -y docker", "systemctl enable --now docker"],
        ),
    }
}

fn time(facts: &Facts) -> Finding {
    if facts.time_synchronized {
        return pass("time", "synchronized");
    }
    finding(
        "time",
        Level::Warn,
        "nothing seems to synchronize the clock",
        "certificates and leases are judged by it: a node whose clock is off is taken for dead",
        ["timedatectl set-ntp true || systemctl enable --now chronyd"],
    )
}
