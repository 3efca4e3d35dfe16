//! `KubeSchedulerConfiguration`, as users have it.

use expect_test::{Expect, expect};
use orlop_core::yaml;
use orlop_scheduler::config::{Configuration, InvalidConfiguration, Plugin, Registry};
use orlop_scheduler::{Filter, NodeView, PodFacts, Profile, Score, Verdict};

fn read_with(text: &str, registry: &Registry) -> Result<Configuration, InvalidConfiguration> {
    let head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
    let value = yaml::decode(&format!("{head}{text}")).expect("it is YAML").value;
    Configuration::from_value(&value, registry)
}

fn read(text: &str) -> Configuration {
    read_with(text, &Registry::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// What is wrong, one a line.
fn wrong(text: &str, expected: Expect) {
    let error = read_with(text, &Registry::default()).expect_err("it is wrong");
    let lines: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
    expected.assert_eq(&(lines.join("\n") + "\n"));
}

fn plugins(profile: &Profile) -> String {
    let scores: Vec<String> = profile.scores().map(|(name, weight)| format!("{name} {weight}")).collect();
    format!("filter {}\nscore  {}\n", profile.filters().collect::<Vec<_>>().join(", "), scores.join(", "))
}

#[test]
fn an_empty_configuration_is_the_default_profile() {
    let configuration = read("");
    assert_eq!(configuration.profiles.len(), 1);
    assert_eq!(plugins(&configuration.profiles[0]), plugins(&Profile::default()));
    assert_eq!(format!("{:?}", configuration.profiles[0]), format!("{:?}", Profile::default()));
}

#[test]
fn what_users_have() {
    let configuration = read(
        "
parallelism: 16
leaderElection: {leaderElect: true, resourceName: kube-scheduler}
clientConnection: {kubeconfig: /etc/kubernetes/scheduler.conf, qps: 50}
percentageOfNodesToScore: 30
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 40
profiles:
- schedulerName: default-scheduler
  pluginConfig:
  - name: NodeResourcesFit
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeResourcesFitArgs
      ignoredResourceGroups: [example.com]
      scoringStrategy:
        type: RequestedToCapacityRatio
        resources: [{name: cpu, weight: 3}, {name: nvidia.com/gpu, weight: 5}]
        requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}
  - name: NodeAffinity
    args:
      addedAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms:
          - matchExpressions: [{key: foo, operator: In, values: [bar]}]
  - name: PodTopologySpread
    args:
      defaultConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway}]
      defaultingType: List
  - name: InterPodAffinity
    args: {hardPodAffinityWeight: 5}
  - name: DefaultPreemption
    args: {minCandidateNodesPercentage: 10, minCandidateNodesAbsolute: 100}
  - name: VolumeBinding
    args: {bindTimeoutSeconds: 600}
- schedulerName: no-scoring-scheduler
  plugins:
    preScore: {disabled: [{name: '*'}]}
    score: {disabled: [{name: '*'}]}
- schedulerName: heavy
  plugins:
    multiPoint:
      disabled: [{name: NodePorts}]
      enabled: [{name: TaintToleration, weight: 7}, {name: VolumeZone}]
    filter: {enabled: [{name: NodeAffinity}, {name: TaintToleration}], disabled: [{name: NodeName}]}
    score: {enabled: [{name: ImageLocality, weight: 9}], disabled: [{name: InterPodAffinity}]}
",
    );
    assert_eq!((configuration.backoff.first.as_secs(), configuration.backoff.max.as_secs()), (2, 40));
    let names: Vec<_> = configuration.profiles.iter().map(|p| p.name().as_str()).collect();
    assert_eq!(names, ["default-scheduler", "no-scoring-scheduler", "heavy"]);
    expect![[r#"
        filter NodeUnschedulable, NodeName, TaintToleration, NodeAffinity, NodePorts, NodeResourcesFit, PodTopologySpread, InterPodAffinity, DynamicResources
        score  
    "#]]
    .assert_eq(&plugins(&configuration.profiles[1]));
    expect![[r#"
        filter NodeAffinity, TaintToleration, NodeUnschedulable, NodeResourcesFit, PodTopologySpread, InterPodAffinity, DynamicResources, VolumeZone
        score  ImageLocality 9, TaintToleration 7, NodeAffinity 2, NodeResourcesFit 1, PodTopologySpread 2, NodeResourcesBalancedAllocation 1
    "#]]
    .assert_eq(&plugins(&configuration.profiles[2]));
}

#[test]
fn arguments_change_decisions() {
    let cluster = "node a cpu=10 foo=bar\nnode b cpu=2 foo=bar\nnode c cpu=1\npod p cpu=1\npod q cpu=1 gpu=1";
    let decide = |text: &str| {
        let mut rig = crate::rig::Rig::new(read(text).profiles);
        rig.put(cluster).run().log()
    };
    let args = |args: &str| format!("profiles: [{{pluginConfig: [{args}]}}]");
    expect![[r#"
        p -> b
        q -> b
    "#]]
    .assert_eq(&decide(&args(
        "{name: NodeResourcesFit, args: {ignoredResources: [example.com/gpu], scoringStrategy: {type: MostAllocated}}}, \
         {name: NodeAffinity, args: {addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: \
         {nodeSelectorTerms: [{matchExpressions: [{key: foo, operator: Exists}]}]}}}}",
    )));
    expect![[r#"
        p -> a
        q: 0/3 nodes are available: 1 node(s) didn't match scheduler-enforced node affinity, 2 Insufficient example.com/gpu. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.
    "#]]
    .assert_eq(&decide(&args(
        "{name: NodeAffinity, args: {addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: \
         {nodeSelectorTerms: [{matchExpressions: [{key: foo, operator: Exists}]}]}}}}",
    )));
}

#[test]
fn errors_name_the_field_in_kubernetes_form() {
    wrong(
        "
parallelism: 0
percentageOfNodesToScore: 101
podInitialBackoffSeconds: 5
podMaxBackoffSeconds: 3
leaderElectoin: {}
extenders: [{urlPrefix: 'http://127.0.0.1'}]
profiles:
- schedulerName: a
  plugins:
    score: {enabled: [{name: NodeAfinity, weight: -1}, {name: NodePorts}]}
    fliter: {}
  pluginConfig:
  - {name: NodeResourcesFit, args: {scoringStrategy: {type: Least, resources: [{name: cpu, weight: 101}]}}}
  - {name: NodeResourcesFit, args: {}}
  - {name: Mine, args: {}}
  - {name: ImageLocality, args: {x: 1}}
- schedulerName: a
- schedulerName: ''
",
        expect![[r#"
            strict decoding error: unknown field "leaderElectoin"
            parallelism: Invalid value: 0: should be an integer value greater than zero
            percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]
            extenders: Forbidden: decisions make no calls over the network; write a plugin instead
            podMaxBackoffSeconds: Invalid value: 3: must be greater than or equal to PodInitialBackoffSeconds
            profiles[0].pluginConfig[0].args.scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range [1, 100]
            profiles[0].pluginConfig[0].args.scoringStrategy.type: Unsupported value: "Least": supported values: "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"
            profiles[0].pluginConfig[1]: Duplicate value: "NodeResourcesFit"
            profiles[0].pluginConfig[2].name: Unsupported value: "Mine": supported values: "DefaultBinder", "DefaultPreemption", "DynamicResources", "GangScheduling", "ImageLocality", "InterPodAffinity", "NodeAffinity", "NodeName", "NodePorts", "NodeResourcesBalancedAllocation", "NodeResourcesFit", "NodeUnschedulable", "NodeVolumeLimits", "PodTopologySpread", "PrioritySort", "SchedulingGates", "TaintToleration", "VolumeBinding", "VolumeRestrictions", "VolumeZone"
            strict decoding error: unknown field "profiles[0].pluginConfig[3].args.x"
            strict decoding error: unknown field "profiles[0].plugins.fliter"
            profiles[0].plugins.score.enabled[0].weight: Invalid value: -1: must not be negative
            profiles[0].plugins.score.enabled[0].name: Unsupported value: "NodeAfinity": supported values: "DefaultBinder", "DefaultPreemption", "DynamicResources", "GangScheduling", "ImageLocality", "InterPodAffinity", "NodeAffinity", "NodeName", "NodePorts", "NodeResourcesBalancedAllocation", "NodeResourcesFit", "NodeUnschedulable", "NodeVolumeLimits", "PodTopologySpread", "PrioritySort", "SchedulingGates", "TaintToleration", "VolumeBinding", "VolumeRestrictions", "VolumeZone"
            profiles[0].plugins.score.enabled[1].name: Invalid value: "NodePorts": the plugin does not extend score
            profiles[2].schedulerName: Required value
            profiles[1].schedulerName: Duplicate value: "a"
        "#]],
    );
    wrong(
        "profiles: [{plugins: {queueSort: {disabled: [{name: PrioritySort}]}, bind: {disabled: [{name: '*'}]}}}]",
        expect![[r#"
            profiles[0].plugins.queueSort: Invalid value: 0: only one queue sort plugin required for profile with scheduler name "default-scheduler"
            profiles[0].plugins.bind: Required value: at least one bind plugin is needed for profile with scheduler name "default-scheduler"
        "#]],
    );
}

#[test]
fn bad_arguments_are_named_too() {
    let args =
        |name: &str, args: &str| format!("profiles: [{{pluginConfig: [{{name: {name}, args: {args}}}]}}]");
    wrong(
        &args(
            "PodTopologySpread",
            "{defaultingType: System, defaultConstraints: [{maxSkew: 0, topologyKey: 'a b', whenUnsatisfiable: Never, \
             labelSelector: {}}]}",
        ),
        expect![[r#"
            profiles[0].pluginConfig[0].args.defaultConstraints: Invalid value: [{"maxSkew":0,"topologyKey":"a b","whenUnsatisfiable":"Never","labelSelector":{}}]: when .defaultingType is System
            profiles[0].pluginConfig[0].args.defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)
            profiles[0].pluginConfig[0].args.defaultConstraints[0].topologyKey: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            profiles[0].pluginConfig[0].args.defaultConstraints[0].whenUnsatisfiable: Unsupported value: "Never": supported values: "DoNotSchedule", "ScheduleAnyway"
            profiles[0].pluginConfig[0].args.defaultConstraints[0].labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod
        "#]],
    );
    wrong(
        &args(
            "NodeResourcesFit",
            "{kind: Other, scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: \
             {shape: [{utilization: 50, score: 11}, {utilization: 50, score: 1}]}}, ignoredResourceGroups: [a/b]}",
        ),
        expect![[r#"
            profiles[0].pluginConfig[0].args.kind: Unsupported value: "Other": supported values: "NodeResourcesFitArgs"
            profiles[0].pluginConfig[0].args.ignoredResourceGroups[0]: Invalid value: "a/b": resource group name can't contain '/'
            profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio.shape[0].score: Invalid value: 11: not in valid range [0, 10]
            profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio.shape[1].utilization: Invalid value: 50: utilization values must be sorted in increasing order
        "#]],
    );
    wrong(
        &args("InterPodAffinity", "{hardPodAffinityWeight: 101}"),
        expect![[r#"
            profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]
        "#]],
    );
    wrong(
        &args("DefaultPreemption", "{minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}"),
        expect![[r#"
            profiles[0].pluginConfig[0].args.minCandidateNodesPercentage: Invalid value: 0: cannot be zero at the same time as minCandidateNodesAbsolute
        "#]],
    );
    wrong(
        &args(
            "NodeAffinity",
            "{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: \
             [{matchExpressions: [{key: a, operator: Near, values: [b]}, {key: a, operator: In}]}]}}}",
        ),
        expect![[r#"
            profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator: Unsupported value: "Near": supported values: "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"
            profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[1]: Invalid value: {"key":"a","operator":"In"}: values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty
        "#]],
    );
    wrong(
        &args("VolumeBinding", "{bindTimeoutSeconds: -1}"),
        expect![[r#"
            profiles[0].pluginConfig[0].args.bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value
        "#]],
    );
    wrong(
        &args("NodeResourcesBalancedAllocation", "{resources: [{name: cpu, weight: 2}]}"),
        expect![[r#"
            profiles[0].pluginConfig[0].args.resources[0].weight: Invalid value: 2: resource weight of cpu not in valid range [1, 1]
        "#]],
    );
}

#[test]
fn the_kind_must_be_right() {
    let error = Configuration::from_json(r#"{"apiVersion": "v1", "kind": "Pod"}"#, &Registry::default());
    expect![[r#"[apiVersion: Unsupported value: "v1": supported values: "kubescheduler.config.k8s.io/v1", kind: Unsupported value: "Pod": supported values: "KubeSchedulerConfiguration"]"#]]
        .assert_eq(&error.expect_err("a Pod is no configuration").to_string());
    let error = Configuration::from_json("{", &Registry::default()).expect_err("no JSON");
    assert!(error.to_string().contains("this is not JSON"), "{error}");
}

/// One plugin at two points, with arguments.
#[derive(Clone)]
struct Tier(String);

impl Filter for Tier {
    fn name(&self) -> &str {
        "Tier"
    }
    fn filter(&self, _: &PodFacts, node: &NodeView<'_>) -> Verdict {
        Verdict::fits_or(node.label("tier").is_some(), || Verdict::refuse_firmly("node(s) had no tier"))
    }
}

impl Score for Tier {
    fn name(&self) -> &str {
        "Tier"
    }
    fn score(&self, _: &PodFacts, node: &NodeView<'_>) -> i64 {
        if node.label("tier") == Some(&self.0) { 100 } else { 0 }
    }
}

#[test]
fn plugins_of_ones_own() {
    let registry = Registry::default()
        .plugin("Tier", |args| {
            let tier = args["tier"].as_str().ok_or("tier must be a string")?;
            Ok(Plugin::default().filter(Tier(tier.to_owned())).score(Tier(tier.to_owned())))
        })
        .with_volumes();
    let text = |args: &str| {
        format!(
            "profiles: [{{plugins: {{multiPoint: {{enabled: [{{name: Tier, weight: 50}}]}}}}, pluginConfig: [{{name: Tier, args: {args}}}]}}]"
        )
    };
    let error = read_with(&text("{tier: 3}"), &registry).expect_err("a tier is text");
    assert_eq!(
        error.to_string(),
        "profiles[0].pluginConfig[0].args: Invalid value: {\"tier\":3}: tier must be a string"
    );
    let configuration = read_with(&text("{tier: gold}"), &registry).expect("it is right");
    assert!(configuration.profiles[0].filters().any(|name| name == "VolumeBinding"));
    let mut rig = crate::rig::Rig::new(configuration.profiles);
    rig.put("node a tier=lead cpu=64\nnode b tier=gold\nnode c cpu=64\npod p").run();
    assert_eq!(rig.log(), "p -> b\n");
}
