//! `--self`: everything that the goals name, of a server that is started here, as one table.

use std::io::BufRead;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::http::Target;
use crate::measures::{LIST, Measures, PROBE, TABLE};
use crate::{Args, Outcome, bare};

const TOKEN: &str = "api-load";

/// A server of our own, which ends with this.
struct Own {
    process: Child,
    target: Target,
    _files: TempDir,
}

impl Drop for Own {
    fn drop(&mut self) {
        // It has ended already, where this fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Own {
    /// Starts `orlop apiserver`, which is looked for beside this program.
    fn start(durable: bool) -> Outcome<Own> {
        let program: PathBuf = std::env::current_exe()?.with_file_name("orlop");
        // Beside the program, for what is temporary is often kept in memory.
        let files = tempfile::tempdir_in(program.parent().ok_or("this program has no folder")?)?;
        let tokens = files.path().join("tokens.csv");
        std::fs::write(&tokens, format!("{TOKEN},load,load,system:masters\n"))?;
        let store = match durable {
            true => format!("redb={}", files.path().join("store").display()),
            false => "memory".to_owned(),
        };
        let mut process = Command::new(&program)
            .args(["apiserver", "--secure-port", "0", "--authorization-mode", "RBAC", "--store", &store])
            .arg("--token-auth-file")
            .arg(&tokens)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let out = process.stdout.take().ok_or("the server has no output")?;
        let mut line = String::new();
        std::io::BufReader::new(out).read_line(&mut line)?;
        let url = line.trim().rsplit(' ').next().unwrap_or_default();
        let target = Target::new(url, TOKEN, None, true)?;
        Ok(Own { process, target, _files: files })
    }

    fn measures(&self, args: &Args) -> Measures {
        Measures {
            target: self.target.clone(),
            seconds: Duration::from_secs(args.seconds),
            run: std::process::id(),
            sizes: Vec::new(),
        }
    }
}

/// What one goal asks for, beside what kube-apiserver 1.36.2 with etcd did on such a machine.
struct Goal {
    what: &'static str,
    /// In a second, and the slowest hundredth in milliseconds where that is known.
    kubernetes: (f64, Option<f64>),
    times: f64,
}

const CREATE_ONE: Goal =
    Goal { what: "ConfigMap creations, 1 client, on disk", kubernetes: (801.0, Some(5.5)), times: 4.0 };
const CREATE_MANY: Goal =
    Goal { what: "Pod creations, 32 clients, on disk", kubernetes: (1617.0, Some(55.0)), times: 8.0 };
const CREATE_MEMORY: Goal =
    Goal { what: "Pod creations, 32 clients, in memory", kubernetes: (1617.0, Some(55.0)), times: 15.0 };
const GET: Goal = Goal { what: "Pod reads, 32 clients", kubernetes: (6041.0, Some(21.0)), times: 10.0 };
const LISTS: Goal = Goal { what: "lists of 1,000, 4 clients", kubernetes: (276.0, None), times: 10.0 };
const TABLES: Goal = Goal { what: "tables of 1,000, 4 clients", kubernetes: (235.0, None), times: 10.0 };
const WATCH: Goal = Goal { what: "events to 100 watchers", kubernetes: (113_000.0, None), times: 10.0 };

/// Processor time in microseconds that this process and `other` have taken so far.
fn spent(other: u32) -> Outcome<(f64, f64)> {
    // In ticks, of which Linux counts a hundred in a second wherever it runs.
    let ticks = |process: &str| -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
        let field = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((field(11) + field(12)) * 10_000.0)
    };
    Ok((ticks(&other.to_string())?, ticks("self")?))
}

fn resident(process: u32) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes / 1024.0)
}

/// A line of the table, with what the bare server did and the processor time that each took.
fn row(goal: &Goal, figures: &Value, bare: Option<(&Value, (f64, f64))>, cpu: (f64, f64)) {
    let number = |key: &str| figures[key].as_f64().unwrap_or(0.0);
    let (rate, done) = match figures["delivered_per_s"].as_f64() {
        Some(rate) => (rate, number("delivered")),
        None => (number("rps"), number("done")),
    };
    let limit = bare.and_then(|(bare, _)| bare["rps"].as_f64());
    let each =
        |cpu: (f64, f64), done: f64| format!("{:.1} + {:.1}", cpu.0 / done.max(1.0), cpu.1 / done.max(1.0));
    let bare_cpu = bare.map(|(bare, cpu)| each(cpu, bare["done"].as_f64().unwrap_or(0.0)));
    let (times, slowest) = (goal.kubernetes.0 * goal.times, goal.kubernetes.1.map(|p99| p99 / 5.0));
    let wanted = limit.map_or(times, |limit| times.min(limit * 0.8));
    let or_dash = |number: Option<f64>| number.map_or("–".to_owned(), |number| format!("{number:.1}"));
    let p99 = figures["p99_ms"].as_f64();
    let met = rate >= wanted && p99.zip(slowest).is_none_or(|(p99, slowest)| p99 <= slowest);
    println!(
        "| {} | {rate:.0} | {wanted:.0} | {} | {} | {} | {} | {} | {} | {:.1} | {} |",
        goal.what,
        limit.map_or("–".to_owned(), |limit| format!("{limit:.0}")),
        or_dash(figures["p50_ms"].as_f64()),
        or_dash(p99),
        or_dash(slowest),
        each(cpu, done),
        bare_cpu.unwrap_or_else(|| "–".to_owned()),
        rate / goal.kubernetes.0,
        if met { "yes" } else { "no" }
    );
    if figures["unexpected"].as_u64().is_some_and(|failed| failed > 0) {
        println!("\n{} answers were not what was expected\n", figures["unexpected"]);
    }
}

/// Measures everything.
pub(crate) async fn all(args: &Args) -> Outcome<()> {
    println!(
        "| what | in a second | goal | bare | p50 ms | p99 ms | goal | µs of processor, server + load | of bare's | times kube-apiserver | met |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let durable = Own::start(true)?;
    let process = durable.process.id();
    durable.measures(args).account().await?;
    for (goal, plural, clients) in [(CREATE_ONE, "configmaps", 1), (CREATE_MANY, "pods", args.clients)] {
        let before = spent(process)?;
        let figures = durable.measures(args).create(plural, clients).await?;
        row(&goal, &figures, None, since(before, spent(process)?));
    }
    drop(durable);

    let own = Own::start(false)?;
    let process = own.process.id();
    let mut measures = own.measures(args);
    measures.account().await?;
    // Before the store is full, as in the script: its watch comes last, but what is there is passed over once only.
    measures.seed().await?;
    for (goal, path, accept, clients) in
        [(GET, PROBE, "*/*", args.clients), (LISTS, LIST, "*/*", 4), (TABLES, LIST, TABLE, 4)]
    {
        let mut child = bare::start()?;
        let size = measures.size(path, accept).await?;
        let mut only =
            Measures { target: Target::new(&child.address, "", None, true)?, ..own.measures(args) };
        let before = spent(child.process.id())?;
        let limit = only.get(&format!("/{size}"), "*/*", clients).await?;
        let taken = since(before, spent(child.process.id())?);
        child.process.kill()?;
        child.process.wait()?;
        let before = spent(process)?;
        let figures = measures.get(path, accept, clients).await?;
        row(&goal, &figures, Some((&limit, taken)), since(before, spent(process)?));
    }
    let before = spent(process)?;
    let figures = measures.create("pods", args.clients).await?;
    row(&CREATE_MEMORY, &figures, None, since(before, spent(process)?));
    let before = spent(process)?;
    let figures = measures.watch(args.watchers, args.writes).await?;
    row(&WATCH, &figures, None, since(before, spent(process)?));
    println!("\nThe server in memory held {:.0} MB at the end.", resident(process)?);
    Ok(())
}

fn since(before: (f64, f64), after: (f64, f64)) -> (f64, f64) {
    (after.0 - before.0, after.1 - before.1)
}
