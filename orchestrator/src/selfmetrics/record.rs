//! Writes the text of `/metrics` into the database, as a scrape of the server by itself.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use binnacle_proto::{Labels, LabelsBuilder, STALE_NAN};
use binnacle_tsdb::{Db, Error, Sample, SeriesRef};
use tokio_util::sync::CancellationToken;

use crate::Clock;

/// Writes what `gather` returns every `interval`, labelled `job="binnacle"` and `instance`, until
/// `shutdown`. Failures are logged: the next round tries again.
pub(crate) async fn record(
    db: Db,
    gather: impl Fn() -> String + Send,
    instance: String,
    interval: Duration,
    clock: Clock,
    shutdown: CancellationToken,
) {
    let mut known: HashMap<String, SeriesRef> = HashMap::new();
    let mut timer = tokio::time::interval(interval);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = shutdown.cancelled() => return,
        }
        let now_ms = clock.now_ms();
        let samples = match round(&db, &gather(), &instance, now_ms, &mut known) {
            Ok(samples) => samples,
            Err(error) => {
                tracing::warn!(%error, "own metrics are not recorded");
                continue;
            }
        };
        if let Err(error) = db.append(samples, now_ms).await {
            tracing::warn!(%error, "own metrics are not recorded");
        }
    }
}

/// The samples of one round; series that are no longer there end with a staleness marker.
fn round(
    db: &Db,
    text: &str,
    instance: &str,
    t_ms: i64,
    known: &mut HashMap<String, SeriesRef>,
) -> Result<Vec<Sample>, Error> {
    let mut samples = Vec::with_capacity(known.len());
    let mut present = HashSet::with_capacity(known.len());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let reference = match known.get(series) {
            Some(reference) => *reference,
            None => {
                let Some(labels) = labels(series, instance) else { continue };
                let reference = db.resolve(&labels)?;
                known.insert(series.to_owned(), reference);
                reference
            }
        };
        present.insert(reference);
        samples.push(Sample { series: reference, t_ms, value });
    }
    known.retain(|_, reference| {
        let still = present.contains(reference);
        if !still {
            samples.push(Sample { series: *reference, t_ms, value: STALE_NAN });
        }
        still
    });
    Ok(samples)
}

/// The label set of `name{a="b",…}` as the server writes it; `None` when it is not that.
fn labels(series: &str, instance: &str) -> Option<Labels> {
    let (name, mut rest) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    let mut builder = LabelsBuilder::new();
    builder.set("__name__", name).set("job", "binnacle").set("instance", instance);
    while !rest.is_empty() {
        let (label, tail) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = tail.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        builder.set(label.trim(), value);
        rest = tail.get(end..)?.trim_start_matches([',', ' ']);
    }
    Some(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_with_escapes() {
        let labels = labels(r#"x_total{a="q\"\\\n",b=""}"#, "here").unwrap();
        assert_eq!(labels.get("a"), Some("q\"\\\n"));
        assert_eq!(labels.get("b"), None);
        assert_eq!(labels.get("job"), Some("binnacle"));
        assert_eq!(labels.metric_name(), Some("x_total"));
    }

    #[tokio::test]
    async fn series_that_vanish_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = crate::config::Config::default().tsdb;
        config.dir = dir.path().into();
        let db = Db::open(config).unwrap();
        let mut known = HashMap::new();
        let first = round(&db, "# HELP a x\na 1\nb{c=\"d\"} 2.5\n", "i", 1_000, &mut known).unwrap();
        assert_eq!(first.iter().map(|sample| sample.value).collect::<Vec<_>>(), [1.0, 2.5]);
        let second = round(&db, "a 2\n", "i", 2_000, &mut known).unwrap();
        assert_eq!(second[0].value, 2.0);
        assert!(binnacle_proto::is_stale(second[1].value));
        assert_eq!(second[1].series, first[1].series);
        assert_eq!(known.len(), 1);
    }
}
