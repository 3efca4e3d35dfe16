//! One object as the pattern of others: [`Template`].

use std::ops::Range;

use bytes::Bytes;

use super::splice::Scanner;
use crate::body::{Body, Header};
use crate::object::Name;
use crate::time::Timestamp;

/// A step on the way to a text within a stored object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into the field of an object.
    Field(&'static str),
    /// To the item of a list.
    Item(usize),
}

/// A stored object with gaps where another one, equal to it otherwise, has a text of its own: its name, UID and time of
/// creation, and whatever else is said to be so.
///
/// Filling the gaps makes the bytes and the header that [`super::encode()`] would make of that other object, without a
/// tree of it.
#[derive(Debug)]
pub struct Template {
    bytes: Box<[u8]>,
    /// In order, without overlap.
    gaps: Box<[(Range<usize>, Fill)]>,
    /// Just behind the brace that opens the metadata: in front of every gap.
    metadata_at: usize,
    header: Header,
}

/// What goes into a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    Name,
    Uid,
    Time,
    Other(usize),
}

/// What a new object has of its own. Texts are written as they are: none of them may hold what JSON escapes.
#[derive(Clone, Debug)]
pub struct Born<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// When it is created; whole seconds count.
    pub at: Timestamp,
    /// What it has besides, in the order in which [`Template::of`] was told.
    pub others: &'a [&'a str],
}

impl Template {
    /// The template that `body` is, `born` being what it has of its own. `times` are places where its time of creation
    /// stands again, `others` those of the texts in [`Born::others`].
    ///
    /// `None` where one of the places is not there, or holds another text than `born` says: then it is not known what
    /// else depends on it.
    pub fn of(body: &Body, born: &Born<'_>, times: &[&[Step]], others: &[&[&[Step]]]) -> Option<Template> {
        use Step::Field;
        const NAME: &[Step] = &[Field("metadata"), Field("name")];
        const UID: &[Step] = &[Field("metadata"), Field("uid")];
        const CREATED: &[Step] = &[Field("metadata"), Field("creationTimestamp")];
        let time = born.at.to_string();
        let mut wanted = vec![(NAME, Fill::Name, born.name), (UID, Fill::Uid, born.uid)];
        wanted.extend([CREATED].iter().chain(times).map(|path| (*path, Fill::Time, time.as_str())));
        for (at, (places, text)) in others.iter().zip(born.others).enumerate() {
            wanted.extend(places.iter().map(|path| (*path, Fill::Other(at), *text)));
        }
        let bytes = body.bytes();
        let mut gaps = Vec::with_capacity(wanted.len());
        for (path, fill, text) in wanted {
            let place = find(bytes, path)?;
            if bytes.get(place.clone())? != text.as_bytes() {
                return None;
            }
            gaps.push((place, fill));
        }
        gaps.sort_unstable_by_key(|(place, _)| place.start);
        let metadata_at = body.parts().0.len();
        let header = body.header().clone();
        let apart = gaps.windows(2).all(|pair| pair[0].0.end <= pair[1].0.start);
        let behind = gaps.first().is_some_and(|(place, _)| place.start > metadata_at);
        let known = header.uid == born.uid && header.created == Some(born.at.truncate_to_secs());
        (apart && behind && known && others.len() == born.others.len()).then(|| Template {
            bytes: bytes.to_vec().into(),
            gaps: gaps.into(),
            metadata_at,
            header,
        })
    }

    /// The bytes that it holds.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How often `text` stands in the object it was made of.
    pub fn occurrences(&self, text: &str) -> usize {
        self.bytes.windows(text.len().max(1)).filter(|window| *window == text.as_bytes()).count()
    }

    /// The object that has this of its own.
    ///
    /// # Panics
    /// When `born` has fewer other texts than the template was made with.
    pub fn fill(&self, born: &Born<'_>) -> Body {
        let time = born.at.to_string();
        let text = |fill: Fill| match fill {
            Fill::Name => born.name,
            Fill::Uid => born.uid,
            Fill::Time => &time,
            Fill::Other(at) => born.others[at],
        };
        let held: usize = self.gaps.iter().map(|(place, _)| place.len()).sum();
        let filled: usize = self.gaps.iter().map(|(_, fill)| text(*fill).len()).sum();
        // Exactly as much as it takes, so that the buffer is the body.
        let mut out = Vec::with_capacity(self.bytes.len() - held + filled);
        let mut from = 0;
        for (place, fill) in &self.gaps {
            out.extend_from_slice(&self.bytes[from..place.start]);
            out.extend_from_slice(text(*fill).as_bytes());
            from = place.end;
        }
        out.extend_from_slice(&self.bytes[from..]);
        let header = Header {
            uid: Name::from(born.uid),
            created: Some(born.at.truncate_to_secs()),
            ..self.header.clone()
        };
        Body::assemble(Bytes::from(out), self.metadata_at, header)
    }
}

/// Where the text at a path stands, without its quotes. `None` where there is none, or one that is written with escapes.
fn find(bytes: &[u8], path: &[Step]) -> Option<Range<usize>> {
    let mut at = Scanner { bytes, at: 0 };
    for step in path {
        match step {
            Step::Field(name) => {
                at.open()?;
                while at.key()?? != *name {
                    at.value()?;
                }
            }
            Step::Item(index) => {
                if at.peek()? != b'[' {
                    return None;
                }
                at.at += 1;
                for _ in 0..*index {
                    at.value()?;
                    if at.peek()? != b',' {
                        return None;
                    }
                    at.at += 1;
                }
            }
        }
    }
    let start = at.at;
    let text = at.value()?.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (!text.contains(&b'\\')).then_some(start + 1..start + 1 + text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Step::{Field, Item};

    const AT: Timestamp = Timestamp::from_secs(1_767_225_600);
    const VOLUME: &[Step] = &[Field("spec"), Field("volumes"), Item(1), Field("name")];
    const TIME: &[Step] = &[Field("metadata"), Field("managedFields"), Item(0), Field("time")];

    fn text(name: &str, uid: &str, time: &str, volume: &str) -> String {
        format!(
            r#"{{"kind":"Pod","metadata":{{"name":"{name}","uid":"{uid}","creationTimestamp":"{time}","labels":{{"a":"\"x"}},"managedFields":[{{"manager":"m","time":"{time}"}}]}},"spec":{{"volumes":[{{"name":"own"}},{{"name":"{volume}"}}]}}}}"#
        )
    }

    fn born<'a>(name: &'a str, uid: &'a str, others: &'a [&'a str]) -> Born<'a> {
        Born { name, uid, at: AT, others }
    }

    #[test]
    fn what_is_filled_is_what_would_be_parsed() {
        let body = Body::parse(text("web", "u-1", &AT.to_string(), "v-1").into()).unwrap();
        let template = Template::of(&body, &born("web", "u-1", &["v-1"]), &[TIME], &[&[VOLUME]]).unwrap();
        let later = Timestamp::from_nanos(AT.nanos() + 61_500_000_000);
        let made = template.fill(&Born { name: "other", uid: "u-22", at: later, others: &["volume"] });
        let wanted = Body::parse(text("other", "u-22", &later.to_string(), "volume").into()).unwrap();
        assert_eq!(made.bytes(), wanted.bytes());
        assert_eq!(made.header(), wanted.header());
        assert_eq!(made.parts(), wanted.parts());
        assert_eq!((template.occurrences("v-1"), template.occurrences("web")), (1, 1));
    }

    #[test]
    fn a_place_that_holds_something_else_makes_no_template() {
        let body = Body::parse(text("web", "u-1", &AT.to_string(), "v-1").into()).unwrap();
        let of =
            |born: Born<'_>, volume: &[Step]| Template::of(&body, &born, &[TIME], &[&[volume]]).is_some();
        assert!(of(born("web", "u-1", &["v-1"]), VOLUME));
        assert!(!of(born("web", "u-1", &["v-2"]), VOLUME));
        assert!(!of(born("wed", "u-1", &["v-1"]), VOLUME));
        assert!(!of(born("web", "u-2", &["v-1"]), VOLUME));
        assert!(!of(born("web", "u-1", &["own"]), VOLUME));
        assert!(!of(
            born("web", "u-1", &["v-1"]),
            &[Field("spec"), Field("volumes"), Item(2), Field("name")]
        ));
        assert!(!of(born("web", "u-1", &["v-1"]), &[Field("spec"), Field("nodes")]));
        assert!(!of(born("web", "u-1", &["v-1"]), &[Field("metadata"), Field("name"), Item(0)]));
    }
}
