//! Defaults: what the recorded cases do not show.

use orlop_api::{defaults, validation};
use orlop_core::Kind;
use orlop_core::scheme::Scheme;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::trees::tree;

fn kinds() -> Vec<Kind> {
    Scheme::builtin().resources().map(|resource| resource.kind.clone()).collect()
}

#[test]
fn a_secret_keeps_its_texts_as_data() {
    let kind = Kind::namespaced("", "v1", "Secret", "secrets");
    let mut secret = json!({"data": {"a": "eA=="}, "stringData": {"a": "new", "b": "text"}});
    defaults::apply(&kind, &mut secret);
    defaults::settle(&kind, &mut secret);
    assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "bmV3", "b": "dGV4dA=="}}));
}

#[test]
fn what_a_pod_may_use_it_asks_for() {
    let kind = Kind::namespaced("", "v1", "Pod", "pods");
    let limits = json!({"cpu": "1", "memory": "1Gi"});
    let container =
        json!({"name": "a", "image": "b", "resources": {"limits": limits, "requests": {"cpu": "1.0001"}}});
    let mut pod = json!({"spec": {"containers": [container]}});
    defaults::apply(&kind, &mut pod);
    let requests = &pod["spec"]["containers"][0]["resources"]["requests"];
    assert_eq!(*requests, json!({"cpu": "1001m", "memory": "1Gi"}));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn nothing_panics_and_defaults_settle_at_once(a in tree(), b in tree()) {
        for kind in kinds() {
            let filled = |value: &Value| {
                let mut value = value.clone();
                defaults::apply(&kind, &mut value);
                defaults::settle(&kind, &mut value);
                value
            };
            let (old, new) = (filled(&a), filled(&b));
            prop_assert_eq!(&filled(&old), &old);
            let _ = validation::create(&kind, &a);
            let _ = validation::create(&kind, &new);
            let _ = validation::update(&kind, &old, &new);
        }
    }
}
