//! `farrier node`.

use clap::{Args, Subcommand};
use farrier::wire::api::{Enrolment, Node, NodeChange, NodeCreate, NodeInventory, NodeProperties};
use farrier::wire::{AgentState, NodeId};
use reqwest::Method;
use serde_json::{Map, Value};

use super::client::Client;
use super::error::Failure;
use super::exit::Exit;
use super::output::{Output, ago, or_dash, table, table_text, time};
use super::page::{Paging, list};
use super::power::{self, PowerArgs};
use super::report::inventory_text;
use super::spec::{key_value, loose_value};

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Say that a node is ours: from then on it takes jobs
    Enroll(EnrollArgs),
    /// List the nodes
    List(ListArgs),
    /// Show a node
    Show(NodeRef),
    /// Change a node
    Set(SetArgs),
    /// Forget a node
    Delete(NodeRef),
    /// Show what a node is made of, as the last `inspect` found it
    Inventory(NodeRef),
    /// Switch the power of a node through its management controller, and wait until it is so; or ask for it
    Power(PowerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NodeRef {
    /// The UUID or the name of the node
    node: String,
}

#[derive(Debug, Args)]
pub(crate) struct EnrollArgs {
    /// The UUID of the node, as its agent says it
    id: NodeId,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The UUID or the name of the node
    node: String,
    #[command(flatten)]
    settings: Settings,
    /// Remove a key from the driver info; may be repeated
    #[arg(long, value_name = "KEY")]
    unset_driver_info: Vec<String>,
    /// Remove a property; may be repeated
    #[arg(long, value_name = "KEY")]
    unset_property: Vec<String>,
}

/// What may be said of a node, by Ironic's names.
#[derive(Debug, Args)]
struct Settings {
    /// Its name
    #[arg(long)]
    name: Option<String>,
    /// The site where it stands
    #[arg(long)]
    site: Option<String>,
    /// The rack where it stands
    #[arg(long)]
    rack: Option<String>,
    /// How to reach and treat it, in Ironic's key names; the value is JSON where it is JSON, else text; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    driver_info: Vec<String>,
    /// What it is, in Ironic's key names: root_device='{"serial": "S123"}', skip_block_devices='[{"tran": "usb"}]'
    #[arg(long, value_name = "KEY=JSON")]
    property: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those that are discovered, or enrolled
    #[arg(long, value_parser = ["discovered", "enrolled"])]
    enrolment: Option<String>,
    /// Only those of a site
    #[arg(long)]
    site: Option<String>,
    /// Only those of a rack
    #[arg(long)]
    rack: Option<String>,
    /// Only those whose agent is alive, or is not
    #[arg(long, value_name = "true|false")]
    alive: Option<bool>,
    #[command(flatten)]
    paging: Paging,
}

pub(crate) async fn run(command: NodeCommand, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
    match command {
        NodeCommand::Enroll(args) => {
            let create = args.settings.create(args.id)?;
            let node: Node = client.send(Method::POST, &["nodes"], &create).await?;
            output.show(&node, node_text)?;
        }
        NodeCommand::List(args) => {
            let page = list::<Node>(client, "nodes", &args.query(), &args.paging).await?;
            output.show(&page, |page| nodes_text(&page.items, page.next.as_deref()))?;
        }
        NodeCommand::Show(NodeRef { node }) => {
            let node: Node = client.get(&["nodes", &node], &[]).await?;
            output.show(&node, node_text)?;
        }
        NodeCommand::Set(args) => {
            let change = args.change(client).await?;
            let node: Node = client.send(Method::PATCH, &["nodes", &args.node], &change).await?;
            output.show(&node, node_text)?;
        }
        NodeCommand::Delete(NodeRef { node }) => {
            client.act(Method::DELETE, &["nodes", &node]).await?;
            output.note(&format!("{node} is deleted"));
        }
        NodeCommand::Power(args) => power::run(args, client, output).await?,
        NodeCommand::Inventory(NodeRef { node }) => {
            let taken: NodeInventory = client.get(&["nodes", &node, "inventory"], &[]).await?;
            output.show(&taken, |taken| {
                format!("taken {}\n{}", time(taken.inspected_at), inventory_text(&taken.inventory))
            })?;
        }
    }
    Ok(Exit::Success)
}

impl Settings {
    fn create(self, id: NodeId) -> Result<NodeCreate, Failure> {
        let driver_info = self.driver_info()?;
        let properties = self.properties(NodeProperties::default(), &[])?;
        Ok(NodeCreate { id, name: self.name, site: self.site, rack: self.rack, driver_info, properties })
    }

    fn driver_info(&self) -> Result<Map<String, Value>, Failure> {
        self.driver_info
            .iter()
            .map(|pair| {
                let (key, value) = key_value("--driver-info", pair)?;
                Ok((key.to_owned(), loose_value(value)))
            })
            .collect()
    }

    /// `properties` with those given here in their place and those of `unset` removed.
    fn properties(&self, properties: NodeProperties, unset: &[String]) -> Result<NodeProperties, Failure> {
        let mut map = match serde_json::to_value(properties) {
            Ok(Value::Object(map)) => map,
            // Properties are an object, and all they hold is JSON.
            _ => Map::new(),
        };
        for key in unset {
            map.remove(key);
        }
        for pair in &self.property {
            let (key, value) = key_value("--property", pair)?;
            let value = serde_json::from_str(value)
                .map_err(|error| Failure::flag("--property", pair, format!("not JSON: {error}")))?;
            map.insert(key.to_owned(), value);
        }
        Ok(farrier::wire::envelope::from_value("properties", Value::Object(map))?)
    }
}

impl SetArgs {
    async fn change(&self, client: &Client) -> Result<NodeChange, Failure> {
        let mut driver_info = self.settings.driver_info()?;
        driver_info.extend(self.unset_driver_info.iter().map(|key| (key.clone(), Value::Null)));
        let properties = if self.settings.property.is_empty() && self.unset_property.is_empty() {
            None
        } else {
            let node: Node = client.get(&["nodes", &self.node], &[]).await?;
            Some(self.settings.properties(node.properties, &self.unset_property)?)
        };
        let change = NodeChange {
            name: self.settings.name.clone(),
            site: self.settings.site.clone(),
            rack: self.settings.rack.clone(),
            driver_info,
            properties,
        };
        if change == NodeChange::default() {
            return Err(Failure::flag("farrier node set", &*self.node, "nothing to change; see --help"));
        }
        Ok(change)
    }
}

impl ListArgs {
    fn query(&self) -> Vec<(&'static str, String)> {
        [
            ("enrolment", self.enrolment.clone()),
            ("site", self.site.clone()),
            ("rack", self.rack.clone()),
            ("alive", self.alive.map(|alive| alive.to_string())),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
    }
}

fn enrolment_text(enrolment: Enrolment) -> &'static str {
    match enrolment {
        Enrolment::Discovered => "discovered",
        Enrolment::Enrolled => "enrolled",
        Enrolment::Unknown => "unknown",
    }
}

/// What the agent does, or that it has fallen silent.
fn agent_text(node: &Node) -> &'static str {
    match &node.agent {
        None => "-",
        Some(agent) if !agent.alive => "lost",
        Some(agent) => match agent.state {
            AgentState::Idle => "idle",
            AgentState::Busy => "busy",
            AgentState::Draining => "draining",
            AgentState::Unknown => "unknown",
        },
    }
}

fn nodes_text(nodes: &[Node], next: Option<&str>) -> String {
    let mut rows = table(&["NAME", "UUID", "SITE/RACK", "ENROLMENT", "AGENT", "LAST SEEN", "JOB"]);
    for node in nodes {
        rows.add_row([
            or_dash(node.name.as_ref()),
            node.id.to_string(),
            format!("{}/{}", node.site, node.rack),
            enrolment_text(node.enrolment).to_owned(),
            agent_text(node).to_owned(),
            or_dash(node.agent.as_ref().map(|agent| ago(agent.last_seen_at))),
            or_dash(node.job),
        ]);
    }
    super::page::with_rest(table_text(&rows), next)
}

fn node_text(node: &Node) -> String {
    let mut rows = table(&["FIELD", "VALUE"]);
    let mut row = |field: &str, value: String| {
        rows.add_row([field.to_owned(), value]);
    };
    row("id", node.id.to_string());
    row("name", or_dash(node.name.as_ref()));
    row("site", node.site.clone());
    row("rack", node.rack.clone());
    row("enrolment", enrolment_text(node.enrolment).to_owned());
    row("agent", agent_text(node).to_owned());
    if let Some(agent) = &node.agent {
        row("agent.hostname", agent.hostname.clone());
        row("agent.version", agent.version.clone());
        row("agent.boot_id", agent.boot_id.to_string());
        row("agent.last_seen", ago(agent.last_seen_at));
    }
    row("job", or_dash(node.job));
    row("inspected", or_dash(node.inspected_at.map(time)));
    for (key, value) in &node.driver_info {
        row(&format!("driver_info.{key}"), value.to_string());
    }
    if let Ok(Value::Object(properties)) = serde_json::to_value(&node.properties) {
        for (key, value) in &properties {
            row(&format!("properties.{key}"), value.to_string());
        }
    }
    row("created", time(node.created_at));
    row("updated", time(node.updated_at));
    table_text(&rows)
}
