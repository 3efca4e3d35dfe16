//! Loads any server that speaks Kubernetes' API, and prints what it answers in a second.
//!
//! `cargo run --release -p orlop-benches --bin api-load -- --server https://127.0.0.1:6443 --token T --insecure`, or, with
//! `cargo build --release -p orlop-examples --bin orlop` before, `api-load --self`, which starts the server itself, with
//! either store, and prints a table of what is measured and what is aimed at.
//!
//! Server and load share the machine, as in `../shared/load`; unlike that script's, this reader of watches keeps up with
//! a million events a second. `bare` measures, with answers of the sizes that the server gave, a server that does nothing
//! but send them over TLS: what the machine can do at most.

mod bare;
mod http;
mod measures;
mod own;

use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};

use http::Target;
use measures::{LIST, Measures, PROBE, TABLE};

/// Loads a Kubernetes-compatible API server and prints figures, one line each.
#[derive(Parser)]
#[command(name = "api-load")]
struct Args {
    /// The server, `https://127.0.0.1:6443`.
    #[arg(long, required_unless_present_any = ["bare_server", "own"])]
    server: Option<String>,
    /// Starts the server that is measured: `orlop`, beside this program.
    #[arg(long = "self", conflicts_with = "server")]
    own: bool,
    /// A bearer token of someone who may do everything in the namespaces `default` and `list1k`.
    #[arg(long, default_value = "")]
    token: String,
    /// The authority of the server's certificate, in PEM.
    #[arg(long, conflicts_with = "insecure")]
    ca: Option<std::path::PathBuf>,
    /// Takes any certificate.
    #[arg(long)]
    insecure: bool,
    /// What is measured.
    #[arg(long, value_delimiter = ',', default_value = "create,get,list,table,watch,bare")]
    only: Vec<String>,
    /// How long each measure but that of watches takes, in seconds.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// The clients of the measures with many.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// How many watch.
    #[arg(long, default_value_t = 100)]
    watchers: usize,
    /// How many objects are created under their eyes.
    #[arg(long, default_value_t = 2000)]
    writes: usize,
    /// One line of JSON for each measure.
    #[arg(long)]
    json: bool,
    /// Is the server that `bare` measures.
    #[arg(long, hide = true)]
    bare_server: bool,
}

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// That of the program `orlop`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Outcome<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if args.bare_server {
        return runtime.block_on(bare::serve());
    }
    match args.own {
        true => runtime.block_on(own::all(&args)),
        false => runtime.block_on(load(args)),
    }
}

async fn load(args: Args) -> Outcome<()> {
    let server = args.server.as_deref().unwrap_or_default();
    let target = Target::new(server, &args.token, args.ca.as_deref(), args.insecure)?;
    let mut measures = Measures {
        seconds: Duration::from_secs(args.seconds),
        run: std::process::id(),
        sizes: Vec::new(),
        target,
    };
    let wanted = |name: &str| args.only.iter().any(|only| only == name);
    let say = |name: &str, figures: Value| show(args.json, name, &figures);
    measures.account().await?;
    if wanted("create") {
        say("create-configmap c=1", measures.create("configmaps", 1).await?);
        say(&format!("create-pod c={}", args.clients), measures.create("pods", args.clients).await?);
    }
    if wanted("get") || wanted("list") || wanted("table") {
        measures.seed().await?;
    }
    if wanted("get") {
        say(&format!("get-pod c={}", args.clients), measures.get(PROBE, "*/*", args.clients).await?);
    }
    if wanted("list") {
        say("list-1000-configmaps c=4", measures.get(LIST, "*/*", 4).await?);
    }
    if wanted("table") {
        say("table-1000 c=4", measures.get(LIST, TABLE, 4).await?);
    }
    if wanted("bare") {
        let mut child = bare::start()?;
        let bare = Target::new(&child.address, "", None, true)?;
        for (size, clients) in measures.sizes.clone() {
            let mut bare = Measures { target: bare.clone(), sizes: Vec::new(), ..measures };
            say(
                &format!("bare {size} bytes c={clients}"),
                bare.get(&format!("/{size}"), "*/*", clients).await?,
            );
        }
        child.process.kill()?;
        child.process.wait()?;
    }
    if wanted("watch") {
        say("watch-fanout", measures.watch(args.watchers, args.writes).await?);
    }
    Ok(())
}

fn show(as_json: bool, name: &str, figures: &Value) {
    if as_json {
        let mut line = json!({"measure": name});
        for (key, value) in figures.as_object().into_iter().flatten() {
            line[key] = value.clone();
        }
        println!("{line}");
        return;
    }
    let figures = figures.as_object().into_iter().flatten();
    let figures: Vec<String> = figures.map(|(key, value)| format!("{key} {value}")).collect();
    println!("{name}: {}", figures.join(", "));
}
