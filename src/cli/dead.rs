//! `farrier dead`: messages that nobody could process.

use clap::{Args, Subcommand};
use farrier::wire::api::{DeadLetter, Page};
use reqwest::Method;

use super::client::Client;
use super::error::Failure;
use super::exit::Exit;
use super::output::{Output, ago, or_dash, table, table_text};

#[derive(Debug, Subcommand)]
pub(crate) enum DeadCommand {
    /// List them, with what was wrong
    List(ListArgs),
    /// Send one again to where it was first sent
    Requeue(RequeueArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// How many to show at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
}

#[derive(Debug, Args)]
pub(crate) struct RequeueArgs {
    /// The message, as the list names it
    id: String,
}

pub(crate) async fn run(command: DeadCommand, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
    match command {
        DeadCommand::List(args) => {
            let query = [("limit", args.limit.to_string())];
            let page: Page<DeadLetter> = client.get(&["dead"], &query).await?;
            output.show(&page, |page| letters_text(&page.items))?;
        }
        DeadCommand::Requeue(args) => {
            client.act(Method::POST, &["dead", &args.id, "requeue"]).await?;
            output.note(&format!("{} is sent again", args.id));
        }
    }
    Ok(Exit::Success)
}

fn letters_text(letters: &[DeadLetter]) -> String {
    let mut rows = table(&["ID", "CODE", "WHEN", "EXCHANGE", "ROUTING KEY", "REASON"]);
    for letter in letters {
        rows.add_row([
            letter.id.clone(),
            letter.code.clone(),
            or_dash(letter.at.map(ago)),
            letter.exchange.clone(),
            letter.routing_key.clone(),
            letter.reason.clone(),
        ]);
    }
    table_text(&rows)
}
