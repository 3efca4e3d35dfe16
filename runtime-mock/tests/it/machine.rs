//! The machine, driven by hand.

use std::time::Duration;

use orlop_core::Timestamp;
use orlop_core::runtime::{
    Call, Check, ContainerId, ContainerSpec, ImagePull, LogOptions, Port, Probe, ProbeAnswer, ProbePurpose,
    Reply, RunState, RuntimeError, RuntimeEvent, SandboxId, SandboxSpec,
};
use orlop_runtime_mock::{Fault, MockMachine, Output, Policy, SCRIPT_ANNOTATION, Script};
use proptest::prelude::*;

/// A machine with a sandbox, and the image.
struct Bench {
    machine: MockMachine,
    now: Timestamp,
    sandbox: SandboxId,
    events: Vec<RuntimeEvent>,
}

impl Bench {
    fn new(policy: Policy, annotation: &str) -> Bench {
        let now = Timestamp::from_secs(100);
        let sandbox = SandboxId("".into());
        let mut bench = Bench { machine: MockMachine::new(policy), now, sandbox, events: Vec::new() };
        bench.call(Call::PullImage(ImagePull { image: "web:1".into(), ..ImagePull::default() })).unwrap();
        let mut spec = SandboxSpec { uid: "u1".into(), name: "p".into(), ..SandboxSpec::default() };
        spec.annotations.insert(SCRIPT_ANNOTATION.into(), annotation.into());
        match bench.call(Call::CreateSandbox(Box::new(spec))) {
            Ok(Reply::Sandbox(id)) => bench.sandbox = id,
            other => panic!("{other:?}"),
        }
        bench
    }

    /// Makes a call and moves on until it is answered.
    fn call(&mut self, call: Call) -> Result<Reply, RuntimeError> {
        let ticket = self.machine.call(self.now, call);
        loop {
            let mut found = None;
            for output in self.machine.poll(self.now) {
                match output {
                    Output::Reply(for_whom, reply) if for_whom == ticket => found = Some(reply),
                    Output::Reply(..) => {}
                    Output::Event(event) => self.events.push(event),
                }
            }
            match found {
                Some(reply) => return reply,
                None => self.now = self.machine.next_wake().expect("a call is answered"),
            }
        }
    }

    fn container(&mut self, attempt: u32) -> ContainerId {
        let spec =
            ContainerSpec { name: "web".into(), image: "web:1".into(), attempt, ..ContainerSpec::default() };
        match self.call(Call::CreateContainer(self.sandbox.clone(), Box::new(spec))) {
            Ok(Reply::Container(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self, id: &ContainerId) -> RunState {
        match self.call(Call::List) {
            Ok(Reply::List(list)) => {
                let mut all = list.into_iter().flat_map(|sandbox| sandbox.containers);
                all.find(|container| container.id == *id).expect("listed").state
            }
            other => panic!("{other:?}"),
        }
    }

    fn to(&mut self, secs: i64) {
        self.now = Timestamp::from_secs(secs);
        for output in self.machine.poll(self.now) {
            if let Output::Event(event) = output {
                self.events.push(event);
            }
        }
    }
}

#[test]
fn starting_takes_its_time() {
    let mut bench = Bench::new(Policy::default(), "");
    let id = bench.container(0);
    let begun = bench.now;
    let started = bench.call(Call::StartContainer(id.clone())).unwrap();
    assert_eq!(started, Reply::Started(begun + Duration::from_millis(150)));
    assert_eq!(bench.state(&id), RunState::Running(begun + Duration::from_millis(150)));
    assert!(bench.call(Call::StartContainer(id)).is_err(), "nothing starts twice");
}

#[test]
fn the_first_starts_may_crash() {
    let mut bench = Bench::new(Policy::default(), "exit 3 after 1s for 2 starts; start 0s");
    let codes: Vec<Option<i32>> = (0..4)
        .map(|attempt| {
            let id = bench.container(attempt);
            bench.call(Call::StartContainer(id.clone())).unwrap();
            bench.to(bench.now.secs() + 10);
            match bench.state(&id) {
                RunState::Exited(exit) => Some(exit.code),
                _ => None,
            }
        })
        .collect();
    assert_eq!(codes, [Some(3), Some(3), None, None]);
}

#[test]
fn what_ignores_a_stop_is_killed_when_its_grace_ends() {
    let mut bench = Bench::new(Policy::default(), "stop never; start 0s");
    let id = bench.container(0);
    bench.call(Call::StartContainer(id.clone())).unwrap();
    bench.call(Call::StopContainer(id.clone(), Duration::from_secs(30))).unwrap();
    bench.to(129);
    assert!(matches!(bench.state(&id), RunState::Running(_)));
    bench.to(131);
    match bench.state(&id) {
        RunState::Exited(exit) => {
            assert_eq!((exit.code, exit.signal, exit.finished.secs()), (137, Some(9), 130));
        }
        other => panic!("{other:?}"),
    }
    // A shorter grace replaces an earlier one.
    let id = bench.container(1);
    bench.call(Call::StartContainer(id.clone())).unwrap();
    bench.call(Call::StopContainer(id.clone(), Duration::from_secs(30))).unwrap();
    bench.call(Call::StopContainer(id.clone(), Duration::from_secs(1))).unwrap();
    bench.to(133);
    assert!(matches!(bench.state(&id), RunState::Exited(_)));
}

#[test]
fn logs_follow_from_script_and_clock() {
    let mut bench = Bench::new(Policy::default(), "start 0s; log \"begun\"; log \"tick\" after 1s every 2s");
    let id = bench.container(0);
    bench.call(Call::StartContainer(id.clone())).unwrap();
    bench.to(106);
    bench.machine.say(bench.now, &id, "GET / 200");
    let lines = |bench: &Bench, options: &LogOptions| -> Vec<String> {
        let lines = bench.machine.logs(bench.now, &id, options).unwrap();
        let show = |line: &orlop_core::runtime::LogLine| {
            let mut out = Vec::new();
            line.write_to(true, &mut out);
            String::from_utf8(out).unwrap().trim_start_matches("1970-01-01T00:01:").trim_end().to_owned()
        };
        lines.iter().map(show).collect()
    };
    assert_eq!(
        lines(&bench, &LogOptions::default()),
        [
            "40.000000000Z begun",
            "41.000000000Z tick",
            "43.000000000Z tick",
            "45.000000000Z tick",
            "46.000000000Z GET / 200"
        ]
    );
    let since = LogOptions { since: Some(Timestamp::from_secs(105)), tail: Some(3), ..LogOptions::default() };
    assert_eq!(lines(&bench, &since), ["45.000000000Z tick", "46.000000000Z GET / 200"]);
}

#[test]
fn faults_happen_once_and_are_told_apart() {
    let mut bench = Bench::new(Policy::default(), "");
    let away = RuntimeError::Unavailable("down".to_owned());
    bench.machine.inject(bench.now, Fault::FailCalls { count: 1, call: "list".into(), error: away.clone() });
    assert!(bench.call(Call::Info).is_ok(), "only calls of that name");
    assert_eq!(bench.call(Call::List), Err(away));
    assert!(bench.call(Call::List).is_ok());

    let id = bench.container(0);
    bench.machine.inject(bench.now, Fault::SlowStarts { count: 1, by: Duration::from_secs(5) });
    let begun = bench.now;
    bench.call(Call::StartContainer(id.clone())).unwrap();
    assert_eq!(bench.now.since(begun), Duration::from_millis(5150));

    bench.events.clear();
    bench.machine.inject(bench.now, Fault::LoseEvents(1));
    bench.machine.inject(bench.now, Fault::KillContainer(id.clone()));
    assert!(matches!(bench.state(&id), RunState::Exited(_)));
    assert_eq!(bench.events, [], "the end was not told, but is listed");

    let id = bench.container(1);
    bench.call(Call::StartContainer(id.clone())).unwrap();
    bench.events.clear();
    bench.machine.inject(bench.now, Fault::Reboot);
    match bench.call(Call::List) {
        Ok(Reply::List(list)) => assert!(!list[0].ready),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.events, []);
}

#[test]
fn an_unreadable_script_is_an_error_of_the_container() {
    let mut bench = Bench::new(Policy::default(), "explode");
    let spec = ContainerSpec { name: "web".into(), image: "web:1".into(), ..ContainerSpec::default() };
    let refused = bench.call(Call::CreateContainer(bench.sandbox.clone(), Box::new(spec)));
    assert!(matches!(refused, Err(RuntimeError::InvalidSpec(_))), "{refused:?}");
}

fn any_call(n: u8, arg: u8) -> Call {
    let sandbox = |n: u8| SandboxId(format!("p-{}", n % 8).into());
    let container = |n: u8| ContainerId(format!("p-c-{}-{}", n % 2, n % 32).into());
    let image = ["web:1", "web:missing"][usize::from(arg % 2)];
    match n % 10 {
        0 => Call::PullImage(ImagePull { image: image.into(), ..ImagePull::default() }),
        1 => Call::CreateSandbox(Box::new(SandboxSpec {
            uid: format!("u{}", arg % 4).into(),
            name: "p".into(),
            ..SandboxSpec::default()
        })),
        2 => Call::StopSandbox(sandbox(arg)),
        3 => Call::RemoveSandbox(sandbox(arg)),
        4 | 5 => Call::CreateContainer(
            sandbox(arg),
            Box::new(ContainerSpec {
                name: "c".into(),
                attempt: u32::from(arg % 2),
                image: image.into(),
                ..ContainerSpec::default()
            }),
        ),
        6 => Call::StartContainer(container(arg)),
        7 => Call::StopContainer(container(arg), Duration::from_secs(u64::from(arg % 3))),
        8 => Call::KillContainer(container(arg)),
        _ => Call::List,
    }
}

proptest! {
    /// Whatever is called when: every call is answered once, what ran ends once, and a second run is the same.
    #[test]
    fn every_call_is_answered_once(calls in prop::collection::vec((any::<u8>(), any::<u8>(), 0u64..400), 1..80)) {
        let run = || {
            let mut machine = MockMachine::new(Policy::all(Script::ends(Duration::from_secs(2), 1)));
            let mut now = Timestamp::from_secs(1);
            let mut tickets = Vec::new();
            let mut outputs = Vec::new();
            for (n, arg, pause) in &calls {
                tickets.push(machine.call(now, any_call(*n, *arg)));
                now = now + Duration::from_millis(*pause);
                outputs.extend(machine.poll(now));
            }
            while let Some(at) = machine.next_wake() {
                outputs.extend(machine.poll(at.max(now)));
            }
            (tickets, outputs)
        };
        let (tickets, outputs) = run();
        let mut answered: Vec<_> =
            outputs.iter().filter_map(|o| match o { Output::Reply(ticket, _) => Some(*ticket), _ => None }).collect();
        answered.sort();
        prop_assert_eq!(&answered, &tickets);
        let mut started = Vec::new();
        let mut ended = Vec::new();
        for output in &outputs {
            match output {
                Output::Event(RuntimeEvent::Started { container, .. }) => started.push(container.clone()),
                Output::Event(RuntimeEvent::Exited { container, exit, .. }) if exit.started.is_some() => ended.push(container.clone()),
                _ => {}
            }
        }
        started.sort();
        ended.sort();
        prop_assert_eq!(started, ended);
        prop_assert_eq!(run().1, outputs);
    }
}

/// A liveness probe of a port where nobody listens was answered all the same, though a Service's connection to it was
/// refused.
#[test]
fn a_port_that_nobody_declares_answers_no_probe() {
    let tcp = |port| Check::Tcp { host: "".into(), port };
    let http = |host: &str, port| Check::Http {
        host: host.into(),
        port,
        tls: false,
        path: "/healthz".into(),
        headers: Vec::new(),
    };
    let ask = |ports: &[u16], check: Check| {
        let mut bench = Bench::new(Policy::default(), "");
        let port = |number: &u16| Port { container: *number, bind: *number, ..Port::default() };
        let spec = ContainerSpec {
            name: "web".into(),
            image: "web:1".into(),
            ports: ports.iter().map(port).collect(),
            ..ContainerSpec::default()
        };
        let Ok(Reply::Container(id)) =
            bench.call(Call::CreateContainer(bench.sandbox.clone(), Box::new(spec)))
        else {
            panic!("a container is created");
        };
        bench.call(Call::StartContainer(id.clone())).expect("it starts");
        let probe = Probe { purpose: ProbePurpose::Liveness, check, timeout: Duration::from_secs(1) };
        match bench.call(Call::Probe(id, probe)) {
            Ok(Reply::Probe(ProbeAnswer::Success)) => "well".to_owned(),
            Ok(Reply::Probe(ProbeAnswer::Failure(seen))) => seen,
            other => panic!("{other:?}"),
        }
    };
    let refused = "dial tcp 127.0.0.1:81: connect: connection refused";
    assert_eq!(ask(&[80], tcp(80)), "well");
    assert_eq!(ask(&[80], tcp(81)), refused);
    assert_eq!(ask(&[80], http("", 81)), format!("Get \"http://127.0.0.1:81/healthz\": {refused}"));
    assert_eq!(ask(&[80, 81], http("", 81)), "well");
    assert_eq!(ask(&[80], http("elsewhere", 81)), "well", "what is elsewhere is not known");
    assert_eq!(ask(&[], tcp(81)), "well", "ports need not be declared");
    let grpc = Check::Grpc { port: 81, service: "".into() };
    assert_eq!(ask(&[80], grpc), "timeout: failed to connect service \"127.0.0.1:81\" within 1s");
}
