//! Where HTTP requests go.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::fixture::Cluster;

fn class(name: &str, controller: &str, default: bool) -> Value {
    let mut class =
        json!({"kind": "IngressClass", "metadata": {"name": name}, "spec": {"controller": controller}});
    if default {
        class["metadata"]["annotations"] = json!({"ingressclass.kubernetes.io/is-default-class": "true"});
    }
    class
}

/// `host path type service` in each line; the first word may be `-` for no host.
fn ingress(name: &str, class: &str, created: &str, rules: &str) -> Value {
    let rules: Vec<Value> = rules
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let [host, path, kind, service] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let host = if host == "-" { "" } else { host };
            json!({"host": host, "http": {"paths": [{"path": path, "pathType": kind,
                "backend": {"service": {"name": service, "port": {"number": 80}}}}]}})
        })
        .collect();
    json!({"kind": "Ingress", "metadata": {"name": name, "namespace": "default", "creationTimestamp": created},
        "spec": {"ingressClassName": class, "rules": rules}})
}

const OLD: &str = "2026-01-01T00:00:00Z";
const NEW: &str = "2026-01-02T00:00:00Z";

fn check(objects: Vec<Value>, requests: &[&str], expected: Expect) {
    let mut cluster = Cluster::new();
    let plan = cluster.put(objects);
    let lines = requests.iter().map(|request| {
        let at = request.find('/').unwrap();
        let to = plan.ingress.route(&request[..at], &request[at..]);
        format!("{request} -> {}\n", to.map_or("nowhere", |route| route.service.as_str()))
    });
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn hosts_and_paths() {
    let rules = "
        shop.example.com / Prefix shop
        shop.example.com /cart Prefix cart
        shop.example.com /cart/pay Exact pay
        shop.example.com /api/ ImplementationSpecific api
        *.example.com / Prefix wild
        - /health Exact health
    ";
    check(
        vec![ingress("i", "", OLD, rules)],
        &[
            "shop.example.com/",
            "SHOP.example.com:8080/x",
            "shop.example.com/cart",
            "shop.example.com/cart/",
            "shop.example.com/cart/1",
            "shop.example.com/cartoon",
            "shop.example.com/cart/pay",
            "shop.example.com/cart/pay/",
            "shop.example.com/api",
            "shop.example.com/api/v1",
            "foo.example.com/",
            "a.foo.example.com/",
            "example.com/",
            "foo.example.com/health",
            "other.org/health",
            "other.org/healthy",
        ],
        expect![[r#"
            shop.example.com/ -> shop
            SHOP.example.com:8080/x -> shop
            shop.example.com/cart -> cart
            shop.example.com/cart/ -> cart
            shop.example.com/cart/1 -> cart
            shop.example.com/cartoon -> shop
            shop.example.com/cart/pay -> pay
            shop.example.com/cart/pay/ -> cart
            shop.example.com/api -> api
            shop.example.com/api/v1 -> api
            foo.example.com/ -> wild
            a.foo.example.com/ -> nowhere
            example.com/ -> nowhere
            foo.example.com/health -> wild
            other.org/health -> health
            other.org/healthy -> nowhere
        "#]],
    );
}

#[test]
fn ties_and_defaults() {
    let mut fallback = ingress("fallback", "", NEW, "");
    fallback["spec"]["defaultBackend"] = json!({"service": {"name": "fallback", "port": {"name": "http"}}});
    check(
        vec![
            ingress("b", "", NEW, "a.org /x Prefix younger\na.org /y Prefix prefix"),
            ingress("c", "", OLD, "a.org /x Prefix older"),
            ingress("d", "", NEW, "a.org /y Exact exact"),
            fallback,
        ],
        &["a.org/x", "a.org/y", "a.org/y/z", "a.org/z", "b.org/"],
        expect![[r#"
            a.org/x -> older
            a.org/y -> exact
            a.org/y/z -> prefix
            a.org/z -> fallback
            b.org/ -> fallback
        "#]],
    );
}

#[test]
fn classes() {
    let rule = |service: &str| format!("{service}.org / Prefix {service}");
    let mut annotated = ingress("e", "", OLD, &rule("annotated"));
    annotated["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": "theirs"});
    check(
        vec![
            class("ours", "orlop.dev/ingress", false),
            class("theirs", "k8s.io/ingress-nginx", true),
            ingress("a", "ours", OLD, &rule("a")),
            ingress("b", "theirs", OLD, &rule("b")),
            ingress("c", "missing", OLD, &rule("c")),
            ingress("d", "", OLD, &rule("d")),
            annotated,
        ],
        &["a.org/", "b.org/", "c.org/", "d.org/", "annotated.org/"],
        expect![[r#"
            a.org/ -> a
            b.org/ -> nowhere
            c.org/ -> c
            d.org/ -> nowhere
            annotated.org/ -> nowhere
        "#]],
    );
}
