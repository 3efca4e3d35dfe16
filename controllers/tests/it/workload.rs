//! Deployments and ReplicaSets in a model world.

use expect_test::expect;
use orlop_controllers::{DeploymentController, GarbageCollector, ReplicaSetController};
use orlop_core::kinds::{Deployment, Pod, ReplicaSet};
use orlop_core::plan::Propagation;
use orlop_core::{Kind, Object};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::model::Model;

const KINDS: [Kind; 3] = [Deployment::KIND, ReplicaSet::KIND, Pod::KIND];

fn world() -> Model {
    Model::new(|runner| {
        runner.add(DeploymentController);
        runner.add(ReplicaSetController::default());
        runner.add(GarbageCollector);
        KINDS.into_iter().for_each(|kind| runner.follow(kind));
    })
}

fn deployment(replicas: i32, surge: Value, unavailable: Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 2,
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": "web:1"}]},
            },
        },
    })
}

fn image(n: usize) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": format!("web:{n}")}]}}}})
}

fn ready_pods(model: &Model) -> usize {
    let counts = |pod: &&Value| {
        pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["conditions"][0]["status"] == "True"
    };
    model.all(&Pod::KIND).iter().filter(|pod| counts(pod)).count()
}

#[test]
fn a_rollout_tells_its_story() {
    let mut model = world();
    model.put(&Deployment::KIND, deployment(2, json!(1), json!(0)));
    model.settle(&mut |_| {});
    model.edit(&Deployment::KIND, "default", "web", image(2));
    model.settle(&mut |_| {});
    let status = &model.get(&Deployment::KIND, "default", "web").unwrap()["status"];
    let conditions: Vec<String> = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| format!("{}={}:{}", c["type"], c["status"], c["reason"]).replace('"', ""))
        .collect();
    let hash = |text: &str| {
        let mut text = text.to_owned();
        for (i, set) in model.all(&ReplicaSet::KIND).iter().enumerate() {
            text = text.replace(set["metadata"]["name"].as_str().unwrap(), &format!("web-<{i}>"));
        }
        text
    };
    let told: Vec<String> =
        model.events.iter().filter(|event| event.contains("replica set")).map(|event| hash(event)).collect();
    expect![[r#"
        "ScalingReplicaSet": "Scaled up replica set web-<1> from 0 to 2"
        "ScalingReplicaSet": "Scaled up replica set web-<0> from 0 to 1"
        "ScalingReplicaSet": "Scaled down replica set web-<1> from 2 to 1"
        "ScalingReplicaSet": "Scaled up replica set web-<0> from 1 to 2"
        "ScalingReplicaSet": "Scaled down replica set web-<1> from 1 to 0"
        Available=True:MinimumReplicasAvailable
        Progressing=True:NewReplicaSetAvailable
        {"replicas":2,"updatedReplicas":2,"readyReplicas":2,"observedGeneration":2}"#]]
    .assert_eq(&format!(
        "{}\n{}\n{}",
        told.join("\n"),
        conditions.join("\n"),
        json!({
            "replicas": status["replicas"],
            "updatedReplicas": status["updatedReplicas"],
            "readyReplicas": status["readyReplicas"],
            "observedGeneration": status["observedGeneration"],
        })
    ));
}

#[test]
fn what_a_deployment_owns_goes_with_it() {
    for propagation in [Propagation::Background, Propagation::Foreground] {
        let mut model = world();
        model.put(&Deployment::KIND, deployment(3, json!(1), json!(0)));
        model.settle(&mut |_| {});
        model.delete(&Deployment::KIND, "default", "web", Some(propagation));
        model.settle(&mut |model| {
            let owner = model.get(&Deployment::KIND, "default", "web").is_some();
            let owned = !model.all(&ReplicaSet::KIND).is_empty();
            assert!(propagation == Propagation::Background || owner || !owned, "the owner goes last");
        });
        let left: usize = KINDS.iter().map(|kind| model.all(kind).len()).sum();
        assert_eq!(left, 0, "{propagation:?}");
    }
}

#[test]
fn orphans_stay_and_are_adopted() {
    let mut model = world();
    model.put(&Deployment::KIND, deployment(3, json!(1), json!(0)));
    model.settle(&mut |_| {});
    model.delete(&Deployment::KIND, "default", "web", Some(Propagation::Orphan));
    model.settle(&mut |_| {});
    let set = model.all(&ReplicaSet::KIND)[0].clone();
    assert_eq!(set["metadata"]["ownerReferences"], Value::Null);
    assert_eq!(ready_pods(&model), 3);

    model.put(&Deployment::KIND, deployment(3, json!(1), json!(0)));
    model.settle(&mut |_| {});
    let sets = model.all(&ReplicaSet::KIND);
    assert_eq!((sets.len(), &sets[0]["metadata"]["uid"]), (1, &set["metadata"]["uid"]));
    assert_eq!(sets[0]["metadata"]["ownerReferences"][0]["name"], "web");
}

#[test]
fn old_revisions_are_kept_to_the_limit() {
    let mut model = world();
    model.put(&Deployment::KIND, deployment(1, json!(1), json!(0)));
    for n in 2..7 {
        model.settle(&mut |_| {});
        model.edit(&Deployment::KIND, "default", "web", image(n));
    }
    model.settle(&mut |_| {});
    assert_eq!(model.all(&ReplicaSet::KIND).len(), 3, "two old ones and the new one");
}

fn amount() -> impl Strategy<Value = Value> {
    prop_oneof![(0..4i32).prop_map(|n| json!(n)), (0..100i32).prop_map(|n| json!(format!("{n}%")))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// However the controllers, the kubelet and the user interleave, a rolling update has never too few pods and never asks
    /// for too many, and comes to rest with the last template. (A surplus pod may outlive for a moment the size that its
    /// ReplicaSet has been given; Kubernetes counts what is asked for, too.)
    #[test]
    fn rolling_updates_keep_their_bounds(
        replicas in 1..7i32,
        surge in amount(),
        unavailable in amount(),
        steps in prop::collection::vec((0..8u8, any::<prop::sample::Index>()), 0..120),
    ) {
        let mut model = world();
        model.put(&Deployment::KIND, deployment(replicas, surge.clone(), unavailable.clone()));
        model.settle(&mut |_| {});
        let resolve = |amount: &Value, up: bool| {
            let amount: orlop_core::rules::IntOrString = serde_json::from_value(amount.clone()).unwrap();
            amount.scaled(replicas, up).unwrap()
        };
        let (most, mut fewest) = (replicas + resolve(&surge, true), replicas - resolve(&unavailable, false));
        if most == replicas && fewest == replicas {
            fewest = replicas - 1;
        }
        let mut check = |model: &Model| {
            let sets = model.all(&ReplicaSet::KIND);
            let all: i64 = sets.iter().filter_map(|set| set["spec"]["replicas"].as_i64()).sum();
            let all = i32::try_from(all).unwrap();
            let ready = i32::try_from(ready_pods(model)).unwrap();
            assert!(all <= most, "{all} pods, at most {most} expected");
            assert!(ready >= fewest, "{ready} ready pods, at least {fewest} expected");
        };
        let mut version = 1;
        for (step, pick) in steps {
            match step {
                0 => {
                    // ReplicaSets of one second have no order, and then Kubernetes' rule has a gap.
                    model.now = model.now + std::time::Duration::from_secs(1);
                    version += 1;
                    model.edit(&Deployment::KIND, "default", "web", image(version));
                }
                1..4 => {
                    model.kubelet(pick.index(64));
                }
                _ => {
                    model.act(&mut check);
                }
            }
            check(&model);
        }
        model.settle(&mut check);
        prop_assert_eq!(i32::try_from(ready_pods(&model)).unwrap(), replicas);
        let image = format!("web:{version}");
        for pod in model.all(&Pod::KIND) {
            prop_assert_eq!(&pod["spec"]["containers"][0]["image"], image.as_str());
        }

        // A world at rest stays so: looked at anew, nothing is to be done.
        let mut again = world();
        for kind in KINDS {
            for object in model.all(&kind) {
                again.put(&kind, object.clone());
            }
        }
        again.now = model.now;
        prop_assert!(!again.act(&mut |_| {}), "something was left to do");
    }
}
