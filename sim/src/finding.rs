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
    /// Seeds, commands that repeat it, and other words.
    pub note: String,
}

impl Finding {
    /// A figure that is only shown.
    pub fn shown(name: &str, value: f64, unit: &str) -> Self {
        Self { name: name.to_owned(), value, unit: unit.to_owned(), at_most: None, note: String::new() }
    }

    /// Violations, of which there may be none. The first few are told in the note.
    pub fn violations(name: &str, violations: &[String]) -> Self {
        Self {
            name: name.to_owned(),
            value: violations.len() as f64,
            unit: "violations".to_owned(),
            at_most: Some(0.0),
            note: violations.first().cloned().unwrap_or_default(),
        }
    }

    /// With words beside it.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}
