//! `binnacle token`: tokens with which agents join.

use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;

use super::DataDir;
use super::table::Table;
use super::time::{format_time, parse_duration};

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// Make a token and print it: once, it cannot be shown again.
    #[command(after_help = "Example:
  binnacle token create --data-dir /var/lib/binnacle > join-token
  binnacle-agent --server https://binnacle.example:9091 --join-token-file join-token")]
    Create {
        /// The only node that may join with it; needed when the node has joined before.
        #[arg(long, value_name = "NAME", conflicts_with = "uses")]
        node: Option<String>,
        /// How long it can be used.
        #[arg(long, value_name = "DURATION", default_value = "1h")]
        ttl: String,
        /// How many nodes may join with it; for a DaemonSet, as many as there are.
        #[arg(long, value_name = "N", default_value_t = 1)]
        uses: u32,
        #[command(flatten)]
        data_dir: DataDir,
    },
    /// List tokens that have not expired. Secrets are not kept.
    List {
        #[command(flatten)]
        data_dir: DataDir,
    },
    /// Make a token worthless. Nodes that have joined with it stay.
    Revoke {
        /// The token's id, as `list` shows it.
        id: String,
        #[command(flatten)]
        data_dir: DataDir,
    },
}

pub(super) fn run(args: Args, now_ms: i64) -> anyhow::Result<ExitCode> {
    match args {
        Args::Create { node, ttl, uses, data_dir } => {
            let ttl_ms = parse_duration(&ttl).context("--ttl")?;
            let authority = data_dir.authority_or_new(now_ms)?;
            let token = authority.create_token(node.clone(), uses, ttl_ms, now_ms)?;
            println!("{}", token.reveal());
            let who = node.map_or(format!("{uses} node(s)"), |node| format!("node {node}"));
            eprintln!(
                "token {} for {who}, until {}; authority {}",
                token.id(),
                format_time(now_ms + ttl_ms),
                authority.fingerprint()
            );
        }
        Args::List { data_dir } => {
            let mut table = Table::new(["ID", "FOR", "EXPIRES", "USED", "BY"]);
            for token in data_dir.authority(now_ms)?.list_tokens(now_ms)? {
                table.row([
                    token.id,
                    token.node.unwrap_or_else(|| "any node".into()),
                    format_time(token.expires_ms),
                    format!("{}/{}", token.used.len(), token.uses),
                    token.used.join(","),
                ]);
            }
            print!("{table}");
        }
        Args::Revoke { id, data_dir } => {
            data_dir.authority(now_ms)?.revoke_token(&id)?;
            println!("token {id} is worthless");
        }
    }
    Ok(ExitCode::SUCCESS)
}
