//! Names.

use expect_test::{Expect, expect};
use orlop_netplan::NetPlan;
use orlop_netplan::dns::{Answer, RecordType, resolve};
use serde_json::json;

use crate::fixture::{Cluster, node, pod, service, slice};

fn world() -> Cluster {
    let mut cluster = Cluster::new();
    let mut pets = slice(
        "pets",
        &[("pet-0", "10.244.1.5", "n1"), ("pet-1", "10.244.1.6", "n1"), ("web-1", "10.244.1.2", "n1")],
    );
    pets["endpoints"][0]["hostname"] = "pet-0".into();
    pets["endpoints"][1]["conditions"]["ready"] = false.into();
    let mut dual = service("dual", "10.96.0.21");
    dual["spec"]["clusterIPs"] = json!(["10.96.0.21", "fd00:96::21"]);
    cluster.put([
        service("web", "10.96.0.20"),
        dual,
        service("pets", "None"),
        service("empty", "None"),
        json!({"kind": "Service", "metadata": {"name": "out", "namespace": "default"}, "spec": {"type": "ExternalName", "externalName": "www.example.com."}}),
        json!({"kind": "Service", "metadata": {"name": "alias", "namespace": "default"}, "spec": {"type": "ExternalName", "externalName": "web.default.svc.cluster.local"}}),
        json!({"kind": "Service", "metadata": {"name": "loop", "namespace": "default"}, "spec": {"type": "ExternalName", "externalName": "loop.default.svc.cluster.local"}}),
        pod("web-1", "10.244.1.2", "n1"),
        pod("pet-0", "10.244.1.5", "n1"),
        pod("pet-1", "10.244.1.6", "n1"),
        pets,
        node("n1", "172.18.0.2", "10.244.1.0/24"),
    ]);
    cluster
}

fn ask(plan: &NetPlan, question: &str) -> String {
    let (name, kind) = question.split_once(' ').unwrap();
    let kind = match kind {
        "A" => RecordType::A,
        "AAAA" => RecordType::Aaaa,
        "SRV" => RecordType::Srv,
        "PTR" => RecordType::Ptr,
        "TXT" => RecordType::Txt,
        "CNAME" => RecordType::Cname,
        "ANY" => RecordType::Any,
        _ => RecordType::Other,
    };
    match resolve(plan, name, kind) {
        Answer::Records { answers, additional } => {
            let lines = answers.iter().map(|r| format!("  {r}\n"));
            lines.chain(additional.iter().map(|r| format!("  + {r}\n"))).collect()
        }
        other => format!("  {other:?}\n"),
    }
}

fn check(questions: &[&str], expected: Expect) {
    let cluster = world();
    let plan = cluster.planner.plan();
    let text: String = questions.iter().map(|q| format!("{q}\n{}", ask(plan, q))).collect();
    expected.assert_eq(&text);
}

#[test]
fn services() {
    check(
        &[
            "web.default.svc.cluster.local A",
            "WEB.Default.svc.cluster.local. A",
            "web.default.svc.cluster.local AAAA",
            "dual.default.svc.cluster.local ANY",
            "_http._tcp.web.default.svc.cluster.local SRV",
            "_tcp.web.default.svc.cluster.local SRV",
            "_http._udp.web.default.svc.cluster.local SRV",
            "20.0.96.10.in-addr.arpa PTR",
            "1.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa PTR",
        ],
        expect![[r#"
            web.default.svc.cluster.local A
              web.default.svc.cluster.local. 5 IN A 10.96.0.20
            WEB.Default.svc.cluster.local. A
              web.default.svc.cluster.local. 5 IN A 10.96.0.20
            web.default.svc.cluster.local AAAA
              NoData
            dual.default.svc.cluster.local ANY
              dual.default.svc.cluster.local. 5 IN A 10.96.0.21
              dual.default.svc.cluster.local. 5 IN AAAA fd00:96::21
            _http._tcp.web.default.svc.cluster.local SRV
              _http._tcp.web.default.svc.cluster.local. 5 IN SRV 0 100 80 web.default.svc.cluster.local.
              + web.default.svc.cluster.local. 5 IN A 10.96.0.20
            _tcp.web.default.svc.cluster.local SRV
              NoData
            _http._udp.web.default.svc.cluster.local SRV
              NoName
            20.0.96.10.in-addr.arpa PTR
              20.0.96.10.in-addr.arpa. 5 IN PTR web.default.svc.cluster.local.
            1.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa PTR
              1.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa. 5 IN PTR dual.default.svc.cluster.local.
        "#]],
    );
}

#[test]
fn headless_services() {
    check(
        &[
            "pets.default.svc.cluster.local A",
            "pet-0.pets.default.svc.cluster.local A",
            "pet-1.pets.default.svc.cluster.local A",
            "10-244-1-2.pets.default.svc.cluster.local A",
            "_http._tcp.pets.default.svc.cluster.local SRV",
            "5.1.244.10.in-addr.arpa PTR",
            "empty.default.svc.cluster.local A",
        ],
        expect![[r#"
            pets.default.svc.cluster.local A
              pets.default.svc.cluster.local. 5 IN A 10.244.1.2
              pets.default.svc.cluster.local. 5 IN A 10.244.1.5
            pet-0.pets.default.svc.cluster.local A
              pet-0.pets.default.svc.cluster.local. 5 IN A 10.244.1.5
            pet-1.pets.default.svc.cluster.local A
              NoName
            10-244-1-2.pets.default.svc.cluster.local A
              10-244-1-2.pets.default.svc.cluster.local. 5 IN A 10.244.1.2
            _http._tcp.pets.default.svc.cluster.local SRV
              _http._tcp.pets.default.svc.cluster.local. 5 IN SRV 0 100 8080 10-244-1-2.pets.default.svc.cluster.local.
              _http._tcp.pets.default.svc.cluster.local. 5 IN SRV 0 100 8080 pet-0.pets.default.svc.cluster.local.
              + 10-244-1-2.pets.default.svc.cluster.local. 5 IN A 10.244.1.2
              + pet-0.pets.default.svc.cluster.local. 5 IN A 10.244.1.5
            5.1.244.10.in-addr.arpa PTR
              5.1.244.10.in-addr.arpa. 5 IN PTR pet-0.pets.default.svc.cluster.local.
            empty.default.svc.cluster.local A
              NoName
        "#]],
    );
}

#[test]
fn other_names() {
    check(
        &[
            "out.default.svc.cluster.local A",
            "alias.default.svc.cluster.local A",
            "alias.default.svc.cluster.local CNAME",
            "10-244-1-2.default.pod.cluster.local A",
            "10-244-1-2.other.pod.cluster.local A",
            "10-244-1-9.default.pod.cluster.local A",
            "6.1.244.10.in-addr.arpa PTR",
            "9.1.244.10.in-addr.arpa PTR",
            "8.8.8.8.in-addr.arpa PTR",
            "dns-version.cluster.local TXT",
            "default.svc.cluster.local A",
            "nobody.svc.cluster.local A",
            "nobody.default.svc.cluster.local A",
            "cluster.local A",
            "notcluster.local A",
            "www.example.com A",
        ],
        expect![[r#"
            out.default.svc.cluster.local A
              out.default.svc.cluster.local. 5 IN CNAME www.example.com.
            alias.default.svc.cluster.local A
              alias.default.svc.cluster.local. 5 IN CNAME web.default.svc.cluster.local.
              web.default.svc.cluster.local. 5 IN A 10.96.0.20
            alias.default.svc.cluster.local CNAME
              alias.default.svc.cluster.local. 5 IN CNAME web.default.svc.cluster.local.
            10-244-1-2.default.pod.cluster.local A
              10-244-1-2.default.pod.cluster.local. 5 IN A 10.244.1.2
            10-244-1-2.other.pod.cluster.local A
              NoName
            10-244-1-9.default.pod.cluster.local A
              NoName
            6.1.244.10.in-addr.arpa PTR
              6.1.244.10.in-addr.arpa. 5 IN PTR 10-244-1-6.default.pod.cluster.local.
            9.1.244.10.in-addr.arpa PTR
              NoName
            8.8.8.8.in-addr.arpa PTR
              NotOurs
            dns-version.cluster.local TXT
              dns-version.cluster.local. 5 IN TXT "1.1.0"
            default.svc.cluster.local A
              NoData
            nobody.svc.cluster.local A
              NoName
            nobody.default.svc.cluster.local A
              NoName
            cluster.local A
              NoData
            notcluster.local A
              NotOurs
            www.example.com A
              NotOurs
        "#]],
    );
}

#[test]
fn an_alias_of_itself_ends() {
    let cluster = world();
    let text = ask(cluster.planner.plan(), "loop.default.svc.cluster.local A");
    assert_eq!(text.lines().count(), 8);
}
