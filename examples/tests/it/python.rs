//! The Python client from PyPI (`kubernetes`) against a cluster.

use std::process::{Command, Stdio};

use crate::sessions::with_cluster;
use crate::shared;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers: [{name: web, image: 'web:1'}]
";

#[test]
fn the_python_client_works() {
    let Some(python) = shared::python() else { return };
    with_cluster(POD, &["web"], move |dir| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client.py");
        let output = Command::new(python)
            .arg(script)
            .arg(dir.join("config"))
            .stdin(Stdio::null())
            .output()
            .expect("Python runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "ok\n");
    });
}
