//! Who is asked twice: once a webhook or a policy has changed an object, everything that changes objects has another
//! look at it, of the webhooks and policies those alone that ask for it (`reinvocationPolicy: IfNeeded`) and that ran
//! before the change. There is no third round.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What is known of the rounds of one decision.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// The second round has begun.
    second: bool,
    /// Somebody has changed the object.
    changed: bool,
    askers: BTreeMap<&'static str, Asker>,
}

/// One sort of askers: webhooks, or policies.
#[derive(Debug, Default)]
struct Asker {
    /// Those that have run and would like to again.
    ran: BTreeSet<String>,
    /// Those that are to run again.
    again: BTreeSet<String>,
    /// The object as it was after the last of them.
    left: Option<Value>,
}

impl Asker {
    fn changed(&mut self) {
        self.again.append(&mut self.ran);
    }
}

impl Rounds {
    /// Whether another round is due; it begins.
    pub(crate) fn begin_second(&mut self) -> bool {
        let due = self.changed && !self.second;
        self.second |= due;
        due
    }

    /// A sort of askers has its turn.
    pub(crate) fn enter(&mut self, sort: &'static str, object: &Value) {
        let second = self.second;
        let asker = self.askers.entry(sort).or_default();
        if second && asker.left.as_ref().is_some_and(|left| left != object) {
            asker.changed();
        }
    }

    /// Whether one of them is asked in this round.
    pub(crate) fn asks(&self, sort: &'static str, name: &str) -> bool {
        !self.second || self.askers.get(sort).is_some_and(|asker| asker.again.contains(name))
    }

    /// One of them was asked.
    pub(crate) fn asked(&mut self, sort: &'static str, name: String, changed: bool, if_needed: bool) {
        let asker = self.askers.entry(sort).or_default();
        if changed {
            asker.changed();
            self.changed = true;
        }
        if if_needed {
            asker.ran.insert(name);
        }
    }

    /// Their turn is over.
    pub(crate) fn leave(&mut self, sort: &'static str, object: &Value) {
        self.askers.entry(sort).or_default().left = Some(object.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_ran_before_a_change_is_asked_again() {
        let mut rounds = Rounds::default();
        rounds.enter("webhooks", &json!(0));
        rounds.asked("webhooks", "a".into(), true, true);
        rounds.asked("webhooks", "b".into(), false, false);
        rounds.asked("webhooks", "c".into(), true, true);
        rounds.leave("webhooks", &json!(1));
        assert!(rounds.begin_second());
        rounds.enter("webhooks", &json!(1));
        let again = ["a", "b", "c"].map(|name| rounds.asks("webhooks", name));
        assert_eq!(again, [true, false, false], "c was the last to change it");
        assert!(!rounds.begin_second());
    }

    #[test]
    fn changes_of_others_count_too() {
        let mut rounds = Rounds::default();
        rounds.enter("policies", &json!(0));
        rounds.asked("policies", "p".into(), true, true);
        rounds.leave("policies", &json!(1));
        rounds.enter("webhooks", &json!(1));
        rounds.asked("webhooks", "w".into(), true, true);
        rounds.leave("webhooks", &json!(2));
        assert!(rounds.begin_second());
        rounds.enter("policies", &json!(2));
        assert!(rounds.asks("policies", "p"));
    }
}
