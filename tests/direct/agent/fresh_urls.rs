//! A URL that runs out while the image is fetched: the agent asks over the broker, and goes on where it stopped.

use farrier::wire::{
    AgentEvent, CommandId, CommandRef, ErrorCode, ErrorReport, FreshImageUrls, ImageUrlCommand,
    ImageUrlWanted, Outcome, RunCommand,
};
use farrier_testbed::http::{Fault, FaultyServer, Script};

use super::station::{Station, image, next};

const CUT: usize = 4 << 20;

async fn runs_out() -> FaultyServer {
    let faults = vec![Fault::CutAfter(CUT), Fault::Status(401), Fault::Nothing];
    FaultyServer::run(Script::new(image(), faults)).await.unwrap()
}

async fn wanted(station: &mut Station) -> ImageUrlWanted {
    next(&mut station.results, "the question for a fresh URL", |event| match event {
        AgentEvent::ImageUrlWanted(wanted) => Some(wanted),
        _ => None,
    })
    .await
}

fn answer(command: &RunCommand, answer: FreshImageUrls) -> ImageUrlCommand {
    ImageUrlCommand { reference: command.reference, node: command.node, answer }
}

fn made(url: &str) -> FreshImageUrls {
    FreshImageUrls::Made { image_source: url.parse().unwrap(), image_mirrors: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_goes_on_with_the_url_that_it_is_sent() {
    let mut station = Station::start(None).await;
    let server = runs_out().await;
    let command = station.deploy(&server.url("image?temp_url_sig=first"));
    station.send(command.clone()).await;
    let wanted = wanted(&mut station).await;
    assert_eq!((wanted.reference, wanted.status), (command.reference, 401));
    assert_eq!(wanted.image_source, format!("{}?...", server.url("image")), "a signature is not shown");

    // What is for another command is no answer.
    let other = CommandRef { command: CommandId::new(), ..command.reference };
    let misled = ImageUrlCommand { reference: other, ..answer(&command, made("http://127.0.0.1:9/wrong")) };
    station.send(misled).await;
    station.send(answer(&command, made(&server.url("image?temp_url_sig=second")))).await;
    let result = station.result(&command).await;
    assert_eq!(result.outcome, Outcome::Succeeded, "{result:#?}");
    station.assert_holds_image();
    let requests = server.requests();
    let asked: Vec<_> = requests
        .iter()
        .map(|request| (request.line.contains("sig=second"), request.header("range")))
        .collect();
    let rest = Some("bytes=4194304-");
    assert_eq!(asked, [(false, None), (false, rest), (true, rest)], "nothing that came is fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_can_have_no_other_url_fails_with_the_reason() {
    let mut station = Station::start(None).await;
    let server = runs_out().await;
    let command = station.deploy(&server.url("image"));
    station.send(command.clone()).await;
    wanted(&mut station).await;
    let error = ErrorReport::new(ErrorCode::ImageNotFound, "the object is gone");
    station.send(answer(&command, FreshImageUrls::NotMade { error })).await;
    let result = station.result(&command).await;
    let error = result.error.unwrap();
    assert_eq!((result.outcome, error.code), (Outcome::Failed, ErrorCode::ImageNotFound), "{error}");
    assert!(error.message.contains("the object is gone") && error.message.contains("401"), "{error}");
    let next = station.noop();
    station.succeeds(&next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_question_outlives_the_broker() {
    let mut station = Station::start(None).await;
    let faults = vec![Fault::StallAfter(CUT), Fault::Status(403), Fault::Nothing];
    let server = FaultyServer::run(Script::new(image(), faults)).await.unwrap();
    let command = station.deploy(&server.url("image?sig=first"));
    station.send(command.clone()).await;
    server.has_sent(CUT).await.unwrap();
    station.fleet.rabbitmq.freeze().unwrap();
    station.logs("The question for a fresh URL was not confirmed").await;
    station.fleet.rabbitmq.thaw().unwrap();
    assert_eq!(wanted(&mut station).await.status, 403);
    station.send(answer(&command, made(&server.url("image?sig=second")))).await;
    let result = station.result(&command).await;
    assert_eq!(result.outcome, Outcome::Succeeded, "{result:#?}");
    station.assert_holds_image();
}
