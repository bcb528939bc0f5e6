//! What is known of a run as a whole: its name, place, status, times. Kept as one value under the run's `Run` tag, so that
//! it is logged, replayed and forked like everything else of the run.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use in_mem_model::{Namespace, Object, RunId, Timestamp, Value, Version};
use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RunStatus {
    /// Made, not begun.
    Created,
    /// At work.
    Running,
    /// Set aside; may go on.
    Paused,
    /// Ended well.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended by decision.
    Cancelled,
    /// Ended and put away: kept, but out of the usual listings.
    Archived,
}

impl RunStatus {
    /// Every status, in the order of a run's life.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::Running,
        Self::Paused,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Archived,
    ];

    /// Whether the run has ended: its state can be read, forked and replayed, no longer written.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Archived)
    }

    /// Whether a run may go from this status to `to`.
    pub fn may_become(self, to: Self) -> bool {
        use RunStatus::{Archived, Cancelled, Completed, Created, Failed, Paused, Running};
        match self {
            Created => matches!(to, Running | Cancelled | Failed),
            Running => matches!(to, Paused | Completed | Failed | Cancelled),
            Paused => matches!(to, Running | Completed | Failed | Cancelled),
            Completed | Failed | Cancelled => to == Archived,
            Archived => false,
        }
    }

    /// The status as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Archived => "archived",
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The word is not a status of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no run status; use created, running, paused, completed, failed, cancelled or archived")]
pub struct UnknownStatus(pub String);

impl FromStr for RunStatus {
    type Err = UnknownStatus;

    fn from_str(word: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|s| s.as_str() == word).ok_or_else(|| UnknownStatus(word.to_owned()))
    }
}

/// The point of another run at which a fork began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ForkPoint {
    /// The run that was forked.
    pub run: RunId,
    /// The last version of it that the fork sees.
    pub version: Version,
}

/// What is known of a run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunMeta {
    /// A name for people; need not be unique.
    pub name: Arc<str>,
    /// Whose run it is.
    pub namespace: Namespace,
    /// Where it stands.
    pub status: RunStatus,
    /// Why it failed or was cancelled, where it was.
    pub error: Option<Arc<str>>,
    /// Whether this is a namespace's long-lived memory rather than a run.
    pub memory: bool,
    /// The run that began this one.
    pub parent: Option<RunId>,
    /// The first run of the lineage: itself, where it has no parent.
    pub root: RunId,
    /// Where it was forked from, if it was.
    pub forked_from: Option<ForkPoint>,
    /// Words to find it by.
    pub tags: Vec<Arc<str>>,
    /// Anything else.
    pub metadata: Value,
    /// When it was made.
    pub created: Timestamp,
    /// When it first ran.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The version of the commit that made it.
    pub first_version: Version,
}

impl RunMeta {
    /// A run that was just made, in the default namespace.
    pub fn new(id: RunId, name: &str) -> Self {
        Self {
            name: Arc::from(name),
            namespace: Namespace::default(),
            status: RunStatus::Created,
            error: None,
            memory: false,
            parent: None,
            root: id,
            forked_from: None,
            tags: Vec::new(),
            metadata: Value::Null,
            created: Timestamp(0),
            started: None,
            ended: None,
            first_version: Version(0),
        }
    }

    /// The form in which it is stored. What is absent takes no bytes.
    pub fn to_value(&self) -> Value {
        let mut fields: Vec<(Arc<str>, Value)> = Vec::with_capacity(16);
        let mut set = |name: &'static str, value: Value| fields.push((Arc::from(name), value));
        let id = |run: &RunId| Value::from(&run.as_bytes()[..]);
        set("name", Value::String(self.name.clone()));
        set("status", Value::from(self.status.as_str()));
        set("root", id(&self.root));
        set("created", Value::Int(self.created.0));
        set("first_version", Value::Int(self.first_version.0.cast_signed()));
        if self.namespace != Namespace::default() {
            set("tenant", Value::from(self.namespace.tenant()));
            set("app", Value::from(self.namespace.app()));
            set("agent", Value::from(self.namespace.agent()));
        }
        if let Some(error) = &self.error {
            set("error", Value::String(error.clone()));
        }
        if self.memory {
            set("memory", Value::Bool(true));
        }
        if let Some(parent) = &self.parent {
            set("parent", id(parent));
        }
        if let Some(fork) = &self.forked_from {
            set("forked_run", id(&fork.run));
            set("forked_version", Value::Int(fork.version.0.cast_signed()));
        }
        if !self.tags.is_empty() {
            set("tags", Value::Array(self.tags.iter().map(|t| Value::String(t.clone())).collect()));
        }
        if self.metadata != Value::Null {
            set("metadata", self.metadata.clone());
        }
        if let Some(at) = self.started {
            set("started", Value::Int(at.0));
        }
        if let Some(at) = self.ended {
            set("ended", Value::Int(at.0));
        }
        Value::Object(Object::from_iter(fields))
    }

    /// Reads the stored form; `None` where the value is not one.
    pub fn from_value(value: &Value) -> Option<Self> {
        let text = |name: &str| match value.get(name) {
            Some(Value::String(s)) => Some(s.clone()),
            _ => None,
        };
        let int = |name: &str| value.get(name).and_then(Value::as_i64);
        let id = |name: &str| match value.get(name) {
            Some(Value::Bytes(b)) => <[u8; 16]>::try_from(&b[..]).ok().map(RunId::from_bytes),
            _ => None,
        };
        let default = Namespace::default();
        let part = |name: &str, default: &str| text(name).unwrap_or_else(|| Arc::from(default));
        Some(Self {
            name: text("name")?,
            status: text("status")?.parse().ok()?,
            root: id("root")?,
            created: Timestamp(int("created")?),
            first_version: Version(int("first_version")?.cast_unsigned()),
            namespace: Namespace::new(
                part("tenant", default.tenant()),
                part("app", default.app()),
                part("agent", default.agent()),
            )
            .ok()?,
            error: text("error"),
            memory: matches!(value.get("memory"), Some(Value::Bool(true))),
            parent: id("parent"),
            forked_from: match (id("forked_run"), int("forked_version")) {
                (Some(run), Some(version)) => {
                    Some(ForkPoint { run, version: Version(version.cast_unsigned()) })
                }
                _ => None,
            },
            tags: match value.get("tags") {
                Some(Value::Array(tags)) => tags
                    .iter()
                    .filter_map(|t| match t {
                        Value::String(s) => Some(s.clone()),
                        _ => None,
                    })
                    .collect(),
                _ => Vec::new(),
            },
            metadata: value.get("metadata").cloned().unwrap_or(Value::Null),
            started: int("started").map(Timestamp),
            ended: int("ended").map(Timestamp),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_says_everything() {
        let id = RunId::from_bytes([3; 16]);
        let bare = RunMeta::new(id, "bare");
        assert_eq!(RunMeta::from_value(&bare.to_value()), Some(bare.clone()));
        let full = RunMeta {
            namespace: Namespace::new("t", "a", "g").expect("sound"),
            status: RunStatus::Failed,
            error: Some("why".into()),
            memory: true,
            parent: Some(RunId::from_bytes([1; 16])),
            forked_from: Some(ForkPoint { run: id, version: Version(9) }),
            tags: vec!["x".into(), "y".into()],
            metadata: Value::from(7),
            created: Timestamp(5),
            started: Some(Timestamp(6)),
            ended: Some(Timestamp(7)),
            first_version: Version(4),
            ..bare
        };
        assert_eq!(RunMeta::from_value(&full.to_value()), Some(full));
        assert_eq!(RunMeta::from_value(&Value::from("no")), None);
    }

    #[test]
    fn an_ended_run_never_runs_again() {
        for from in RunStatus::ALL {
            for to in RunStatus::ALL {
                if from.is_ended() && from.may_become(to) {
                    assert_eq!(to, RunStatus::Archived);
                }
                assert!(!(from == to && from.may_become(to)));
            }
            assert_eq!(from.as_str().parse::<RunStatus>(), Ok(from));
        }
    }
}
