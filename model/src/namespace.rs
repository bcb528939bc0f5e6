//! For whom a run runs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::NamespaceError;
use crate::error::excerpt;
use crate::limits::MAX_NAMESPACE_PART_BYTES;

const DEFAULT_PART: &str = "default";

/// Whose run it is: a tenant, one of its applications, and an agent of that application.
///
/// Parts that are left out are `default`. No part is empty, longer than
/// [`MAX_NAMESPACE_PART_BYTES`] or contains slashes or control characters, so `tenant/app/agent` reads back as it was.
///
/// ```
/// # use in_mem_model::Namespace;
/// let space: Namespace = "shop/support-bot".parse()?;
/// assert_eq!((space.tenant(), space.app(), space.agent()), ("default", "shop", "support-bot"));
/// # Ok::<(), in_mem_model::NamespaceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Namespace {
    tenant: Arc<str>,
    app: Arc<str>,
    agent: Arc<str>,
}

impl Namespace {
    /// A namespace of three parts.
    ///
    /// # Errors
    /// A part that is empty, too long, or contains a slash or a control character.
    pub fn new(
        tenant: impl AsRef<str>,
        app: impl AsRef<str>,
        agent: impl AsRef<str>,
    ) -> Result<Self, NamespaceError> {
        Ok(Self {
            tenant: part("tenant", tenant.as_ref())?,
            app: part("app", app.as_ref())?,
            agent: part("agent", agent.as_ref())?,
        })
    }

    /// The agent's namespace in the default tenant and application.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub fn for_agent(agent: impl AsRef<str>) -> Result<Self, NamespaceError> {
        Self::new(DEFAULT_PART, DEFAULT_PART, agent)
    }

    /// The customer or team.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The application.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The agent.
    #[must_use]
    pub fn agent(&self) -> &str {
        &self.agent
    }
}

fn part(name: &'static str, text: &str) -> Result<Arc<str>, NamespaceError> {
    if text.is_empty() {
        return Err(NamespaceError::Empty { part: name });
    }
    if text.len() > MAX_NAMESPACE_PART_BYTES {
        let (actual, limit) = (text.len(), MAX_NAMESPACE_PART_BYTES);
        return Err(NamespaceError::TooLong { part: name, actual, limit });
    }
    if let Some(found) = text.chars().find(|&c| c == '/' || c.is_control()) {
        return Err(NamespaceError::Character { part: name, found });
    }
    Ok(text.into())
}

impl Default for Namespace {
    fn default() -> Self {
        let part: Arc<str> = DEFAULT_PART.into();
        Self { tenant: part.clone(), app: part.clone(), agent: part }
    }
}

impl fmt::Display for Namespace {
    /// `tenant/app/agent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.app, self.agent)
    }
}

impl FromStr for Namespace {
    type Err = NamespaceError;

    /// Reads `tenant/app/agent`, `app/agent` or `agent`.
    fn from_str(text: &str) -> Result<Self, NamespaceError> {
        let mut parts = text.rsplit('/');
        let agent = parts.next().unwrap_or(DEFAULT_PART);
        let app = parts.next().unwrap_or(DEFAULT_PART);
        let tenant = parts.next().unwrap_or(DEFAULT_PART);
        if parts.next().is_some() {
            return Err(NamespaceError::TooManyParts { text: excerpt(text) });
        }
        Self::new(tenant, app, agent)
    }
}

/// The serialized form: what is read passes through the same checks as [`Namespace::new`].
#[derive(Serialize, Deserialize)]
struct Parts {
    #[serde(default = "default_part")]
    tenant: Arc<str>,
    #[serde(default = "default_part")]
    app: Arc<str>,
    #[serde(default = "default_part")]
    agent: Arc<str>,
}

fn default_part() -> Arc<str> {
    DEFAULT_PART.into()
}

impl TryFrom<Parts> for Namespace {
    type Error = NamespaceError;

    fn try_from(parts: Parts) -> Result<Self, NamespaceError> {
        Self::new(parts.tenant, parts.app, parts.agent)
    }
}

impl From<Namespace> for Parts {
    fn from(space: Namespace) -> Self {
        Self { tenant: space.tenant, app: space.app, agent: space.agent }
    }
}
