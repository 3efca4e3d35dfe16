//! What came of a creation, and how another is made of it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use orlop_core::codec::{Born, Step, Template};
use orlop_core::store::{Op, Revision, View};
use orlop_core::{Entropy, Name};
use serde_json::Value;
use smallvec::SmallVec;

use super::super::admit::{Admitted, Answer, Call, Then};
use super::super::write::is_observed;
use super::asked::{Asked, Named, Question};
use super::reads::Reads;
use crate::auth::node_of;
use crate::status::Status;
use crate::tree::items;

/// Something that was drawn from chance for a new object. Noted in the order of drawing.
#[derive(Clone, Debug)]
pub(crate) enum Drawn {
    /// The end of its name, of so many letters.
    Suffix(usize),
    /// Its UID.
    Uid,
    /// Another text: how it begins, how many letters follow, and the places where it stands.
    Text { lead: &'static str, letters: usize, places: Vec<Vec<Step>> },
}

/// What chance gives.
#[derive(Default)]
struct Gifts {
    suffix: Option<Name>,
    uid: Name,
    texts: SmallVec<[Name; 1]>,
}

impl Gifts {
    fn draw(all: &[Drawn], entropy: &mut Entropy) -> Gifts {
        let mut out = Gifts::default();
        for drawn in all {
            match drawn {
                Drawn::Suffix(letters) => out.suffix = Some(entropy.suffix(*letters)),
                Drawn::Uid => out.uid = entropy.uuid(),
                Drawn::Text { lead, letters, .. } => {
                    let end = entropy.suffix(*letters);
                    out.texts.push(smol_str::format_smolstr!("{lead}{end}"));
                }
            }
        }
        out
    }

    fn texts(&self) -> SmallVec<[&str; 1]> {
        self.texts.iter().map(Name::as_str).collect()
    }
}

/// A creation, and what came of it.
pub(super) struct Likeness {
    question: Question,
    /// What a generated name begins with.
    prefix: Name,
    reads: Reads,
    drawn: Box<[Drawn]>,
    template: Template,
    /// When it was used last, in uses.
    pub(super) used: AtomicU64,
}

/// The moment of creation stands in the one entry of `managedFields`,
const MANAGED_SINCE: &[Step] =
    &[Step::Field("metadata"), Step::Field("managedFields"), Step::Item(0), Step::Field("time")];
/// and in the condition of a pod that is held back.
const GATED_SINCE: &[Step] =
    &[Step::Field("status"), Step::Field("conditions"), Step::Item(0), Step::Field("lastTransitionTime")];

impl Likeness {
    /// What is to be kept of a decision that was just made, `before` being chance as it was then. `None` where what came
    /// of it depends, or may depend, on more than is compared when the like is asked.
    pub(super) fn of(
        asked: &Asked<'_>,
        call: &Call<'_>,
        admitted: &Admitted,
        mut before: Entropy,
    ) -> Option<Kept> {
        let Admitted { txn, before: taken, charges, then, answer, code, warnings, audit } = admitted;
        let ([_], [Op::Put(key, body)]) = (&*txn.compares, &*txn.ops) else { return None };
        let Answer::Written(_, shown) = answer else { return None };
        let plain = *code == 201
            && Arc::ptr_eq(shown, body)
            && taken.ops.is_empty()
            && taken.compares.is_empty()
            && charges.is_empty()
            && matches!(then, Then::Nothing)
            && warnings.is_empty()
            && audit.is_empty();
        if !plain || node_of(asked.user).is_some() || is_observed(call) {
            return None;
        }
        // All that was drawn is noted, if drawing it again leaves chance as the decision left it.
        let gifts = Gifts::draw(&call.drawn, &mut before);
        if before.next_u64() != call.entropy.clone().next_u64() {
            return None;
        }
        let name = call.key.name.as_str();
        let prefix = match &gifts.suffix {
            Some(suffix) => name.strip_suffix(suffix.as_str())?,
            None => "",
        };
        let given = gifts.suffix.is_none().then_some(name);
        let object: Value = serde_json::from_slice(body.bytes()).ok()?;
        if !is_label(name) || names_more(&object) {
            return None;
        }
        let managed = object["metadata"].get("managedFields").is_some();
        if managed != call.managed.is_some() {
            return None;
        }
        let gated = !items(&object, &["status", "conditions"]).is_empty();
        let times: SmallVec<[&[Step]; 2]> =
            managed.then_some(MANAGED_SINCE).into_iter().chain(gated.then_some(GATED_SINCE)).collect();
        let places: Vec<Vec<&[Step]>> = call
            .drawn
            .iter()
            .filter_map(|drawn| match drawn {
                Drawn::Text { places, .. } => Some(places.iter().map(Vec::as_slice).collect()),
                _ => None,
            })
            .collect();
        let texts = gifts.texts();
        let born = Born { name, uid: &gifts.uid, at: call.now, others: &texts };
        let template =
            Template::of(body, &born, &times, &places.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        let everywhere = template.occurrences(&gifts.uid) == 1
            && template.occurrences(&call.now.to_string()) == 1 + times.len()
            && texts.iter().zip(&places).all(|(text, places)| template.occurrences(text) == places.len());
        if !everywhere {
            return None;
        }
        let question = Question::of(asked, given)?;
        Some(Kept {
            question,
            prefix: prefix.into(),
            drawn: call.drawn.clone().into(),
            template,
            key: key.clone(),
        })
    }

    /// Whether the same is asked, but for the name: the name that is asked for.
    pub(super) fn is_of<'a>(&self, asked: &Asked<'a>) -> Option<Named<'a>> {
        self.question.like(asked)
    }

    /// Whether all that was read would be read again.
    pub(super) fn holds(&self, view: &dyn View) -> bool {
        self.reads.hold(view)
    }

    /// The decision about the same, asked again, where [`Likeness::holds`]. `None` where it may be another one: the name
    /// is taken, or not as simple as the other was.
    pub(super) fn again(&self, call: &mut Call<'_>, named: Named<'_>) -> Option<Result<Admitted, Status>> {
        let before = call.entropy.clone();
        let done = self.make(call, named);
        if done.is_none() {
            *call.entropy = before;
        }
        done
    }

    fn make(&self, call: &mut Call<'_>, named: Named<'_>) -> Option<Result<Admitted, Status>> {
        let gifts = Gifts::draw(&self.drawn, call.entropy);
        let name: Name = match (named, &gifts.suffix) {
            (Named::As(name), None) => name.into(),
            (Named::Drawn, Some(suffix)) => smol_str::format_smolstr!("{}{suffix}", self.prefix),
            _ => return None,
        };
        if !is_label(&name) {
            return None;
        }
        call.key.name = name;
        let (kind, name) = (call.kind(), &call.key.name);
        let key = match call.storage_key() {
            Ok(key) => key,
            Err(status) => return Some(Err(status)),
        };
        if call.view.get(&key).is_some() {
            // Another name may be drawn yet.
            let given = named != Named::Drawn;
            return given.then(|| Err(Status::already_exists(&kind.group, &kind.plural, name)));
        }
        let born = Born { name, uid: &gifts.uid, at: call.now, others: &gifts.texts() };
        let body = Arc::new(self.template.fill(&born));
        let txn = call.put_at(key, body.clone(), Revision(0));
        let answer = Answer::Written(kind.clone(), body);
        Some(Ok(Admitted { txn, ..call.answer(201, answer) }))
    }

    /// Roughly the memory that it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        size_of::<Likeness>() + self.question.size() + self.reads.size() + self.template.size()
    }
}

/// A [`Likeness`] without what was read.
pub(super) struct Kept {
    question: Question,
    prefix: Name,
    drawn: Box<[Drawn]>,
    template: Template,
    key: Arc<str>,
}

impl Kept {
    pub(super) fn reading(self, reads: Reads) -> Likeness {
        let Kept { question, prefix, drawn, template, key } = self;
        let reads = reads.without(&key);
        Likeness { question, prefix, reads, drawn, template, used: AtomicU64::default() }
    }
}

/// Whether what else is in the object follows from its name, or is checked against it: the claims of a pod's ephemeral
/// volumes are named after it.
fn names_more(object: &Value) -> bool {
    items(object, &["spec", "volumes"]).iter().any(|volume| volume.get("ephemeral").is_some())
}

/// A name that is good for every kind, and no reason for a warning.
fn is_label(name: &str) -> bool {
    orlop_core::rules::names::dns_label(name).is_empty()
}
