//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

/// A Kubernetes-compatible cluster in one process.
#[derive(Parser)]
#[command(version, about)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Starts a cluster, applies manifests, and runs until Ctrl-C.
    Up(Up),
    /// Runs the API server alone, with no controllers.
    Apiserver(Apiserver),
    /// Checks whether this machine can be a node.
    Preflight(Preflight),
    /// Says why a pod runs where it runs, or why no node takes it.
    Why(Why),
    /// Says whether the pods of manifests would be placed, how many more would fit, and what limits them.
    Fit(Fit),
    /// Says what something would do, without doing it.
    WhatIf(WhatIf),
}

/// How a running cluster is asked.
#[derive(Args)]
pub(crate) struct Asked {
    /// The cluster.
    #[arg(long, default_value = "orlop.kubeconfig", value_name = "PATH")]
    pub(crate) kubeconfig: PathBuf,
    /// The KubeSchedulerConfiguration that the cluster's scheduler has.
    #[arg(long, value_name = "FILE")]
    pub(crate) scheduler_config: Option<PathBuf>,
    /// Prints the answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Why {
    /// The pod.
    pub(crate) pod: String,
    /// Its namespace; else that of the kubeconfig.
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    #[command(flatten)]
    pub(crate) asked: Asked,
}

#[derive(Args)]
pub(crate) struct Fit {
    /// Files and folders of manifests; `-` is standard input.
    #[arg(required = true)]
    pub(crate) manifests: Vec<String>,
    /// How many more to count at most.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub(crate) at_most: usize,
    #[command(flatten)]
    pub(crate) asked: Asked,
}

#[derive(Args)]
pub(crate) struct WhatIf {
    #[command(subcommand)]
    pub(crate) command: WhatIfCommand,
}

#[derive(Subcommand)]
pub(crate) enum WhatIfCommand {
    /// Where a node's pods would go if it were drained.
    Drain(Drain),
}

#[derive(Args)]
pub(crate) struct Drain {
    /// The node.
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) asked: Asked,
}

#[derive(Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) guard: Guard,
    /// Files and folders of manifests; `-` is standard input. None: an empty cluster.
    pub(crate) manifests: Vec<String>,
    /// Worker nodes.
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub(crate) nodes: usize,
    /// Nodes for the management components, which run no other pods.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) control_planes: usize,
    /// What runs containers.
    #[arg(long, value_enum, default_value_t = RuntimeChoice::Mock)]
    pub(crate) runtime: RuntimeChoice,
    /// Where objects are kept: `memory`, or `redb=DIR`, which outlives the process.
    #[arg(long, default_value = "memory", value_name = "memory|redb=DIR")]
    pub(crate) store: StoreChoice,
    /// Where the API is served.
    #[arg(long, default_value = "127.0.0.1:6443", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// What carries connections to Services.
    #[arg(long, value_enum, default_value_t = PlaneChoice::Loopback)]
    pub(crate) data_plane: PlaneChoice,
    /// A KubeSchedulerConfiguration, as kube-scheduler takes with `--config`.
    #[arg(long, value_name = "FILE")]
    pub(crate) scheduler_config: Option<PathBuf>,
    /// Where the kubeconfig is written.
    #[arg(long, default_value = "orlop.kubeconfig", value_name = "PATH")]
    pub(crate) kubeconfig: PathBuf,
    /// Ends as soon as everything is ready (exit status 0), or with the reasons when it is not in time (1).
    #[arg(long)]
    pub(crate) once: bool,
    /// How long everything may take to become ready: `90s`, `2m`.
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Prints results as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Everything that is chosen by chance follows from this number.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum RuntimeChoice {
    /// Simulated containers.
    Mock,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlaneChoice {
    /// Services, DNS and Ingress on 127/8.
    Loopback,
    /// None.
    None,
}

#[derive(Clone, Debug)]
pub(crate) enum StoreChoice {
    Memory,
    Redb(PathBuf),
}

impl FromStr for StoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<StoreChoice, String> {
        match text.split_once('=') {
            None if text == "memory" => Ok(StoreChoice::Memory),
            Some(("redb", dir)) if !dir.is_empty() => Ok(StoreChoice::Redb(dir.into())),
            _ => Err("a store is memory, or redb=DIR with the folder in which it keeps its data".to_owned()),
        }
    }
}

/// What guards a server.
#[derive(Args, Clone, Default)]
pub(crate) struct Guard {
    /// Which requests the audit log notes: an `audit.k8s.io/v1` Policy.
    #[arg(long, value_name = "FILE", requires = "audit_log_path")]
    pub(crate) audit_policy_file: Option<PathBuf>,
    /// The file to which the audit log is appended; `-` is standard output.
    #[arg(long, value_name = "FILE", requires = "audit_policy_file")]
    pub(crate) audit_log_path: Option<PathBuf>,
    /// What is encrypted on the disk: an `apiserver.config.k8s.io/v1` EncryptionConfiguration.
    #[arg(long, value_name = "FILE")]
    pub(crate) encryption_provider_config: Option<PathBuf>,
    /// The private key that signs the tokens of service accounts, in PEM: ECDSA on P-256, or RSA. Without one, a key is
    /// made.
    #[arg(long, value_name = "FILE")]
    pub(crate) service_account_signing_key_file: Option<PathBuf>,
}

impl Guard {
    /// Sets a cluster up so.
    ///
    /// # Errors
    /// Names the file that cannot be read or used.
    pub(crate) fn set_up(&self, mut builder: orlop::Builder) -> Result<orlop::Builder, String> {
        use std::sync::Arc;
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        if let (Some(policy_path), Some(log)) = (&self.audit_policy_file, &self.audit_log_path) {
            let policy = orlop::apiserver::AuditPolicy::parse(&read(policy_path)?)
                .map_err(|error| format!("{}: {error}", policy_path.display()))?;
            let sink = orlop::apiserver::AuditFile::open(log)
                .map_err(|error| format!("{}: {error}", log.display()))?;
            builder = builder.audit(policy, Arc::new(sink));
        }
        if let Some(path) = &self.encryption_provider_config {
            let encryption = orlop::apiserver::Encryption::parse(&read(path)?)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            builder = builder.encryption(Arc::new(encryption));
        }
        if let Some(path) = &self.service_account_signing_key_file {
            builder = builder.service_account_key(read(path)?);
        }
        Ok(builder)
    }
}

#[derive(Args)]
pub(crate) struct Apiserver {
    #[command(flatten)]
    pub(crate) guard: Guard,
    /// The address to serve on.
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub(crate) bind_address: IpAddr,
    /// The port to serve on.
    #[arg(long, default_value_t = 6443, value_name = "PORT")]
    pub(crate) secure_port: u16,
    /// Tokens of users: lines of `token,user,uid,"group1,group2"`.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_auth_file: Option<PathBuf>,
    /// Who may do what.
    #[arg(long, value_enum, default_value_t = AuthorizationMode::AlwaysAllow, ignore_case = true)]
    pub(crate) authorization_mode: AuthorizationMode,
    /// The range of Services' addresses.
    #[arg(long, default_value = "10.96.0.0/16", value_name = "CIDR")]
    pub(crate) service_cluster_ip_range: IpNet,
    /// Where objects are kept: `memory`, or `redb=DIR`.
    #[arg(long, default_value = "memory", value_name = "memory|redb=DIR")]
    pub(crate) store: StoreChoice,
    /// Where a kubeconfig with an administrator's certificate is written.
    #[arg(long, value_name = "PATH")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuthorizationMode {
    /// Everyone who is known may do everything.
    #[value(name = "AlwaysAllow")]
    AlwaysAllow,
    /// Roles and bindings decide.
    #[value(name = "RBAC")]
    Rbac,
}

#[derive(Args)]
pub(crate) struct Preflight {
    /// Runs the commands that mend what is wrong.
    #[arg(long)]
    pub(crate) apply: bool,
    /// Prints results as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Ports that must be free, instead of those of a control-plane node.
    #[arg(long, value_delimiter = ',', value_name = "PORTS")]
    pub(crate) ports: Vec<u16>,
}

/// `90s`, `2m`, `1h`, `500ms`, or a number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let number: f64 =
        digits.parse().map_err(|_| format!("{text:?} is no length of time: write 90s or 2m"))?;
    let seconds = match unit {
        "" | "s" => number,
        "ms" => number / 1000.0,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(format!("{unit:?} is no unit of time: use ms, s, m or h")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{text:?} is no length of time"))
}
