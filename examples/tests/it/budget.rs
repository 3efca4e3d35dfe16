//! What a user of the library pulls in.

use std::collections::BTreeSet;
use std::process::Command;

/// The crates that a package depends on when it is built with these features, itself included.
fn tree(arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn dependencies_stay_within_their_budgets() {
    for (what, arguments, most) in [
        ("orlop-scheduler alone", &["-p", "orlop-scheduler"][..], 40),
        ("the facade as it comes", &["-p", "orlop"][..], 180),
    ] {
        let crates = tree(arguments);
        println!("{what}: {} crates of at most {most}", crates.len());
        assert!(crates.len() <= most, "{what} needs {} crates: {crates:?}", crates.len());
    }
}

#[test]
fn what_decides_needs_no_async_runtime() {
    for package in ["core", "scheduler", "netplan", "api", "controllers", "node"] {
        let name = format!("orlop-{package}");
        let crates = tree(&["-p", &name, "--no-default-features"]);
        for forbidden in ["tokio", "hyper", "redb", "async-std", "smol"] {
            assert!(!crates.contains(forbidden), "{name} pulls in {forbidden}");
        }
    }
}

/// A dependency that the table in ARCHITECTURE.md does not allow.
#[test]
fn crates_depend_only_on_what_the_table_allows() {
    let allowed: [(&str, &[&str]); 9] = [
        ("orlop-core", &[]),
        ("orlop-scheduler", &["orlop-core"]),
        ("orlop-netplan", &["orlop-core"]),
        ("orlop-runtime-mock", &["orlop-core"]),
        ("orlop-api", &["orlop-core", "orlop-netplan"]),
        ("orlop-apiserver", &["orlop-core", "orlop-netplan", "orlop-api"]),
        ("orlop-controllers", &["orlop-core", "orlop-netplan"]),
        ("orlop-node", &["orlop-core", "orlop-netplan"]),
        ("orlop-store-redb", &["orlop-core"]),
    ];
    for (package, allowed) in allowed {
        for found in tree(&["-p", package, "--all-features"]).iter().filter(|name| name.starts_with("orlop"))
        {
            assert!(
                found == package || allowed.contains(&found.as_str()),
                "{package} may not depend on {found}"
            );
        }
    }
}
