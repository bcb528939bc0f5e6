//! What a program found, one line of JSON each.

use serde::{Deserialize, Serialize};

/// A figure or a violation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at; names stay what they are.
    pub name: String,
    /// What was found.
    pub value: f64,
    /// In which unit.
    pub unit: String,
    /// The most that it may be; `None`: shown only.
    pub at_most: Option<f64>,
    /// The least that it may be; `None`: no limit from below.
    pub at_least: Option<f64>,
    /// Seeds, commands that repeat it, and other words.
    pub note: String,
}

impl Finding {
    /// A figure that is only shown.
    pub fn shown(name: &str, value: f64, unit: &str) -> Self {
        let (name, unit) = (name.to_owned(), unit.to_owned());
        Self { name, value, unit, at_most: None, at_least: None, note: String::new() }
    }

    /// A figure of which so much was asked for: what was not done shows nothing.
    pub fn at_least(name: &str, value: f64, least: f64, unit: &str) -> Self {
        Self { at_least: Some(least), ..Self::shown(name, value, unit) }
    }

    /// Violations, of which there may be none. The first few are told in the note.
    pub fn violations(name: &str, violations: &[String]) -> Self {
        Self {
            name: name.to_owned(),
            value: violations.len() as f64,
            unit: "violations".to_owned(),
            at_most: Some(0.0),
            at_least: None,
            note: violations.first().cloned().unwrap_or_default(),
        }
    }

    /// Whether it keeps to its limits. What is no number keeps to none.
    pub fn holds(&self) -> bool {
        self.at_most.is_none_or(|most| self.value <= most)
            && self.at_least.is_none_or(|least| self.value >= least)
    }

    /// With words beside it.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_falls_short_of_what_was_asked_for_does_not_hold() {
        assert!(Finding::at_least("sim.images", 20.0, 20.0, "images").holds());
        assert!(!Finding::at_least("sim.images", 19.0, 20.0, "images").holds());
        assert!(!Finding::at_least("sim.images", f64::NAN, 20.0, "images").holds());
        assert!(Finding::violations("sim.violations", &[]).holds());
        assert!(!Finding::violations("sim.violations", &["one".to_owned()]).holds());
    }
}
