//! What the READMEs quote is what is there.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

#[test]
fn the_readmes_quote_the_example_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| fs::read_to_string(root.join(path)).expect(path);
    let example = read("examples/custom_filter.rs");
    let (_, code) = example.split_once("\n\n").expect("a blank line after the example's description");
    for readme in ["README.md", "README.ko.md"] {
        assert!(read(readme).contains(&format!("```rust\n{code}```\n")), "{readme} quotes other code");
    }
}

/// Two examples once waited for what they had not made, and nobody had run them.
#[test]
fn the_examples_that_the_readme_names_run_to_their_end() {
    let test = std::env::current_exe().expect("this program");
    let folder = test.ancestors().nth(2).expect("the folder of the build").join("examples");
    for (example, told) in [
        ("hello", "web-"),
        ("custom_filter", "runs on fast"),
        ("custom_controller", "removed "),
        ("custom_runtime", "hello from a process"),
        ("kube_rs_in_process", "colours has 2 entries"),
        ("data_locality", "report runs on logs"),
        ("cost_aware", "batch runs on spot"),
    ] {
        let program = folder.join(example);
        if !program.exists() {
            eprintln!("ignored: {example} is not built; `cargo test` without `--test` builds it");
            continue;
        }
        let run = || Command::new(&program).output().expect("it starts");
        let is_well = |output: &Output| {
            output.status.success() && String::from_utf8_lossy(&output.stdout).contains(told)
        };
        // What they wait for comes within seconds; not on a machine on which all tests run at once.
        let well = (0..3).any(|_| is_well(&run()));
        assert!(well, "{example}: {:?}", run());
    }
}
