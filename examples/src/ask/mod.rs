//! Questions to a running cluster: `orlop why`, `orlop fit`, `orlop what-if drain`. Nothing is changed.

mod answers;
mod cluster;
mod fit;

use std::path::Path;
use std::process::ExitCode;

use orlop::base::Key;
use orlop::scheduler::{Change, PodFacts, Profile, schedule, what_if};
use serde::Serialize;
use serde_json::json;

use crate::client::Client;
use crate::options::{Asked, Fit, WhatIf, WhatIfCommand, Why};
use crate::scheduling;
use cluster::Seen;

/// Ties are broken as if the cluster's seed were this: the answer to one question is always the same.
const SEED: u64 = 0;

/// Prints an answer as a table or as JSON; an error on its own stream.
fn print<T: Serialize>(asked: &Asked, answer: Result<(T, String), Vec<String>>) -> ExitCode {
    match answer {
        Ok((data, _)) if asked.json => say!("{:#}", json!(data)),
        Ok((_, text)) => say!("{}", text.trim_end()),
        Err(problems) => {
            if asked.json {
                say!("{}", json!({"problems": problems}));
            } else {
                problems.iter().for_each(|problem| eprintln!("error: {problem}"));
            }
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The cluster as it is, and the profiles by which it is judged.
async fn look(asked: &Asked) -> Result<(Client, Seen, Vec<Profile>), Vec<String>> {
    let profiles = scheduling::configuration(asked.scheduler_config.as_deref())?.profiles;
    let client = Client::of(Path::new(&asked.kubeconfig)).map_err(|error| vec![error])?;
    let seen = Seen::of(&client).await.map_err(|error| vec![error])?;
    Ok((client, seen, profiles))
}

/// The profile that decides for a pod.
fn profile_of<'a>(profiles: &'a [Profile], pod: &PodFacts) -> Result<&'a Profile, Vec<String>> {
    let name = if pod.scheduler.is_empty() { Profile::DEFAULT } else { pod.scheduler.as_str() };
    let first = profiles.first().filter(|_| pod.scheduler.is_empty());
    profiles.iter().find(|profile| profile.name() == name).or(first).ok_or_else(|| {
        vec![format!(
            "{} names the scheduler {name:?}, which no profile is; bring its configuration with --scheduler-config FILE",
            pod.key
        )]
    })
}

/// `orlop why POD`.
pub(crate) async fn why(why: Why) -> ExitCode {
    let answer = answer_why(&why).await;
    print(&why.asked, answer)
}

async fn answer_why(why: &Why) -> Result<(answers::Why, String), Vec<String>> {
    let (client, mut seen, profiles) = look(&why.asked).await?;
    let namespace = why.namespace.as_deref().unwrap_or(&client.namespace);
    // `kubectl get -o name` writes `pod/NAME`.
    let name = ["pod/", "pods/", "po/"].iter().find_map(|kind| why.pod.strip_prefix(kind));
    let key = Key::new(namespace, name.unwrap_or(&why.pod));
    let Some(pod) = seen.pods.get(&key).cloned() else {
        let remedy = match why.namespace {
            Some(_) => "`kubectl get pods -A` lists those that there are",
            None => "choose its namespace with -n NAMESPACE",
        };
        return Err(vec![format!("there is no pod {key}; {remedy}")]);
    };
    let facts = PodFacts::from(&pod);
    let profile = profile_of(&profiles, &facts)?;
    // A pod that runs is asked about as if it were to be placed now.
    let runs_on = facts.node.clone();
    seen.snapshot.apply(Change::PodGone(key));
    let mut asked = facts.clone();
    asked.node = Default::default();
    let decision = schedule(&asked, &seen.snapshot, profile, SEED);
    let answer = answers::Why::new(&pod, &facts, runs_on, decision.explain());
    let text = answer.text();
    Ok((answer, text))
}

/// `orlop fit FILE`.
pub(crate) async fn fit(fit: Fit) -> ExitCode {
    let answer = answer_fit(&fit).await;
    print(&fit.asked, answer)
}

async fn answer_fit(fit: &Fit) -> Result<(Vec<answers::Fit>, String), Vec<String>> {
    // What is wrong with the files is said before anyone is asked.
    let wanted = fit::read(&fit.manifests)?;
    let (client, seen, profiles) = look(&fit.asked).await?;
    let mut answers = Vec::new();
    let mut snapshot = seen.snapshot;
    for mut wanted in wanted {
        wanted.default_namespace(&client.namespace);
        fit::prioritise(&mut wanted.pod, &seen.priorities);
        let pod = wanted.facts().map_err(|error| vec![error])?;
        let profile = profile_of(&profiles, &pod)?;
        let copies = wanted.copies(&pod);
        let decisions = what_if::place_all(&copies, &snapshot, profile, SEED);
        for (copy, decision) in copies.iter().zip(&decisions) {
            if let Some(node) = &decision.node {
                let mut placed = copy.clone();
                placed.node = node.clone();
                snapshot.apply(Change::Pod(placed));
            }
        }
        let room = what_if::room_for(&pod, &snapshot, profile, SEED, fit.at_most);
        answers.push(answers::Fit::new(wanted.title, &decisions, room));
    }
    let text = answers.iter().map(answers::Fit::text).collect::<Vec<_>>().join("\n");
    Ok((answers, text))
}

/// `orlop what-if drain NODE`.
pub(crate) async fn what_if(what_if: WhatIf) -> ExitCode {
    let WhatIfCommand::Drain(drain) = what_if.command;
    let answer = async {
        let (_, seen, profiles) = look(&drain.asked).await?;
        let profile = profiles.first().ok_or_else(|| vec!["the configuration has no profile".to_owned()])?;
        let drained = what_if::drain(&drain.node, &seen.snapshot, profile, SEED);
        let drained = drained.ok_or_else(|| vec![format!("there is no node {}", drain.node)])?;
        let text = answers::drain(&drained);
        Ok((drained, text))
    };
    print(&drain.asked, answer.await)
}
