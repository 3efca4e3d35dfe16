//! Lists that are asked for again and again, while nothing in them changes: [`Lists`].

use bytes::Bytes;
use orlop_api::ResourceId;
use orlop_api::render::{Encoding, Form, Want};
use orlop_api::request::ListOptions;
use orlop_core::{Name, Revision, Timestamp};
use parking_lot::Mutex;

/// As many questions are remembered.
const QUESTIONS_MAX: usize = 64;
/// The bytes of all answers that are kept, and of one.
const BYTES_MAX: usize = 24 << 20;
const ANSWER_MAX: usize = 8 << 20;

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Question {
    pub(crate) resource: ResourceId,
    pub(crate) namespace: Name,
    pub(crate) options: ListOptions,
    pub(crate) want: Want,
}

impl Question {
    /// Whether the answer, where it is whole, hangs on nothing but the latest state of the collection, and is text with one revision in it.
    pub(crate) fn can_be_kept(&self) -> bool {
        let options = &self.options;
        options.continue_token.is_empty()
            && options.resource_version_match != "Exact"
            && self.want.encoding == Encoding::Json
            && !self.want.pretty
            && !self.want.beta_table
    }
}

/// An answer that was given.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// Nothing in the collection has changed up to here.
    pub(crate) revision: Revision,
    pub(crate) warnings: Vec<String>,
    /// With the revision at which it was written.
    text: Bytes,
    written: Revision,
    /// Where that revision stands.
    at: usize,
    /// Tables say how old things are, in seconds.
    second: Option<i64>,
}

/// Stands before a list's revision: nothing before it can be longer than a kind's name.
const MARK: &[u8] = b"\"metadata\":{\"resourceVersion\":\"";

impl Given {
    /// `None`: it cannot be kept.
    pub(crate) fn new(
        question: &Question,
        revision: Revision,
        text: Bytes,
        warnings: Vec<String>,
        now: Timestamp,
    ) -> Option<Given> {
        let at = text.windows(MARK.len()).position(|part| part == MARK)? + MARK.len();
        // An item's revision stands behind the same words.
        text[at..].starts_with(format!("{revision}\"").as_bytes()).then_some(())?;
        let second = matches!(question.want.form, Form::Table(_)).then(|| now.secs());
        (text.len() <= ANSWER_MAX).then_some(Given {
            revision,
            warnings,
            text,
            written: revision,
            at,
            second,
        })
    }

    /// The text, with the revision that it holds at.
    pub(crate) fn pieces(&self) -> Vec<Bytes> {
        if self.revision == self.written {
            return vec![self.text.clone()];
        }
        let behind = self.at + self.written.to_string().len();
        vec![self.text.slice(..self.at), self.revision.to_string().into(), self.text.slice(behind..)]
    }
}

/// Answers to questions that were asked more than once.
#[derive(Default)]
pub(crate) struct Lists(Mutex<Known>);

#[derive(Default)]
struct Known {
    rows: Vec<Row>,
    /// Counts up, to tell who was asked for last.
    asked: u64,
}

struct Row {
    question: Question,
    /// `None`: the question was asked once.
    given: Option<Given>,
    asked: u64,
}

impl Known {
    fn row(&mut self, question: &Question) -> Option<&mut Row> {
        self.asked += 1;
        let asked = self.asked;
        let row = self.rows.iter_mut().find(|row| row.question == *question)?;
        row.asked = asked;
        Some(row)
    }

    fn bytes(&self) -> usize {
        self.rows.iter().filter_map(|row| row.given.as_ref()).map(|given| given.text.len()).sum()
    }

    /// Forgets what was not asked for longest.
    fn forget(&mut self) {
        let oldest = self.rows.iter().enumerate().min_by_key(|(_, row)| row.asked).map(|(at, _)| at);
        if let Some(at) = oldest {
            self.rows.swap_remove(at);
        }
    }
}

impl Lists {
    /// The answer, if it still holds: `unchanged` tells up to which revision nothing has changed since another.
    pub(crate) fn again(
        &self,
        question: &Question,
        now: Timestamp,
        unchanged: impl FnOnce(Revision) -> Option<Revision>,
    ) -> Option<Given> {
        let mut given = self.0.lock().row(question)?.given.clone()?;
        if given.second.is_some_and(|second| second != now.secs()) {
            return None;
        }
        let revision = unchanged(given.revision)?;
        if revision > given.revision {
            given.revision = revision;
            let mut known = self.0.lock();
            if let Some(kept) = known.row(question).and_then(|row| row.given.as_mut())
                && kept.written == given.written
            {
                kept.revision = kept.revision.max(revision);
            }
        }
        Some(given)
    }

    /// Takes note of a question, and of its answer if it was asked before.
    pub(crate) fn note(&self, question: Question, given: impl FnOnce(&Question) -> Option<Given>) {
        let mut known = self.0.lock();
        match known.row(&question) {
            // An older one that was written more slowly does no harm: its revision is asked about all the same.
            Some(row) => row.given = given(&row.question),
            None => {
                if known.rows.len() >= QUESTIONS_MAX {
                    known.forget();
                }
                let asked = known.asked;
                known.rows.push(Row { question, given: None, asked });
            }
        }
        while known.bytes() > BYTES_MAX {
            known.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(namespace: &str, form: Form) -> Question {
        Question {
            resource: ResourceId { group: "".into(), version: "v1".into(), plural: "configmaps".into() },
            namespace: namespace.into(),
            options: ListOptions::default(),
            want: Want { form, ..Want::default() },
        }
    }

    const TEXT: &str = r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"99"},"items":[{"metadata":{"resourceVersion":"7"}}]}"#;

    fn note(lists: &Lists, question: &Question, text: &str, now: Timestamp) {
        lists.note(question.clone(), |question| {
            Given::new(question, Revision(99), text.to_owned().into(), Vec::new(), now)
        });
    }

    #[test]
    fn what_is_unchanged_is_answered_at_the_latest_revision() {
        let (lists, now) = (Lists::default(), Timestamp::from_secs(5));
        let asked = question("a", Form::Whole);
        note(&lists, &asked, TEXT, now);
        assert!(lists.again(&asked, now, Some).is_none(), "once is not kept");
        note(&lists, &asked, TEXT, now);
        let text = |given: Given| String::from_utf8(given.pieces().concat()).unwrap();
        assert_eq!(text(lists.again(&asked, now, Some).unwrap()), TEXT);
        let later = lists.again(&asked, now, |since| Some(Revision(since.0 + 2))).unwrap();
        assert_eq!(text(later), TEXT.replace("99", "101"));
        // And the question is what has changed since then.
        lists.again(&asked, now, |since| {
            assert_eq!(since, Revision(101));
            Some(since)
        });
        assert!(lists.again(&asked, now, |_| None).is_none(), "something has changed");
        assert!(lists.again(&question("b", Form::Whole), now, Some).is_none());
    }

    /// Tables say how old things are.
    #[test]
    fn a_table_holds_for_a_second() {
        let (lists, now) = (Lists::default(), Timestamp::from_secs(5));
        let asked = question("a", Form::Table(orlop_api::render::Include::Metadata));
        note(&lists, &asked, TEXT, now);
        note(&lists, &asked, TEXT, now);
        assert!(lists.again(&asked, now, Some).is_some());
        assert!(lists.again(&asked, Timestamp::from_secs(6), Some).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let (lists, now) = (Lists::default(), Timestamp::from_secs(5));
        let large = format!("{TEXT}{}", " ".repeat(5 << 20));
        for n in 0..100 {
            let asked = question(&format!("n{n}"), Form::Whole);
            note(&lists, &asked, &large, now);
            note(&lists, &asked, &large, now);
        }
        let known = lists.0.lock();
        assert!(known.bytes() <= BYTES_MAX && known.rows.len() <= QUESTIONS_MAX);
        assert!(known.rows.iter().any(|row| row.question.namespace == "n99" && row.given.is_some()));
    }
}
