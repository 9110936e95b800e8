//! Nodes, as the API asks for them.

use farrier::broker::topology;
use farrier::wire::api::{Enrolment, Node, NodeChange, NodeCreate, NodeInventory, Page, StreamEvent};
use farrier::wire::{Coded as _, NodeId};
use serde_json::{Map, Value};
use sqlx::{QueryBuilder, Sqlite};

use super::outbox::Item;
use super::rows::{NODES, NodeRow, from_json, id, json, time};
use super::{Store, StoreError, Tx, driver_secrets};
use crate::driver_info::DriverInfo;

/// Which nodes to list.
#[derive(Clone, Debug, Default)]
pub struct NodeFilter {
    /// Enrolled or discovered ones.
    pub enrolment: Option<Enrolment>,
    /// Of this site.
    pub site: Option<String>,
    /// Of this rack.
    pub rack: Option<String>,
    /// Those whose agent was heard lately, or the others.
    pub alive: Option<bool>,
    /// How many at most.
    pub limit: u32,
    /// The `next` of the page before.
    pub after: Option<String>,
}

/// Nodes of a store.
#[derive(Clone, Copy, Debug)]
pub struct Nodes<'a> {
    pub(super) store: &'a Store,
}

impl Nodes<'_> {
    /// Lists nodes by UUID.
    ///
    /// # Errors
    /// `after` is not the `next` of a page, or the store cannot be read.
    pub async fn list(&self, filter: NodeFilter) -> Result<Page<Node>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(NODES);
        query.push(" WHERE TRUE");
        if let Some(enrolment) = filter.enrolment {
            query.push(" AND enrolment = ").push_bind(enrolment_word(enrolment));
        }
        if let Some(site) = filter.site {
            query.push(" AND site = ").push_bind(site);
        }
        if let Some(rack) = filter.rack {
            query.push(" AND rack = ").push_bind(rack);
        }
        if let Some(alive) = filter.alive {
            query.push(" AND alive = ").push_bind(alive);
        }
        if let Some(after) = filter.after {
            let after: NodeId = after.parse().map_err(|_| bad_after())?;
            query.push(" AND id > ").push_bind(after.to_string());
        }
        query.push(" ORDER BY id LIMIT ").push_bind(i64::from(filter.limit) + 1);
        let rows: Vec<NodeRow> = query.build_query_as().fetch_all(&self.store.reader).await?;
        page(rows, filter.limit, |row| row.id.clone(), |row| row.into_node(&self.store.vault))
    }

    /// One node, by UUID or name.
    ///
    /// # Errors
    /// There is none.
    pub async fn get(&self, node: &str) -> Result<Node, StoreError> {
        let query = format!("{NODES} WHERE {}", by(node));
        let row: Option<NodeRow> = sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(key(node))
            .fetch_optional(&self.store.reader)
            .await?;
        row.ok_or_else(|| StoreError::UnknownNode { node: node.to_owned() })?.into_node(&self.store.vault)
    }

    /// The driver info of a node with its secrets: for whoever uses them, and nobody who shows them.
    ///
    /// # Errors
    /// There is no such node, or a secret was sealed under a key that is not there.
    pub async fn driver_info(&self, node: &str) -> Result<Map<String, Value>, StoreError> {
        let query = format!("SELECT id, driver_info FROM nodes WHERE {}", by(node));
        let row: Option<(String, String)> = sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(key(node))
            .fetch_optional(&self.store.reader)
            .await?;
        let (id, stored) = row.ok_or_else(|| StoreError::UnknownNode { node: node.to_owned() })?;
        driver_secrets::open(&self.store.vault, &id, from_json(&stored)?)
    }

    /// Enrols a node, discovered or not, and has its queue declared.
    ///
    /// # Errors
    /// It is enrolled already, its name is taken, a field does not fit, or there is no key for a secret.
    pub async fn enrol(&self, node: NodeCreate) -> Result<Node, StoreError> {
        let NodeCreate { id: node_id, name, site, rack, driver_info, properties } = node;
        check_place(site.as_deref(), rack.as_deref())?;
        check_name(name.as_deref())?;
        DriverInfo::read(&driver_info)?;
        let driver_info = driver_secrets::seal(&self.store.vault, &node_id.to_string(), driver_info)?;
        let mut tx = self.store.begin().await?;
        let found = tx.node(&node_id.to_string()).await?;
        if let Some(row) = &found
            && row.enrolment()? == Enrolment::Enrolled
        {
            return Err(StoreError::Conflict {
                reason: format!(
                    "node {node_id} is enrolled already; change it with PATCH /v1/nodes/{node_id}"
                ),
            });
        }
        tx.require_free_name(node_id, name.as_deref()).await?;
        let site = site.or_else(|| found.as_ref().map(|row| row.site.clone()));
        let rack = rack.or_else(|| found.as_ref().map(|row| row.rack.clone()));
        sqlx::query(
            "INSERT INTO nodes (id, name, site, rack, enrolment, driver_info, properties, created_at, updated_at) \
             VALUES (?1, ?2, ?3, ?4, 'enrolled', ?5, ?6, ?7, ?7) ON CONFLICT (id) DO UPDATE SET name = ?2, site = ?3, \
             rack = ?4, enrolment = 'enrolled', driver_info = ?5, properties = ?6, updated_at = ?7",
        )
        .bind(node_id.to_string())
        .bind(name)
        .bind(site.unwrap_or_else(|| "default".to_owned()))
        .bind(rack.unwrap_or_else(|| "default".to_owned()))
        .bind(json(&driver_info))
        .bind(json(&properties))
        .bind(tx.now)
        .execute(&mut *tx.inner)
        .await?;
        tx.send(&Item::DeclareQueue(node_id)).await?;
        tx.tell_node(node_id, "enrolled");
        tx.commit().await?;
        self.get(&node_id.to_string()).await
    }

    /// Changes a node.
    ///
    /// # Errors
    /// There is none, its new name is taken, a field does not fit, or there is no key for a secret.
    pub async fn change(&self, node: &str, change: NodeChange) -> Result<Node, StoreError> {
        check_place(change.site.as_deref(), change.rack.as_deref())?;
        check_name(change.name.as_deref())?;
        let mut tx = self.store.begin().await?;
        let row = tx.require_node(node).await?;
        let node_id = row.id()?;
        tx.require_free_name(node_id, change.name.as_deref()).await?;
        let mut driver_info = row.driver_info()?;
        let told_how_to_reach_it = !change.driver_info.is_empty();
        for (key, value) in driver_secrets::seal(&tx.vault, &row.id, change.driver_info)? {
            if value.is_null() {
                driver_info.remove(&key);
            } else {
                driver_info.insert(key, value);
            }
        }
        if told_how_to_reach_it {
            // The whole is read: what a change leaves alone may not go with what it brings.
            DriverInfo::read(&driver_secrets::open(&tx.vault, &row.id, driver_info.clone())?)?;
        }
        sqlx::query(
            "UPDATE nodes SET name = coalesce(?2, name), site = coalesce(?3, site), rack = coalesce(?4, rack), \
             driver_info = ?5, properties = coalesce(?6, properties), updated_at = ?7 WHERE id = ?1",
        )
        .bind(&row.id)
        .bind(change.name)
        .bind(change.site)
        .bind(change.rack)
        .bind(json(&driver_info))
        .bind(change.properties.as_ref().map(json))
        .bind(tx.now)
        .execute(&mut *tx.inner)
        .await?;
        tx.tell_node(node_id, "changed");
        tx.commit().await?;
        self.get(&node_id.to_string()).await
    }

    /// Deletes a node with the history of its jobs, and its queue.
    ///
    /// # Errors
    /// There is none, or it has a job that has not ended.
    pub async fn delete(&self, node: &str) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        let row = tx.require_node(node).await?;
        let open: Option<String> = sqlx::query_scalar(
            "SELECT id FROM jobs WHERE node_id = ? AND state NOT IN ('succeeded', 'failed', 'cancelled') LIMIT 1",
        )
        .bind(&row.id)
        .fetch_optional(&mut *tx.inner)
        .await?;
        if let Some(job) = open {
            return Err(StoreError::Conflict {
                reason: format!("node {} has job {job}, which has not ended; cancel it first", row.id),
            });
        }
        sqlx::query("DELETE FROM nodes WHERE id = ?").bind(&row.id).execute(&mut *tx.inner).await?;
        let node_id = row.id()?;
        tx.send(&Item::DeleteQueue(node_id)).await?;
        tx.tell_node(node_id, "deleted");
        tx.commit().await
    }

    /// What a node is made of, by its last inspection.
    ///
    /// # Errors
    /// There is no such node, or it was never inspected.
    pub async fn inventory(&self, node: &str) -> Result<NodeInventory, StoreError> {
        let query = format!("SELECT id, inventory, inspected_at FROM nodes WHERE {}", by(node));
        let row: Option<(String, Option<String>, Option<i64>)> = sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(key(node))
            .fetch_optional(&self.store.reader)
            .await?;
        let (found, inventory, at) = row.ok_or_else(|| StoreError::UnknownNode { node: node.to_owned() })?;
        let (Some(inventory), Some(at)) = (inventory, at) else {
            return Err(StoreError::NotInspected { node: node.to_owned() });
        };
        Ok(NodeInventory { node: id(&found)?, inspected_at: time(at), inventory: from_json(&inventory)? })
    }
}

impl Tx {
    /// A node, by UUID or name.
    pub(super) async fn node(&mut self, node: &str) -> Result<Option<NodeRow>, StoreError> {
        let query = format!("{NODES} WHERE {}", by(node));
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(key(node))
            .fetch_optional(&mut *self.inner)
            .await?)
    }

    pub(super) async fn require_node(&mut self, node: &str) -> Result<NodeRow, StoreError> {
        self.node(node).await?.ok_or_else(|| StoreError::UnknownNode { node: node.to_owned() })
    }

    async fn require_free_name(&mut self, node: NodeId, name: Option<&str>) -> Result<(), StoreError> {
        let Some(name) = name else { return Ok(()) };
        let taken: Option<String> = sqlx::query_scalar("SELECT id FROM nodes WHERE name = ? AND id <> ?")
            .bind(name)
            .bind(node.to_string())
            .fetch_optional(&mut *self.inner)
            .await?;
        match taken {
            Some(other) => {
                Err(StoreError::Conflict { reason: format!("the name {name:?} is taken by node {other}") })
            }
            None => Ok(()),
        }
    }

    /// Tells who watches that something happened to a node.
    pub(super) fn tell_node(&mut self, node: NodeId, what: &str) {
        self.after.events.push(StreamEvent::Node { node, what: what.to_owned() });
    }
}

/// The condition that finds a node by what a person gives.
fn by(node: &str) -> &'static str {
    if node.parse::<NodeId>().is_ok() { "nodes.id = ?" } else { "nodes.name = ?" }
}

/// What is bound to it. A UUID may be written in several ways; the store knows one.
fn key(node: &str) -> String {
    node.parse::<NodeId>().map_or_else(|_| node.to_owned(), |id| id.to_string())
}

pub(super) fn enrolment_word(enrolment: Enrolment) -> &'static str {
    match enrolment {
        Enrolment::Discovered => "discovered",
        Enrolment::Enrolled => "enrolled",
        Enrolment::Unknown => "unknown",
    }
}

fn check_place(site: Option<&str>, rack: Option<&str>) -> Result<(), StoreError> {
    for (field, word) in [("site", site), ("rack", rack)] {
        if let Some(word) = word {
            topology::check_word(field, word)
                .map_err(|error| StoreError::BadField { field, reason: error.report().message })?;
        }
    }
    Ok(())
}

/// A name is never taken for a UUID, and fits one segment of a path.
fn check_name(name: Option<&str>) -> Result<(), StoreError> {
    let Some(name) = name else { return Ok(()) };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=255).contains(&name.len()) && name.chars().all(fits) && name.parse::<NodeId>().is_err() {
        return Ok(());
    }
    Err(StoreError::BadField {
        field: "name",
        reason: format!(
            "expected 1 to 255 letters, digits, `-`, `_` or `.` that are not a UUID, found {name:?}"
        ),
    })
}

pub(super) fn bad_after() -> StoreError {
    StoreError::BadField { field: "after", reason: "expected the `next` of the page before".to_owned() }
}

/// Makes a page of rows of which one more than `limit` was asked for.
pub(super) fn page<R, T>(
    mut rows: Vec<R>,
    limit: u32,
    place: impl Fn(&R) -> String,
    show: impl Fn(R) -> Result<T, StoreError>,
) -> Result<Page<T>, StoreError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(place);
    Ok(Page { items: rows.into_iter().map(show).collect::<Result<_, _>>()?, next })
}
