//! The reference cluster: a Kubernetes-compatible cluster in one process.

/// Prints a line. A reader that has gone, as in `orlop up | head`, is no reason to end.
macro_rules! say {
    ($($part:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($part)*)));
    }};
}

mod apiserver;
mod ask;
mod client;
mod descriptors;
mod options;
mod preflight;
mod progress;
mod scheduling;
mod summary;
mod up;

use std::process::ExitCode;

use clap::Parser;
use options::{Command, Options};

/// Objects are many small allocations, made on one thread and freed on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("ORLOP_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    descriptors::raise_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads to run on: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = match options.command {
        Command::Up(up) => runtime.block_on(up::run(up)),
        Command::Apiserver(apiserver) => runtime.block_on(apiserver::run(apiserver)),
        Command::Preflight(preflight) => preflight::run(&preflight),
        Command::Why(why) => runtime.block_on(ask::why(why)),
        Command::Fit(fit) => runtime.block_on(ask::fit(fit)),
        Command::WhatIf(what_if) => runtime.block_on(ask::what_if(what_if)),
    };
    // What still runs has nothing left to do for anyone.
    runtime.shutdown_background();
    outcome
}
