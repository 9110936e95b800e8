//! `/v1/events`.

use farrier::wire::NodeId;
use farrier::wire::api::StreamEvent;
use reqwest::Response;
use serde_json::Value;

use crate::server::{SOON, Server, content_type};

/// Reads server-sent events off a response.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    async fn open(server: &Server, query: &str) -> Self {
        // No timeout on the whole: each read has one.
        let response = server.client.get(format!("{}/v1/events{query}", server.base)).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), content_type(&response).as_str()),
            (200, "text/event-stream")
        );
        let mut events = Self { response, text: String::new() };
        assert_eq!(events.block().await.as_deref(), Some(": from now on"));
        events
    }

    /// Everything up to the next empty line; nothing at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let found = block.to_owned();
                self.text = rest.to_owned();
                return Some(found);
            }
            let chunk = tokio::time::timeout(SOON, self.response.chunk())
                .await
                .expect("an event in time")
                .unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn next(&mut self) -> StreamEvent {
        let block = self.block().await.expect("the stream goes on");
        let field = |name: &str| {
            block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap().to_owned()
        };
        let (kind, data) = (field("event:"), field("data:"));
        let value: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(value["kind"], kind, "the name of the event is its kind");
        serde_json::from_value(value).unwrap()
    }
}

#[tokio::test]
async fn events_come_as_they_happen_and_by_filter() {
    let server = Server::start().await;
    let (first, second) = (server.enrol("n1").await, server.enrol("n2").await);
    let mut all = Events::open(&server, "").await;
    let mut of_second = Events::open(&server, "?node=n2").await;
    let earlier = server.submit_noop("n1").await;
    let job = server.submit_noop("n2").await;
    let mut of_job = Events::open(&server, &format!("?job={job}")).await;
    server.ask("POST", &format!("/v1/jobs/{earlier}/cancel"), None, 202).await;
    server.ask("POST", &format!("/v1/jobs/{job}/cancel"), None, 202).await;

    let mut seen = Vec::new();
    while seen.len() < 4 {
        if let StreamEvent::Job(changed) = all.next().await {
            seen.push((changed.node.to_string(), changed.state.to_string()));
        }
    }
    let pair = |node: &String, state: &str| (node.clone(), state.to_owned());
    let expected = [
        pair(&first, "queued"),
        pair(&second, "queued"),
        pair(&first, "cancelled"),
        pair(&second, "cancelled"),
    ];
    assert_eq!(seen, expected);

    for expected in ["queued", "cancelled"] {
        let StreamEvent::Job(changed) = of_second.next().await else { panic!("another kind") };
        assert_eq!(
            (changed.node.to_string(), changed.state.to_string()),
            (second.clone(), expected.to_owned())
        );
    }
    let StreamEvent::Job(changed) = of_job.next().await else { panic!("another kind") };
    assert_eq!((changed.job.to_string(), changed.state.as_str()), (job, "cancelled"));
}

// One thread: the reader cannot run while the events are published, so that it must fall behind.
#[tokio::test(flavor = "current_thread")]
async fn a_reader_that_is_too_slow_is_told_what_it_has_missed() {
    let server = Server::start().await;
    server.enrol("n1").await;
    let node = NodeId::new();
    let mut events = Events::open(&server, "?node=n1").await;
    for _ in 0..100_000 {
        server.feed.publish(StreamEvent::Node { node, what: "changed".into() });
    }
    match events.next().await {
        StreamEvent::Missed { count } => assert!((1..100_000).contains(&count), "{count}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_shutdown_ends_event_streams_and_the_server() {
    let server = Server::start().await;
    let mut events = Events::open(&server, "").await;
    server.shutdown.cancel();
    assert_eq!(events.block().await, None);
    tokio::time::timeout(SOON, server.served).await.expect("the server ends in time").unwrap().unwrap();
}
