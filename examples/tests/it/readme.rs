//! What the READMEs quote is what is there.

use std::fs;
use std::path::Path;

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
