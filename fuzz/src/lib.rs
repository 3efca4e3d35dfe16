//! What the fuzzers' targets share: one API for all runs of one.

use orlop_api::fuzz::{ALL, Target};

thread_local! {
    static TARGET: Target = Target::default();
}

/// Sends bytes by the way in of that name.
///
/// # Panics
/// When there is no such way, or it breaks a promise.
pub fn run(name: &str, bytes: &[u8]) {
    let Some((_, way)) = ALL.iter().find(|(known, _)| *known == name) else { panic!("there is no way in {name}") };
    TARGET.with(|target| way(target, bytes));
}
