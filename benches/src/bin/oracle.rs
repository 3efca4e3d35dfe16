//! Answers recorded cases: `oracle FAMILY` reads them from standard input, one a line and without answers, and prints
//! one line of JSON for each.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        return refuse("which family?");
    };
    let Some(family) = orlop_benches::families().find(|family| family.name == name) else {
        return refuse(&format!("there is no family {name:?}"));
    };
    match run(family) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has had enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("oracle: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(family: &orlop_core::oracle::Family) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for (number, line) in io::stdin().lock().lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = orlop_benches::answer(family, &line)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {e}", number + 1)))?;
        writeln!(out, "{answer}")?;
    }
    out.flush()
}

fn refuse(why: &str) -> ExitCode {
    let known: Vec<&str> = orlop_benches::families().map(|family| family.name).collect();
    eprintln!("oracle: {why}\nusage: oracle FAMILY < cases.jsonl\nfamilies: {}", known.join(", "));
    ExitCode::from(2)
}
