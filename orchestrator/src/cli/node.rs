//! `binnacle node`: nodes that have joined with a token.

use std::process::ExitCode;

use clap::Subcommand;

use super::DataDir;
use super::table::Table;
use super::time::format_time;

/// What to do with nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// List nodes that have joined with a token.
    List {
        #[command(flatten)]
        data_dir: DataDir,
    },
    /// Make a node's certificates worthless, and end its streams within seconds. It comes back with a
    /// token for its name.
    Revoke {
        /// Name of the node.
        node: String,
        #[command(flatten)]
        data_dir: DataDir,
    },
}

pub(super) fn run(args: Args, now_ms: i64) -> anyhow::Result<ExitCode> {
    match args {
        Args::List { data_dir } => {
            let mut table = Table::new(["NODE", "JOINED", "CERTIFICATE UNTIL", "REVOKED"]);
            for (node, record) in data_dir.authority(now_ms)?.list_nodes()?.iter() {
                let revoked = record.revoked_ms.map(format_time).unwrap_or_default();
                table.row([
                    node.clone(),
                    format_time(record.joined_ms),
                    format_time(record.expires_ms),
                    revoked,
                ]);
            }
            print!("{table}");
        }
        Args::Revoke { node, data_dir } => {
            data_dir.authority(now_ms)?.revoke_node(&node, now_ms)?;
            println!("the certificates of node {node} are worthless");
        }
    }
    Ok(ExitCode::SUCCESS)
}
