//! Each kind of decision is there as series and as log records that say why.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::checks::unix_nanoseconds;
use binnacle_tests::client::Client;

/// What a record must hold to answer *why*.
const FIELDS: [&str; 4] = ["query", "values", "action", "reason"];

pub async fn verdict(client: &Client, begun_ns: i64) -> Result<String> {
    let mut told = Vec::new();
    for decision in ["hpa", "schedule", "oom"] {
        let selector = format!(r#"{{job="binnacle",source="journal",decision="{decision}"}}"#);
        let records = client.logs(&selector, begun_ns, unix_nanoseconds()).await?;
        let mut decisions = 0;
        for record in &records {
            let json: Value = serde_json::from_str(&record.line)
                .with_context(|| format!("a {decision} record is not JSON: {}", record.line))?;
            // Events that the node reports (a kill, an eviction) are facts, not decisions.
            if json.get("event").is_some() {
                continue;
            }
            for field in FIELDS {
                let there = json.get(field).is_some_and(|value| !value.is_null() && value != "");
                ensure!(there, "a {decision} record has no `{field}`: {}", record.line);
            }
            decisions += 1;
        }
        ensure!(decisions > 0, "no log record of a {decision} decision");
        let series = format!(r#"count({{__name__=~"binnacle_{decision}_.+"}})"#);
        let series = client.number(&series, None).await?.unwrap_or_default();
        ensure!(series > 0.0, "no series binnacle_{decision}_*");
        told.push(format!("{decision}: {decisions} records, {series} series"));
    }
    Ok(told.join("; "))
}
