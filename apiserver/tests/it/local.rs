//! A fresh server in this process.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http_body::Body;
use http_body_util::Full;
use orlop_api::auth::{AlwaysAllow, Authenticators, Authorizer};
use orlop_api::rbac::Rbac;
use orlop_api::{Config, LocalApi};
use orlop_apiserver::{AnswerBody, Authentication, ServiceAccountTokens, Shell, TokenFile};
use orlop_core::store::MemoryStore;
use orlop_core::{Clock, Entropy, ManualClock, Timestamp};
use serde_json::Value;

use crate::conversations::Server;
use crate::wire::{Asked, recorded};

/// The users of the recordings.
pub(crate) const TOKENS: &str = "\
token-admin,admin,uid-admin,system:masters
token-alice,alice,uid-alice,\"dev,team-a\"
token-bob,bob,uid-bob
token-carol,carol,uid-carol,ops
token-dave,dave,uid-dave,dev
token-erin,erin,uid-erin
token-frank,frank,uid-frank
";

pub(crate) struct Local {
    shell: Shell,
    clock: Arc<ManualClock>,
    /// Watches under way.
    open: Vec<(Asked, http::response::Parts, AnswerBody, Vec<u8>)>,
}

impl Local {
    pub(crate) fn new(kind: &str) -> Local {
        let now: Timestamp = "2026-11-23T06:48:00Z".parse().expect("a time");
        let clock = Arc::new(ManualClock::at(now));
        let store = MemoryStore::new(clock.clone());
        let rbac = kind == "rbac";
        let authorizer: Arc<dyn Authorizer> = if rbac { Arc::new(Rbac) } else { Arc::new(AlwaysAllow) };
        let tokens = Arc::new(TokenFile::parse(TOKENS).expect("well-formed"));
        // The recorded server signed with RSA, and says so to whoever asks.
        let key = include_str!("../data/service-account.pem");
        let accounts = Arc::new(ServiceAccountTokens::from_pem(key, "192.0.2.1:16443").expect("a key"));
        let authenticator = Arc::new(Authenticators(vec![tokens.clone(), accounts.clone()]));
        let config = Config { authorizer, authenticator, tokens: accounts.clone(), ..Config::default() };
        let api = LocalApi::new(store, clock.clone(), Entropy::seeded(1), config);
        settle(&clock, api.bootstrap()).expect("a new cluster");
        let authentication =
            Authentication { tokens: vec![tokens], allow_anonymous: rbac, service_accounts: Some(accounts) };
        let shell = Shell::new(Arc::new(api), authentication, clock.clone());
        Local { shell, clock, open: Vec::new() }
    }

    fn request(&self, asked: &Asked) -> http::Response<AnswerBody> {
        let mut request = http::Request::builder().method(asked.method.as_str()).uri(&asked.path);
        for (name, value) in &asked.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(asked.body.clone())).expect("a request");
        settle(&self.clock, self.shell.handle(request, None))
    }
}

/// Completes what waits for nothing but time.
fn settle<T>(clock: &ManualClock, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        if let Some(at) = clock.next_deadline() {
            clock.advance_to(at);
        }
    }
    panic!("an answer never comes")
}

/// What a body has to say now; whether it is through.
fn drain(body: &mut AnswerBody, out: &mut Vec<u8>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match pin!(&mut *body).poll_frame(&mut context) {
            Poll::Ready(Some(Ok(frame))) => out.extend(frame.data_ref().into_iter().flatten()),
            Poll::Ready(_) => return true,
            Poll::Pending => return false,
        }
    }
}

impl Server for Local {
    fn send(&mut self, asked: &Asked) -> Value {
        let (head, mut body) = self.request(asked).into_parts();
        let mut bytes = Vec::new();
        if !drain(&mut body, &mut bytes) {
            self.clock.advance(Duration::from_secs(asked.timeout_seconds()));
            drain(&mut body, &mut bytes);
        }
        recorded(asked, &head, &bytes)
    }

    fn begin(&mut self, asked: &Asked) -> usize {
        let (head, mut body) = self.request(asked).into_parts();
        let mut bytes = Vec::new();
        drain(&mut body, &mut bytes);
        self.open.push((asked.clone(), head, body, bytes));
        self.open.len() - 1
    }

    fn end(&mut self, watch: usize) -> Value {
        let (asked, head, body, bytes) = &mut self.open[watch];
        if !drain(body, bytes) {
            self.clock.advance(Duration::from_secs(asked.timeout_seconds()));
            drain(body, bytes);
        }
        recorded(asked, head, bytes)
    }

    fn pause(&mut self, _time: Duration) -> bool {
        // Nothing here needs time.
        false
    }
}

#[test]
fn a_local_clock_only_moves_when_asked_to() {
    let server = Local::new("main");
    assert_eq!(server.clock.now().to_string(), "2026-11-23T06:48:00Z");
}
