//! A target: where to ask, how often, and the labels its series carry.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use binnacle_proto::Labels;

use super::config::{Job, duration};
use super::relabel::relabel;

/// Something to scrape.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) job: Arc<Job>,
    /// Labels before relabelling.
    pub(super) discovered: Labels,
    /// Labels of all its series: `job`, `instance` and what discovery and relabelling added.
    pub(super) labels: Labels,
    pub(super) url: String,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Target {
    /// The target that `found` is after relabelling; `None` when the rules drop it.
    ///
    /// # Errors
    /// When the labels do not make a target.
    pub(super) fn new(job: &Arc<Job>, found: &Labels) -> Result<Option<Self>, String> {
        let mut labels = job.discovered(found);
        let discovered = labels.clone().build();
        if !relabel(&mut labels, &job.relabel) {
            return Ok(None);
        }
        let get = |name: &str| labels.get(name).unwrap_or_default().to_owned();
        let address = get("__address__");
        if address.is_empty() {
            return Err("no __address__".to_owned());
        }
        if address.contains('/') {
            return Err(format!("{address:?} is not an address like host:9100"));
        }
        let time = |name: &str| match duration(&get(name)) {
            Ok(Duration::ZERO) => Err(format!("{name} must not be 0")),
            Ok(time) => Ok(time),
            Err(e) => Err(format!("{name}: {e}")),
        };
        let (interval, timeout) = (time("__scrape_interval__")?, time("__scrape_timeout__")?);
        if timeout > interval {
            return Err("__scrape_timeout__ must not be longer than __scrape_interval__".to_owned());
        }
        let scheme = get("__scheme__");
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(format!("__scheme__: {scheme:?} is neither http nor https"));
        }
        let path = get("__metrics_path__");
        let slash = if path.starts_with('/') { "" } else { "/" };
        let mut url = format!("{scheme}://{address}{slash}{path}");
        let all = labels.build();
        let mut separator = if path.contains('?') { '&' } else { '?' };
        for (name, value) in parameters(job, &all) {
            let _ = write!(url, "{separator}{}={}", escaped(&name), escaped(&value));
            separator = '&';
        }
        if labels.get("instance").is_none() {
            labels.set("instance", address);
        }
        let labels = labels.build().filtered(|name| !name.starts_with("__"));
        Ok(Some(Self { job: job.clone(), discovered, labels, url, interval, timeout }))
    }

    /// What makes it this target and no other.
    pub(super) fn key(&self) -> Key {
        Key {
            job: self.job.name.clone(),
            labels: self.labels.clone(),
            url: self.url.clone(),
            interval: self.interval,
            timeout: self.timeout,
        }
    }

    /// How long after each full interval of the clock it is asked: targets spread evenly.
    pub(super) fn offset(&self, seed: u64) -> Duration {
        let hash = self.labels.stable_hash() ^ seed ^ (self.url.len() as u64).rotate_left(32);
        let interval = self.interval.as_nanos().max(1) as u64;
        Duration::from_nanos(hash % interval)
    }
}

/// What makes a target: with anything else in it, it is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    job: String,
    labels: Labels,
    url: String,
    interval: Duration,
    timeout: Duration,
}

/// The job's parameters; the first value of each may have been relabelled.
fn parameters(job: &Job, labels: &Labels) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, values) in &job.params {
        all.extend(values.iter().map(|value| (name.clone(), value.clone())));
    }
    for (label, value) in labels.iter() {
        let Some(name) = label.strip_prefix("__param_") else { continue };
        match all.iter_mut().find(|(have, _)| have == name) {
            Some((_, first)) => value.clone_into(first),
            None => all.push((name.to_owned(), value.to_owned())),
        }
    }
    // As Go writes them: sorted by name, values in their order.
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b' ' => out.push('+'),
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::relabel::{Rule, Written};
    use super::*;

    fn job(change: impl FnOnce(&mut Job)) -> Arc<Job> {
        let mut job = Job::of_pods("j", Duration::from_secs(15));
        change(&mut job);
        Arc::new(job)
    }

    fn found(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn a_target_has_its_address_as_instance_and_no_inner_labels() {
        let job = job(|_| ());
        let target = Target::new(&job, &found(&[("__address__", "h:1"), ("__meta_x", "y"), ("env", "e")]));
        let target = target.unwrap().unwrap();
        assert_eq!(target.labels.to_string(), r#"{env="e", instance="h:1", job="j"}"#);
        assert_eq!(target.url, "http://h:1/metrics");
        assert!(target.offset(1) < target.interval && target.offset(1) != target.offset(2));
    }

    #[test]
    fn parameters_paths_and_times_may_be_relabelled() {
        let rule = |target: &str, text: &str| {
            let some = |text: &str| Some(text.to_owned());
            let written =
                Written { target_label: some(target), replacement: some(text), ..Written::default() };
            Rule::new(&written).unwrap()
        };
        let job = job(|job| {
            job.params = [("m".to_owned(), vec!["a b".to_owned(), "c".to_owned()])].into();
            job.relabel = vec![
                rule("__param_target", "x/é"),
                rule("__metrics_path__", "probe"),
                rule("__scrape_interval__", "5s"),
                rule("__scrape_timeout__", "1s"),
                rule("instance", "i"),
            ];
        });
        let target = Target::new(&job, &found(&[("__address__", "h:1")])).unwrap().unwrap();
        assert_eq!(target.url, "http://h:1/probe?m=a+b&m=c&target=x%2F%C3%A9");
        assert_eq!((target.interval, target.labels.get("instance")), (Duration::from_secs(5), Some("i")));
    }

    #[test]
    fn a_target_asked_at_another_pace_is_another_target() {
        let job = job(|_| ());
        let key = |interval: &str, timeout: &str| {
            let pairs = [
                ("__address__", "h:1"),
                ("__scrape_interval__", interval),
                ("__scrape_timeout__", timeout),
                ("__scheme__", "https"),
            ];
            let target = Target::new(&job, &found(&pairs)).unwrap().unwrap();
            assert_eq!(target.url, "https://h:1/metrics");
            target.key()
        };
        assert_eq!(key("15s", "5s"), key("15s", "5s"));
        assert_ne!(key("15s", "5s"), key("30s", "5s"));
        assert_ne!(key("15s", "5s"), key("15s", "6s"));
    }

    #[test]
    fn what_makes_no_target_is_said() {
        let job = job(|_| ());
        for (pairs, part) in [
            (vec![("a", "b")], "__address__"),
            (vec![("__address__", "h:1/x")], "address"),
            (vec![("__address__", "h:1"), ("__scheme__", "ftp")], "https"),
            (vec![("__address__", "h:1"), ("__scrape_interval__", "288230376151711744ms")], "year"),
            (vec![("__address__", "h:1"), ("__scrape_interval__", "1s")], "longer"),
            (vec![("__address__", "h:1"), ("__scrape_interval__", "never")], "duration"),
        ] {
            let error = Target::new(&job, &found(&pairs)).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
