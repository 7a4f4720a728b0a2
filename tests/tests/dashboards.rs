//! The dashboards for Grafana: well-formed, and every expression in them can be parsed.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use binnacle_dashboards::GRAFANA;
use serde_json::Value;

/// An expression with Grafana's variables replaced as Grafana does.
fn filled(expr: &str) -> String {
    let mut text = expr.replace("$__rate_interval", "1m").replace("$__interval", "15s");
    for variable in ["$node", "$namespace", "$pod"] {
        text = text.replace(variable, ".*");
    }
    text
}

#[test]
fn every_promql_expression_parses() -> Result<()> {
    let mut checked = 0;
    for (name, text) in GRAFANA {
        let board: Value = serde_json::from_str(text).with_context(|| name.to_owned())?;
        for panel in board["panels"].as_array().context("panels")? {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expr = filled(target["expr"].as_str().context("a target has no expr")?);
                ensure!(!expr.contains('$'), "{name}: an unknown variable in {expr}");
                if target["datasource"]["type"] == "prometheus" {
                    let parsed = promql_parser::parser::parse(&expr);
                    ensure!(parsed.is_ok(), "{name}: {expr}: {parsed:?}");
                    checked += 1;
                }
            }
        }
    }
    ensure!(checked >= 25, "only {checked} expressions were found");
    Ok(())
}

#[test]
fn ids_are_unique_and_panels_do_not_overlap() -> Result<()> {
    let mut uids = BTreeSet::new();
    for (name, text) in GRAFANA {
        let board: Value = serde_json::from_str(text)?;
        ensure!(uids.insert(board["uid"].to_string()), "{name}: the uid is taken");
        let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
        for panel in board["panels"].as_array().context("panels")? {
            ensure!(ids.insert(panel["id"].to_string()), "{name}: panel id {} twice", panel["id"]);
            let at = |field: &str| panel["gridPos"][field].as_u64().context("gridPos");
            let (x, y, w, h) = (at("x")?, at("y")?, at("w")?, at("h")?);
            ensure!(x + w <= 24, "{name}: {} is too wide", panel["title"]);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                ensure!(cells.insert(cell), "{name}: {} covers another panel", panel["title"]);
            }
        }
    }
    Ok(())
}
