//! What people do to a cluster, by chance: [`Workload`].

mod templates;

use std::future::Future;
use std::time::Duration;

use orlop_api::{Link, Request, ResourceId, Status, Verb};
use orlop_core::kinds::{Deployment, Namespace, Node, Pod, Service};
use orlop_core::{Action, Entropy, Key, Name, Object, Write};
use serde_json::{Value, json};

use crate::cluster::{Component, Control, pick};
use crate::faults::Switch;
use templates::Manner;

/// The longest pause between two actions.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A random mix: Deployments that come, grow, change (also to what cannot run) and go, pods of their own, Services,
/// namespaces, nodes that are cordoned, drained, crash and return.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The mean pause between two actions.
    pub every: Duration,
    /// How many replicas there are at most, all Deployments together.
    pub replicas_max: u64,
    /// How many pods there are at most besides.
    pub pods_max: usize,
    /// How many namespaces there are at most.
    pub namespaces_max: usize,
}

impl Workload {
    /// As much as suits so many nodes.
    pub fn for_nodes(nodes: usize) -> Workload {
        let nodes = nodes.max(1) as u64;
        Workload {
            every: Duration::from_millis((300_000 / nodes).clamp(500, 5_000)),
            replicas_max: nodes * 8,
            pods_max: nodes as usize * 2,
            namespaces_max: 3 + nodes as usize / 10,
        }
    }

    pub(crate) fn run(
        self,
        control: Control,
        entropy: Entropy,
        on: Switch,
    ) -> impl Future<Output = ()> + Send {
        let mut load = Load {
            link: control.link(),
            control,
            entropy,
            limits: self,
            next: 0,
            namespaces: vec!["default".to_owned()],
            apps: Vec::new(),
            pods: Vec::new(),
            services: Vec::new(),
            cordoned: Vec::new(),
        };
        async move {
            while on.is_on() {
                // What is refused, or lost in a fault, is not done: the next action may be another.
                let _ = load.act().await;
                let mean = load.limits.every.as_millis() as u64;
                let pause = Duration::from_millis(load.entropy.below(2 * mean)).min(PAUSE_MAX);
                load.control.sleep(pause).await;
            }
        }
    }
}

/// A Deployment of the workload.
struct App {
    key: Key,
    replicas: u64,
    good: bool,
}

struct Load {
    link: Link,
    control: Control,
    entropy: Entropy,
    limits: Workload,
    next: u64,
    namespaces: Vec<String>,
    apps: Vec<App>,
    pods: Vec<Key>,
    services: Vec<Key>,
    cordoned: Vec<usize>,
}

#[derive(Clone, Copy)]
enum Deed {
    CreateApp,
    ScaleApp,
    UpdateApp,
    SpoilApp,
    MendApp,
    DeleteApp,
    CreatePod,
    DeletePod,
    KillAppPod,
    CreateService,
    DeleteService,
    CreateNamespace,
    DeleteNamespace,
    Cordon,
    Drain,
    Uncordon,
    Crash,
}

/// How often what is done, of all.
const DEEDS: [(u64, Deed); 17] = [
    (14, Deed::CreateApp),
    (14, Deed::ScaleApp),
    (12, Deed::UpdateApp),
    (4, Deed::SpoilApp),
    (8, Deed::MendApp),
    (6, Deed::DeleteApp),
    (14, Deed::CreatePod),
    (8, Deed::DeletePod),
    (6, Deed::KillAppPod),
    (5, Deed::CreateService),
    (3, Deed::DeleteService),
    (2, Deed::CreateNamespace),
    (1, Deed::DeleteNamespace),
    (2, Deed::Cordon),
    (2, Deed::Drain),
    (4, Deed::Uncordon),
    (2, Deed::Crash),
];

impl Load {
    async fn act(&mut self) -> Result<(), Status> {
        let mut at = self.entropy.below(DEEDS.iter().map(|(weight, _)| weight).sum());
        let chosen = DEEDS.iter().find(|(weight, _)| {
            let found = at < *weight;
            at = at.saturating_sub(*weight);
            found
        });
        match chosen.map_or(Deed::CreateApp, |(_, deed)| *deed) {
            Deed::CreateApp => self.create_app().await,
            Deed::ScaleApp => self.scale_app().await,
            Deed::UpdateApp => self.update_app(true).await,
            Deed::SpoilApp => self.update_app(false).await,
            Deed::MendApp => self.mend_app().await,
            Deed::DeleteApp => self.delete_app().await,
            Deed::CreatePod => self.create_pod().await,
            Deed::DeletePod => self.delete_pod().await,
            Deed::KillAppPod => self.kill_app_pod().await,
            Deed::CreateService => self.create_service().await,
            Deed::DeleteService => self.delete_service().await,
            Deed::CreateNamespace => self.create_namespace().await,
            Deed::DeleteNamespace => self.delete_namespace().await,
            Deed::Cordon => self.cordon().await.map(drop),
            Deed::Drain => self.drain().await,
            Deed::Uncordon => self.uncordon().await,
            Deed::Crash => {
                self.crash();
                Ok(())
            }
        }
    }

    fn name(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}-{}", self.next)
    }

    fn namespace(&mut self) -> String {
        pick(&self.namespaces, &mut self.entropy).cloned().unwrap_or_default()
    }

    /// One of so many, if there are any.
    fn choose(&mut self, len: usize) -> Option<usize> {
        (len > 0).then(|| self.entropy.below(len as u64) as usize)
    }

    async fn create(&self, kind: orlop_core::Kind, object: Value) -> Result<(), Status> {
        self.link.perform(Write::create(kind, object)).await.map(drop)
    }

    async fn delete(&mut self, kind: orlop_core::Kind, key: Key) -> Result<(), Status> {
        let grace = (self.entropy.below(10) == 0).then_some(0);
        let mut write = Write::delete(kind, key);
        if let Action::Delete { grace: asked, .. } = &mut write.action {
            *asked = grace;
        }
        self.link.perform(write).await.map(drop)
    }

    fn room(&self) -> u64 {
        self.limits.replicas_max.saturating_sub(self.apps.iter().map(|app| app.replicas).sum())
    }

    async fn create_app(&mut self) -> Result<(), Status> {
        let room = self.room();
        if room == 0 {
            return self.delete_app().await;
        }
        let replicas = 1 + self.entropy.below(room.min(10));
        let (name, namespace) = (self.name("app"), self.namespace());
        let manner = Manner::good(&mut self.entropy);
        let template = manner.template(&name, 1, &mut self.entropy);
        let object = templates::deployment(&name, &namespace, replicas, template, &mut self.entropy);
        self.create(Deployment::KIND, object).await?;
        self.apps.push(App { key: Key::new(namespace, name), replicas, good: true });
        Ok(())
    }

    async fn scale_app(&mut self) -> Result<(), Status> {
        let room = self.room();
        let Some(at) = self.choose(self.apps.len()) else { return Ok(()) };
        let replicas = self.entropy.below((self.apps[at].replicas + room).min(20) + 1);
        let key = self.apps[at].key.clone();
        let patch = json!({"spec": {"replicas": replicas}});
        self.link.perform(Write::merge(Deployment::KIND, key, patch)).await?;
        self.apps[at].replicas = replicas;
        Ok(())
    }

    async fn update_app(&mut self, good: bool) -> Result<(), Status> {
        let Some(at) = self.choose(self.apps.len()) else { return Ok(()) };
        let manner = if good { Manner::good(&mut self.entropy) } else { Manner::bad(&mut self.entropy) };
        self.next += 1;
        let key = self.apps[at].key.clone();
        let template = manner.template(&key.name, self.next, &mut self.entropy);
        let patch = json!({"spec": {"template": template}});
        self.link.perform(Write::merge(Deployment::KIND, key, patch)).await?;
        self.apps[at].good = good;
        Ok(())
    }

    async fn mend_app(&mut self) -> Result<(), Status> {
        let Some(at) = self.apps.iter().position(|app| !app.good) else { return Ok(()) };
        let app = self.apps.remove(at);
        self.apps.push(app);
        let manner = Manner::good(&mut self.entropy);
        self.next += 1;
        let app = &self.apps[self.apps.len() - 1];
        let template = manner.template(&app.key.name, self.next, &mut self.entropy);
        let patch = json!({"spec": {"template": template}});
        self.link.perform(Write::merge(Deployment::KIND, app.key.clone(), patch)).await?;
        if let Some(app) = self.apps.last_mut() {
            app.good = true;
        }
        Ok(())
    }

    async fn delete_app(&mut self) -> Result<(), Status> {
        let Some(at) = self.choose(self.apps.len()) else { return Ok(()) };
        let propagation = match self.entropy.below(4) {
            0 => orlop_core::plan::Propagation::Foreground,
            _ => orlop_core::plan::Propagation::Background,
        };
        let mut write = Write::delete(Deployment::KIND, self.apps[at].key.clone());
        write.action = Action::Delete { grace: None, propagation: Some(propagation) };
        self.link.perform(write).await?;
        self.apps.remove(at);
        Ok(())
    }

    async fn create_pod(&mut self) -> Result<(), Status> {
        if self.pods.len() >= self.limits.pods_max {
            return self.delete_pod().await;
        }
        let (name, namespace) = (self.name("task"), self.namespace());
        let object = templates::pod(&name, &namespace, &mut self.entropy);
        self.create(Pod::KIND, object).await?;
        self.pods.push(Key::new(namespace, name));
        Ok(())
    }

    async fn delete_pod(&mut self) -> Result<(), Status> {
        let Some(at) = self.choose(self.pods.len()) else { return Ok(()) };
        let key = self.pods[at].clone();
        match self.delete(Pod::KIND, key).await {
            Err(status) if status.code != 404 => Err(status),
            _ => {
                self.pods.remove(at);
                Ok(())
            }
        }
    }

    async fn kill_app_pod(&mut self) -> Result<(), Status> {
        let Some(at) = self.choose(self.apps.len()) else { return Ok(()) };
        let key = self.apps[at].key.clone();
        let pods =
            self.list_pods(&key.namespace, |list| list.label_selector = format!("app={}", key.name)).await?;
        match pick(&pods, &mut self.entropy).cloned() {
            Some(pod) => self.delete(Pod::KIND, pod).await,
            None => Ok(()),
        }
    }

    async fn create_service(&mut self) -> Result<(), Status> {
        let Some(at) = self.choose(self.apps.len()) else { return Ok(()) };
        let app = self.apps[at].key.clone();
        let name = self.name("svc");
        let object = templates::service(&name, &app.namespace, &app.name, &mut self.entropy);
        self.create(Service::KIND, object).await?;
        self.services.push(Key::new(app.namespace, name));
        Ok(())
    }

    async fn delete_service(&mut self) -> Result<(), Status> {
        let Some(at) = self.choose(self.services.len()) else { return Ok(()) };
        self.link.perform(Write::delete(Service::KIND, self.services[at].clone())).await?;
        self.services.remove(at);
        Ok(())
    }

    async fn create_namespace(&mut self) -> Result<(), Status> {
        if self.namespaces.len() >= self.limits.namespaces_max {
            return Ok(());
        }
        let name = self.name("team");
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.create(Namespace::KIND, object).await?;
        self.namespaces.push(name);
        Ok(())
    }

    async fn delete_namespace(&mut self) -> Result<(), Status> {
        // The first one is the default one, which stays.
        let Some(at) = self.choose(self.namespaces.len() - 1).map(|at| at + 1) else { return Ok(()) };
        let name = self.namespaces[at].clone();
        self.link.perform(Write::delete(Namespace::KIND, Key::cluster(name.as_str()))).await?;
        self.namespaces.remove(at);
        self.apps.retain(|app| app.key.namespace != name);
        self.pods.retain(|key| key.namespace != name);
        self.services.retain(|key| key.namespace != name);
        Ok(())
    }

    async fn cordon(&mut self) -> Result<Option<Name>, Status> {
        let node = self.entropy.below(self.control.nodes() as u64) as usize;
        if self.cordoned.contains(&node) || self.cordoned.len() * 4 >= self.control.nodes() {
            return Ok(None);
        }
        let name = self.control.node_name(node);
        let patch = json!({"spec": {"unschedulable": true}});
        self.link.perform(Write::merge(Node::KIND, Key::cluster(name.clone()), patch)).await?;
        self.cordoned.push(node);
        Ok(Some(name))
    }

    async fn drain(&mut self) -> Result<(), Status> {
        let Some(node) = self.cordon().await? else { return Ok(()) };
        let pods = self.list_pods("", |list| list.field_selector = format!("spec.nodeName={node}")).await?;
        for pod in pods {
            let eviction = json!({
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": pod.name, "namespace": pod.namespace},
            });
            // A pod that is gone meanwhile, or may not go now, does not keep the others.
            let _ = self.link.perform(Write::create(Pod::KIND, eviction).on("eviction")).await;
        }
        Ok(())
    }

    async fn uncordon(&mut self) -> Result<(), Status> {
        let Some(at) = self.choose(self.cordoned.len()) else { return Ok(()) };
        uncordon(&self.link, self.control.node_name(self.cordoned[at])).await?;
        self.cordoned.remove(at);
        Ok(())
    }

    /// A node loses power, for longer or shorter than its absence is tolerated.
    fn crash(&mut self) {
        let nodes = self.control.nodes();
        let down = (0..nodes).filter(|node| !self.control.is_up(Component::Node(*node))).count();
        let node = self.entropy.below(nodes as u64) as usize;
        if down * 8 >= nodes || !self.control.is_up(Component::Node(node)) {
            return;
        }
        let away = Duration::from_secs(match self.entropy.below(3) {
            0 => 5 + self.entropy.below(30),
            1 => 60 + self.entropy.below(120),
            _ => 400 + self.entropy.below(400),
        });
        self.control.crash_node(node);
        let control = self.control.clone();
        self.control.spawn(async move {
            control.sleep(away).await;
            control.start(Component::Node(node));
        });
    }

    async fn list_pods(
        &self,
        namespace: &str,
        select: impl FnOnce(&mut orlop_api::ListOptions),
    ) -> Result<Vec<Key>, Status> {
        let mut options = orlop_api::Options::default();
        select(&mut options.list);
        let request = Request {
            user: self.link.user.clone(),
            verb: Verb::List,
            resource: ResourceId::from(&Pod::KIND),
            key: Key::new(namespace, ""),
            subresource: Name::default(),
            options,
            body: None,
        };
        let answer = self.link.api.call(request).await?;
        let orlop_api::request::Payload::List(_, list) = answer.payload else { return Ok(Vec::new()) };
        let keys = list.items.iter().filter_map(|stored| Some(stored.decode::<Pod>().ok()?.metadata.key()));
        Ok(keys.collect())
    }
}

async fn uncordon(link: &Link, node: Name) -> Result<(), Status> {
    let patch = json!({"spec": {"unschedulable": null}});
    link.perform(Write::merge(Node::KIND, Key::cluster(node), patch)).await.map(drop)
}

/// Lets every node take pods again.
pub(crate) async fn uncordon_all(control: &Control) {
    for node in 0..control.nodes() {
        // A node that never came up is not there.
        let _ = uncordon(&control.link(), control.node_name(node)).await;
    }
}
