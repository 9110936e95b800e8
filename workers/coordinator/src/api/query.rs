//! The queries of the lists.

use farrier::wire::api::{Enrolment, JobState};
use farrier::wire::{JobId, Verb};
use schemars::JsonSchema;
use serde::Deserialize;

use super::problem::ApiError;
use crate::store::{JobFilter, NodeFilter};

/// The longest page, in entries.
const LONGEST_PAGE: u32 = 500;
/// The page of a request that names no limit, in entries.
const DEFAULT_PAGE: u32 = 100;

/// The query of `GET /v1/nodes`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeQuery {
    /// Only nodes that may be commanded, or only those that may not.
    enrolment: Option<Enrolment>,
    /// Only nodes of this site.
    site: Option<String>,
    /// Only nodes of this rack.
    rack: Option<String>,
    /// Only nodes whose agent was heard lately, or only the others.
    alive: Option<bool>,
    /// How many entries at most.
    #[schemars(range(min = 1, max = 500), extend("default" = 100))]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// The query of `GET /v1/jobs`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobQuery {
    /// Only jobs of this node, by UUID or name.
    pub(super) node: Option<String>,
    /// Only jobs of this verb.
    verb: Option<Verb>,
    /// Only jobs in this state.
    state: Option<JobState>,
    /// How many entries at most.
    #[schemars(range(min = 1, max = 500), extend("default" = 100))]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// The query of `GET /v1/images`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageQuery {
    /// How many entries at most.
    #[schemars(range(min = 1, max = 500), extend("default" = 100))]
    limit: Option<u32>,
    /// The `next` of the page before.
    pub(super) after: Option<String>,
}

/// The query of `GET /v1/dead`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadQuery {
    /// How many entries at most.
    #[schemars(range(min = 1, max = 500), extend("default" = 100))]
    limit: Option<u32>,
}

/// The query of `GET /v1/events`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventQuery {
    /// Only events of this job.
    pub(super) job: Option<JobId>,
    /// Only events of this node, by UUID or name.
    pub(super) node: Option<String>,
}

impl NodeQuery {
    pub(super) fn filter(self) -> Result<NodeFilter, ApiError> {
        refuse_unknown("enrolment", self.enrolment == Some(Enrolment::Unknown), "discovered, enrolled")?;
        Ok(NodeFilter {
            enrolment: self.enrolment,
            site: self.site,
            rack: self.rack,
            alive: self.alive,
            limit: limit(self.limit)?,
            after: self.after,
        })
    }
}

impl JobQuery {
    pub(super) fn filter(self) -> Result<JobFilter, ApiError> {
        let verbs = Verb::ALL.iter().map(|verb| verb.as_str()).collect::<Vec<_>>().join(", ");
        refuse_unknown("verb", self.verb == Some(Verb::Unknown), &verbs)?;
        let states = JobState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
        refuse_unknown("state", self.state == Some(JobState::Unknown), &states)?;
        Ok(JobFilter {
            node: self.node,
            verb: self.verb,
            state: self.state,
            limit: limit(self.limit)?,
            after: self.after,
        })
    }
}

impl ImageQuery {
    pub(super) fn limit(&self) -> Result<u32, ApiError> {
        limit(self.limit)
    }
}

impl DeadQuery {
    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        limit(self.limit).map(|limit| limit as usize)
    }
}

/// Readers of the wire take a value that they do not know for `Unknown`; a filter on that would show nothing, silently.
fn refuse_unknown(field: &str, is_unknown: bool, expected: &str) -> Result<(), ApiError> {
    if is_unknown {
        return Err(ApiError::field(
            field,
            format!("the query parameter `{field}` does not fit: expected one of {expected}"),
        ));
    }
    Ok(())
}

fn limit(given: Option<u32>) -> Result<u32, ApiError> {
    match given.unwrap_or(DEFAULT_PAGE) {
        limit @ 1..=LONGEST_PAGE => Ok(limit),
        other => Err(ApiError::field(
            "limit",
            format!("the query parameter `limit` does not fit: expected 1 to {LONGEST_PAGE}, found {other}"),
        )),
    }
}
