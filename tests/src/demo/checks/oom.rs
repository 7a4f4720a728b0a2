//! `leaky` saw its `oom_score_adj` raised before it ended, and the log store knows.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::checks::unix_nanoseconds;
use crate::procs;
use binnacle_tests::client::Client;

/// The real `/proc/PID/oom_score_adj` of each `leaky` container over time.
#[derive(Default)]
pub struct Check {
    seen: BTreeMap<(String, String), Watched>,
}

struct Watched {
    first: i32,
    most: i32,
    ended: bool,
}

impl Check {
    pub async fn observe(&mut self, client: &Client, _now_s: f64) -> Result<()> {
        let found = client.query(r#"container_memory_working_set_bytes{container="leaky"}"#, None).await?;
        for sample in found {
            let (Some(node), Some(id)) = (sample.labels.get("node"), sample.labels.get("id")) else {
                continue;
            };
            let Some(adj) = real_adj(node, id) else { continue };
            let new = Watched { first: adj, most: adj, ended: false };
            self.seen.entry((node.clone(), id.clone())).or_insert(new);
        }
        for ((node, id), watched) in &mut self.seen {
            match real_adj(node, id) {
                Some(adj) => watched.most = watched.most.max(adj),
                None => watched.ended = true,
            }
        }
        Ok(())
    }

    pub async fn verdict(&self, client: &Client, begun_ns: i64) -> Result<String> {
        ensure!(!self.seen.is_empty(), "no process of `leaky` was seen");
        let course = self.seen.values().map(|w| {
            format!("{} → {}{}", w.first, w.most, if w.ended { ", then ended" } else { ", still runs" })
        });
        let course = course.collect::<Vec<_>>().join("; ");
        let raised_and_ended = self.seen.values().any(|w| w.most > w.first && w.ended);
        ensure!(raised_and_ended, "not raised before its end: {course}");
        let selector = r#"{job="binnacle",source="journal",decision="oom"} |= "leaky""#;
        let records = client.logs(selector, begun_ns, unix_nanoseconds()).await?;
        ensure!(!records.is_empty(), "{course}, but the log store has no record of it");
        let end = r#"{job="binnacle",source="journal"} |= "leaky" |~ "OOMKilled|[Ee]vict""#;
        let ends = client.logs(end, begun_ns, unix_nanoseconds()).await?;
        ensure!(!ends.is_empty(), "{course}, but the log store has no record of its end");
        Ok(format!("{course}; {} records, {} of its end", records.len(), ends.len()))
    }
}

/// The largest value among the container's processes; `None` when none is left.
fn real_adj(node: &str, id: &str) -> Option<i32> {
    procs::container_pids(node, id).into_iter().filter_map(procs::oom_score_adj).max()
}
