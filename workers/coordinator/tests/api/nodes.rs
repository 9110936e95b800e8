//! `/v1/nodes`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use farrier::wire::NodeId;
use farrier_testbed::http::{Said, ScriptedServer};
use serde_json::{Value, json};

use crate::server::{Server, pages, told};

#[tokio::test]
async fn a_node_is_enrolled_shown_changed_and_deleted() {
    let server = Server::start().await;
    let id = NodeId::new().to_string();
    let create = json!({
        "id": id, "name": "n1", "site": "iad1", "rack": "r12",
        "driver_info": {"redfish_address": "https://bmc", "deploy_forces_oob_reboot": true},
        "properties": {"root_device": {"serial": "S1"}},
    });
    let node = server.post("/v1/nodes", create.clone(), 201).await;
    assert_eq!((&node["enrolment"], &node["site"]), (&json!("enrolled"), &json!("iad1")));
    assert_eq!(node["agent"], Value::Null);
    assert_eq!(server.get(&format!("/v1/nodes/{id}"), 200).await, node);
    assert_eq!(server.get("/v1/nodes/n1", 200).await, node);

    let again = server.post("/v1/nodes", create, 409).await;
    assert_eq!(told(&again).0, "conflict");

    let change = json!({"rack": "r13", "driver_info": {"deploy_forces_oob_reboot": null, "image_http_proxy": "http://p"}});
    let changed = server.ask("PATCH", "/v1/nodes/n1", Some(change), 200).await;
    assert_eq!(changed["rack"], "r13");
    assert_eq!(changed["site"], "iad1", "what is absent stays as it is");
    assert_eq!(
        changed["driver_info"],
        json!({"redfish_address": "https://bmc", "image_http_proxy": "http://p"})
    );
    assert_eq!(changed["properties"], node["properties"]);

    assert_eq!(server.ask("DELETE", "/v1/nodes/n1", None, 204).await, Value::Null);
    let gone = server.get(&format!("/v1/nodes/{id}"), 404).await;
    assert_eq!(told(&gone).0, "unknown-node");
}

#[tokio::test]
async fn no_answer_shows_a_password_and_none_is_taken_for_what_is_shown() {
    let server = Server::start().await;
    let id = NodeId::new().to_string();
    let create = json!({
        "id": id, "name": "n1", "driver_info": {
            "ipmi_address": "10.0.0.1", "ipmi_password": "hunter2", "ipmi_hex_kg_key": "68756e74657232".repeat(3)[..40],
            "image_http_proxy": "http://user:hunter2@proxy:3128"
        },
    });
    let node = server.post("/v1/nodes", create, 201).await;
    let shown = json!({
        "ipmi_address": "10.0.0.1", "ipmi_password": "******", "ipmi_hex_kg_key": "******",
        "image_http_proxy": "http://proxy:3128/"
    });
    assert_eq!(node["driver_info"], shown);
    let changed = server.ask("PATCH", "/v1/nodes/n1", Some(json!({"rack": "r2"})), 200).await;
    let listed = server.get("/v1/nodes", 200).await["items"][0].clone();
    for answer in [changed, listed, server.get("/v1/nodes/n1", 200).await] {
        assert_eq!(answer["driver_info"], shown);
    }
    let change = json!({"driver_info": {"ipmi_password": "******"}});
    let problem = server.ask("PATCH", "/v1/nodes/n1", Some(change), 400).await;
    assert_eq!((told(&problem).0, told(&problem).1), ("bad-schema", Some("driver_info.ipmi_password")));
    let opened = server.store.nodes().driver_info("n1").await.unwrap();
    assert_eq!(opened["ipmi_password"], "hunter2");
}

#[tokio::test]
async fn a_node_that_is_not_there_is_a_404_everywhere() {
    let server = Server::start().await;
    for (method, path, body) in [
        ("GET", "/v1/nodes/n9", None),
        ("PATCH", "/v1/nodes/n9", Some(json!({"rack": "r1"}))),
        ("DELETE", "/v1/nodes/n9", None),
        ("GET", "/v1/nodes/n9/inventory", None),
        ("GET", "/v1/events?node=n9", None),
        ("POST", "/v1/jobs", Some(json!({"node": "n9", "verb": "noop"}))),
    ] {
        let problem = server.ask(method, path, body, 404).await;
        let (code, _, detail) = told(&problem);
        assert_eq!(code, "unknown-node", "{method} {path}");
        assert!(detail.contains("n9"), "{method} {path}: {detail}");
    }
}

#[tokio::test]
async fn an_inventory_that_was_never_taken_is_a_404() {
    let server = Server::start().await;
    server.enrol("n1").await;
    let problem = server.get("/v1/nodes/n1/inventory", 404).await;
    assert!(told(&problem).2.contains("inspect"), "it says how to get one: {problem}");
}

#[tokio::test]
async fn nodes_are_listed_in_pages_and_by_filter() {
    let server = Server::start().await;
    for number in 0..5 {
        let rack = if number < 3 { "r1" } else { "r2" };
        let node = json!({"id": NodeId::new(), "name": format!("n{number}"), "site": "s", "rack": rack});
        server.post("/v1/nodes", node, 201).await;
    }
    assert_eq!(
        pages(&server, "/v1/nodes?limit=2", "name").await,
        (3, ["n0", "n1", "n2", "n3", "n4"].map(str::to_owned).to_vec())
    );
    assert_eq!(
        pages(&server, "/v1/nodes?limit=2&rack=r1", "name").await,
        (2, ["n0", "n1", "n2"].map(str::to_owned).to_vec())
    );
    assert_eq!(
        pages(&server, "/v1/nodes?rack=r2&site=s&enrolment=enrolled&alive=false", "name").await.1.len(),
        2
    );
    assert_eq!(pages(&server, "/v1/nodes?enrolment=discovered", "name").await.1.len(), 0);
    assert_eq!(pages(&server, "/v1/nodes?alive=true", "name").await.1.len(), 0);
    assert_eq!(pages(&server, "/v1/nodes?site=elsewhere", "name").await.1.len(), 0);
}

#[tokio::test]
async fn the_power_of_a_node_is_shown_and_switched_or_it_is_told_why_not() {
    let server = Server::start().await;
    let power = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&power);
    let bmc = ScriptedServer::start(move |asked| {
        if asked.method == "POST" {
            held.store(asked.body["ResetType"] == "On", Ordering::SeqCst);
        }
        let state = if held.load(Ordering::SeqCst) { "On" } else { "Off" };
        let reset = json!({"target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"});
        Said::json(200, &json!({"PowerState": state, "Actions": {"#ComputerSystem.Reset": reset}}))
    });
    let bmc = bmc.await.unwrap();
    server.enrol("n1").await;
    assert_eq!(told(&server.get("/v1/nodes/n1/power", 409).await).0, "no-power-driver");
    let info = json!({"driver_info": {"redfish_address": bmc.url(), "redfish_system_id": "1"}});
    server.ask("PATCH", "/v1/nodes/n1", Some(info), 200).await;
    let off = server.get("/v1/nodes/n1/power", 200).await;
    assert_eq!(off, json!({"state": "off", "driver": "redfish"}));
    let on = server.post("/v1/nodes/n1/power", json!({"action": "on"}), 200).await;
    assert_eq!(on["state"], "on");
    assert!(power.load(Ordering::SeqCst));
    let unknown = server.post("/v1/nodes/n9/power", json!({"action": "on"}), 404).await;
    assert_eq!(told(&unknown).0, "unknown-node");
}
