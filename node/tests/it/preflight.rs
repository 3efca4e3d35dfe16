//! Checks of a machine.

use std::fmt::Write as _;
use std::fs;

use expect_test::{Expect, expect};
use orlop_node::preflight::{Facts, Wants, check, is_fit, mending};

/// A machine is given as files below its root: `path = text`, one a line.
fn check_machine(files: &str, wants: &Wants, expected: Expect) {
    let root = tempfile::tempdir().unwrap();
    for line in files.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (path, text) = line.split_once('=').unwrap_or((line, ""));
        let path = root.path().join(path.trim());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.trim().replace('|', "\n")).unwrap();
    }
    let facts = Facts::read(root.path());
    let findings = check(&facts, wants);
    let mut out = String::new();
    for finding in &findings {
        writeln!(out, "{:?} {}: {}", finding.level, finding.name, finding.found).unwrap();
    }
    writeln!(out, "fit: {}, ports from {}", is_fit(&findings), facts.unprivileged_from).unwrap();
    for command in mending(&findings) {
        writeln!(out, "# {command}").unwrap();
    }
    for finding in findings {
        assert_eq!(finding.why.is_empty(), finding.mend.is_empty(), "{finding:?}");
    }
    expected.assert_eq(&out);
}

#[test]
fn a_well_prepared_machine_needs_nothing() {
    check_machine(
        "
        proc/swaps = Filename Type Size Used Priority
        proc/sys/net/ipv4/ip_forward = 1
        proc/sys/net/bridge/bridge-nf-call-iptables = 1
        sys/fs/cgroup/cgroup.controllers = cpuset cpu io memory pids
        sys/fs/selinux/enforce = 0
        run/docker.sock
        run/systemd/timesync/synchronized
        ",
        &Wants::default(),
        expect![[r#"
            Pass swap: off
            Pass IP forwarding: on
            Pass bridge netfilter: on
            Pass firewall: none in the way
            Pass SELinux: permissive
            Pass cgroups: v2
            Pass port: 10250 is free (node agent)
            Pass port: 10256 is free (service proxy)
            Pass container engine: Docker
            Pass time: synchronized
            fit: true, ports from 1024
        "#]],
    );
}

#[test]
fn a_machine_as_it_comes_is_told_what_is_missing() {
    check_machine(
        "
        proc/swaps = Filename Type Size Used Priority|/dev/sda2 partition 1 0 -2|/swapfile file 1 0 -3
        proc/sys/net/ipv4/ip_forward = 0
        sys/fs/cgroup/cgroup.controllers = cpu io
        sys/fs/selinux/enforce = 1
        run/firewalld.pid = 1
        proc/net/tcp = sl local_address rem_address st|0: 0100007F:280A 00000000:0000 0A|1: 0100007F:192B 0:0 01
        proc/net/tcp6 = sl local_address rem_address st|0: 00000000000000000000000000000000:192B 0:0 0A
        proc/self/status = Name: orlop|CapEff: 0000000000000400
        ",
        &Wants::control_plane(),
        expect![[r#"
            Fail swap: on: /dev/sda2, /swapfile
            Fail IP forwarding: off
            Fail bridge netfilter: the kernel module br_netfilter is not loaded
            Fail firewall: firewalld is active
            Fail SELinux: enforcing
            Fail cgroups: v2 without memory, pids
            Fail port: 10250 is in use (node agent)
            Pass port: 10256 is free (service proxy)
            Fail port: 6443 is in use (API server)
            Pass port: 10257 is free (controller manager)
            Pass port: 10259 is free (scheduler)
            Fail container engine: none
            Warn time: nothing seems to synchronize the clock
            fit: false, ports from 0
            # swapoff -a
            # sed -i.orlop -E '/^[^#].*\sswap\s/ s/^/#/' /etc/fstab
            # sysctl -w net.ipv4.ip_forward=1
            # echo 'net.ipv4.ip_forward = 1' >> /etc/sysctl.d/99-orlop.conf
            # modprobe br_netfilter
            # echo br_netfilter > /etc/modules-load.d/orlop.conf
            # sysctl -w net.bridge.bridge-nf-call-iptables=1
            # echo 'net.bridge.bridge-nf-call-iptables = 1' >> /etc/sysctl.d/99-orlop.conf
            # systemctl disable --now firewalld
            # setenforce 0
            # sed -i.orlop 's/^SELINUX=enforcing$/SELINUX=permissive/' /etc/selinux/config
            # apt-get install -y docker.io || dnf install -y docker
            # systemctl enable --now docker
            # timedatectl set-ntp true || systemctl enable --now chronyd
        "#]],
    );
}

#[test]
fn the_mock_runtime_asks_for_little() {
    check_machine(
        "
        proc/swaps = Filename|/dev/sda2
        etc/ufw/ufw.conf = # ufw|ENABLED=yes
        sys/fs/cgroup/memory/x
        proc/sys/net/ipv4/ip_unprivileged_port_start = 80
        ",
        &Wants { engine: false, ..Wants::default() },
        expect![[r#"
            Warn swap: on: /dev/sda2
            Warn IP forwarding: off
            Warn bridge netfilter: the kernel module br_netfilter is not loaded
            Warn firewall: ufw is enabled
            Pass SELinux: absent
            Warn cgroups: v1
            Pass port: 10250 is free (node agent)
            Pass port: 10256 is free (service proxy)
            Warn container engine: none
            Warn time: nothing seems to synchronize the clock
            fit: true, ports from 80
            # swapoff -a
            # sed -i.orlop -E '/^[^#].*\sswap\s/ s/^/#/' /etc/fstab
            # sysctl -w net.ipv4.ip_forward=1
            # echo 'net.ipv4.ip_forward = 1' >> /etc/sysctl.d/99-orlop.conf
            # modprobe br_netfilter
            # echo br_netfilter > /etc/modules-load.d/orlop.conf
            # sysctl -w net.bridge.bridge-nf-call-iptables=1
            # echo 'net.bridge.bridge-nf-call-iptables = 1' >> /etc/sysctl.d/99-orlop.conf
            # ufw disable
            # grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=1 || { sed -i.orlop 's/^GRUB_CMDLINE_LINUX="/&systemd.unified_cgroup_hierarchy=1 /' /etc/default/grub && update-grub; }
            # apt-get install -y docker.io || dnf install -y docker
            # systemctl enable --now docker
            # timedatectl set-ntp true || systemctl enable --now chronyd
        "#]],
    );
}
