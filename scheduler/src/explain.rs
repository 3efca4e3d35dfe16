//! Says why, for people: [`Decision::explain`].

use std::fmt::Write;

use orlop_core::Name;

use crate::decision::{Decision, Rejection};

impl Decision {
    /// The decision in full, as text: for the chosen node its scores beside those of the runner-up, and for every node
    /// that was refused *every* predicate that refuses it.
    ///
    /// Made by [`crate::schedule()`]; a decision of [`crate::place()`] knows no scores and only first refusals.
    pub fn explain(&self) -> String {
        let mut out = String::new();
        match &self.node {
            Some(node) => {
                let _ = writeln!(out, "{} -> {node}", self.pod);
                self.write_scores(node, &mut out);
            }
            None => {
                let _ = writeln!(out, "{} -> none: {}", self.pod, self.message());
            }
        }
        if let Some(narrowed) = &self.narrowed {
            let _ = writeln!(out, "only {} by {}", narrowed.nodes.join(", "), narrowed.plugins.join(", "));
        }
        if !self.rejected.is_empty() {
            out.push_str("refused:\n");
        }
        for (node, first) in &self.rejected {
            let every = self.every.get(node).map_or(std::slice::from_ref(first), Vec::as_slice);
            for (i, rejection) in every.iter().enumerate() {
                let name = if i == 0 { node.as_str() } else { "" };
                let _ = writeln!(out, "  {name:<w$}  {}", line(rejection), w = self.width());
            }
        }
        if let Some(found) = &self.post_filter
            && let Some(node) = &found.nominated
        {
            let victims: Vec<String> = found.victims.iter().map(ToString::to_string).collect();
            let _ = writeln!(out, "room is made on {node} by evicting {}", victims.join(", "));
        }
        out
    }

    fn width(&self) -> usize {
        self.rejected.keys().map(|name| name.len()).max().unwrap_or(0)
    }

    /// The chosen node's scores, plugin by plugin, beside those of the best node that was not chosen.
    fn write_scores(&self, chosen: &Name, out: &mut String) {
        let Some(scores) = self.scores.get(chosen) else { return };
        let total = |node: &Name| self.totals.get(node).copied().unwrap_or(0);
        let others = self.totals.iter().filter(|(node, _)| *node != chosen);
        let runner_up = others.max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0))).map(|(node, _)| node);
        let label = scores.keys().map(|plugin| plugin.len()).max().unwrap_or(0).max("total".len());
        let mut row = |name: &str, own: &str, other: Option<&str>| {
            let other = other.map(|o| format!("  {o:>12}")).unwrap_or_default();
            let _ = writeln!(out, "  {name:<label$}  {own:>12}{other}");
        };
        row("", chosen, runner_up.map(Name::as_str));
        for (plugin, score) in scores {
            let other = runner_up.and_then(|node| self.scores.get(node)?.get(plugin)).map(i64::to_string);
            row(plugin, &score.to_string(), other.as_deref());
        }
        let other = runner_up.map(|node| total(node).to_string());
        row("total", &total(chosen).to_string(), other.as_deref());
        if self.best.len() > 1 {
            let _ = writeln!(out, "  {} nodes are equally good; the seed chose", self.best.len());
        }
    }
}

fn line(rejection: &Rejection) -> String {
    format!("{}: {}", rejection.plugin, rejection.refusal.reasons.join(", "))
}
