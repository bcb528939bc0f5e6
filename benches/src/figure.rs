//! A figure, and what it has to keep to.

use std::fmt;

use serde::Serialize;

/// What a figure has to keep to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// Any finite number above zero: what is left of a limit in a run too short to judge by.
    Sane,
}

impl Limit {
    /// Whether a value keeps to it.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            Self::Sane => value.is_finite() && value > 0.0,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "<= {limit}"),
            Self::AtLeast(limit) => write!(f, ">= {limit}"),
            Self::Sane => f.write_str("> 0"),
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A figure. As JSON: `name`, `value`, `unit`, `limit` (text such as `<= 1.6`, or null), `pass`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured; names stay what they are.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What it has to keep to; `None`: it is only shown.
    pub limit: Option<Limit>,
    /// Whether it does.
    pub pass: bool,
    /// What a person may want to know beside it.
    #[serde(skip)]
    pub note: String,
}

impl Figure {
    /// A figure that is only shown.
    pub fn shown(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, limit: None, pass: true, note: String::new() }
    }

    /// A figure that has to keep to a limit.
    pub fn limited(name: impl Into<String>, value: f64, unit: &'static str, limit: Limit) -> Self {
        Self { limit: Some(limit), pass: limit.holds(value), ..Self::shown(name, value, unit) }
    }

    /// A check that holds or does not: 1 or 0, at least 1.
    pub fn check(name: impl Into<String>, holds: bool) -> Self {
        Self::limited(name, f64::from(u8::from(holds)), "pass", Limit::AtLeast(1.0))
    }

    /// With something to know beside it.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_to_at_itself_and_not_past_it() {
        assert!(Limit::AtMost(2.0).holds(2.0) && !Limit::AtMost(2.0).holds(2.1));
        assert!(Limit::AtLeast(2.0).holds(2.0) && !Limit::AtLeast(2.0).holds(1.9));
        assert!(Limit::Sane.holds(0.1) && !Limit::Sane.holds(0.0) && !Limit::Sane.holds(f64::INFINITY));
        for limit in [Limit::AtMost(2.0), Limit::AtLeast(2.0), Limit::Sane] {
            assert!(!limit.holds(f64::NAN), "what could not be measured passes nothing");
        }
    }
}
