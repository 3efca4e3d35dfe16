//! Where the recorded data and kubectl are.

use std::path::PathBuf;

/// A file of the recorded data: below `$ORLOP_SHARED`, by default `shared` beside the repository. `None`, after saying
/// so, where it is absent; a failure where `$ORLOP_REQUIRE` names it.
pub(crate) fn file(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ORLOP_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    present(root.join(name), "shared")
}

/// The kubectl on the machine.
pub(crate) fn kubectl() -> Option<PathBuf> {
    present(on_path("kubectl"), "kubectl")
}

/// Helm: `$ORLOP_HELM`, or the one on the machine.
pub(crate) fn helm() -> Option<PathBuf> {
    present(std::env::var_os("ORLOP_HELM").map_or_else(|| on_path("helm"), PathBuf::from), "helm")
}

/// A program where the shell would find it; else its bare name, at which there is nothing.
fn on_path(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| PathBuf::from(program))
}

/// A Python that has the package `kubernetes`: `$ORLOP_PYTHON`, or `python3`.
pub(crate) fn python() -> Option<PathBuf> {
    let python = std::env::var_os("ORLOP_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let mut import = std::process::Command::new(&python);
    let import = import.args(["-c", "import kubernetes"]).stderr(std::process::Stdio::null()).status();
    if import.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    assert!(!required("python"), "a Python with `kubernetes` is required but not there");
    eprintln!("ignored: there is no Python with the package `kubernetes`");
    None
}

fn required(what: &str) -> bool {
    std::env::var("ORLOP_REQUIRE").is_ok_and(|names| names.split(',').any(|name| name == what))
}

fn present(path: PathBuf, what: &str) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    assert!(!required(what), "{} is required but not there", path.display());
    eprintln!("ignored: {} is not there", path.display());
    None
}
