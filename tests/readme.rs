//! Every command of the README, as it stands there, against a fleet.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use farrier_testbed::fleet::Fleet;
use tokio::process::Command;
use tokio::time::timeout;

const README: &str = include_str!("../README.md");
const SOON: Duration = Duration::from_secs(120);

/// The blocks of code of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(fence.as_str()).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

fn is_ours(block: &str) -> bool {
    block.contains("cargo xtask")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::builder().agents(1).auto_enroll(false);
    let (fleet, api) = fleet.start(&dir.path().join("fleet")).await.unwrap();
    api.node_is_alive(&fleet.agents[0].node(), SOON).await.unwrap();

    let shell = blocks("sh").into_iter().filter(|block| !is_ours(block)).map(|block| ("bash", "-euo", block));
    let python = blocks("python").into_iter().map(|block| ("/usr/bin/python3", "-c", block));
    // In the order in which a reader meets them: what a block makes, the next one uses.
    let mut all: Vec<_> = shell.chain(python).collect();
    all.sort_by_key(|(_, _, block)| README.find(block).unwrap());
    assert!(all.len() >= 7, "{all:?}");
    let bin = Path::new(env!("CARGO_BIN_EXE_farrier")).parent().unwrap();
    for (program, option, block) in all {
        let arguments =
            if program == "bash" { vec![option, "pipefail", "-c", block] } else { vec![option, block] };
        let running = Command::new(program)
            .args(arguments)
            .current_dir(dir.path())
            .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()))
            .env("FARRIER_API", api.url())
            .env("FARRIER_BROKER", fleet.rabbitmq.amqp_url())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output =
            timeout(SOON, running).await.unwrap_or_else(|_| panic!("it does not end:\n{block}")).unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}:\n{block}\n--- said\n{out}{err}", output.status);
        println!("--- {block}\n{out}{err}");
    }
}

#[test]
fn what_it_links_to_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let links = README.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    for link in links.filter(|link| !link.starts_with("http")) {
        assert!(root.join(link).exists(), "{link}");
    }
}

#[test]
fn the_two_commands_are_the_ones_that_there_are() {
    let ours: Vec<_> = blocks("sh").into_iter().filter(|block| is_ours(block)).collect();
    assert_eq!(ours.len(), 1);
    let commands: Vec<_> = ours[0].lines().map(|line| line.split('#').next().unwrap().trim()).collect();
    assert_eq!(commands, ["cargo xtask demo", "cargo xtask test"]);
}
