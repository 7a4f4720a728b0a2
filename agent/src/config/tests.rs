use super::parse::{parse_bytes, parse_capacity, parse_cpu, parse_duration, parse_pairs};
use super::*;

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(Config::from_toml("").unwrap(), Config::default());
}

#[test]
fn an_unknown_field_is_named_with_its_line() {
    let error = Config::from_toml("node = 'a'\nintervall = '1s'\n").unwrap_err().to_string();
    assert!(error.contains("intervall") && error.contains("line 2"), "{error}");
}

#[test]
fn a_wrong_value_is_named_with_its_line() {
    let error = Config::from_toml("\n[uplink]\nlinger = '5 parsecs'\n").unwrap_err().to_string();
    assert!(error.contains("5 parsecs") && error.contains("line 3"), "{error}");
}

#[test]
fn quantities_are_read_as_kubernetes_writes_them() {
    assert_eq!(parse_cpu("1"), Ok(1000));
    assert_eq!(parse_cpu("0.5"), Ok(500));
    assert_eq!(parse_cpu("250m"), Ok(250));
    assert_eq!(parse_bytes("2Gi"), Ok(2 << 30));
    assert_eq!(parse_bytes("1.5Mi"), Ok(1_572_864));
    assert_eq!(parse_bytes("128974848"), Ok(128_974_848));
    assert_eq!(parse_bytes("3G"), Ok(3_000_000_000));
    for bad in ["", "Gi", "-1Gi", "1Xi", "nan", "0"] {
        assert!(parse_bytes(bad).is_err(), "{bad}");
    }
    assert!(parse_cpu("lots").is_err());
}

#[test]
fn durations_and_pairs_are_read() {
    assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
    assert!(parse_duration("10").is_err());
    let capacity = parse_capacity("cpu=1,memory=2Gi").unwrap();
    assert_eq!((capacity.cpu_millis, capacity.memory_bytes), (Some(1000), Some(2 << 30)));
    assert!(parse_capacity("disk=1").is_err());
    assert_eq!(parse_pairs("a=1, b=2").unwrap().len(), 2);
    assert!(parse_pairs("a").is_err());
}

#[test]
fn flags_override_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    std::fs::write(&file, "node = 'from-file'\ninterval = '5s'\n[capacity]\ncpu = 2\n").unwrap();
    let flags = Flags {
        config: Some(file),
        node: Some("from-flag".into()),
        cgroup_parent: Some("binnacle/alpha/".into()),
        ..Flags::default()
    };
    let config = flags.into_config().unwrap();
    assert_eq!(config.node, "from-flag");
    assert_eq!(config.interval, Duration::from_secs(5));
    assert_eq!(config.capacity.cpu_millis, Some(2000));
    assert_eq!(config.cgroup_parent, "/binnacle/alpha");
}

#[test]
fn folders_do_not_depend_on_where_the_agent_was_started() {
    let relative = Config { state_dir: "state".into(), pod_log_dir: "logs".into(), ..Config::default() };
    let config = relative.checked().unwrap();
    let here = std::env::current_dir().unwrap();
    assert_eq!((config.state_dir, config.pod_log_dir), (here.join("state"), here.join("logs")));
}

#[test]
fn what_types_cannot_check_is_refused_by_name() {
    let refused = |change: fn(&mut Config), field: &str| {
        let mut config = Config::default();
        change(&mut config);
        let error = config.checked().unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    };
    refused(|c| c.server = "localhost".into(), "server");
    refused(|c| c.interval = Duration::ZERO, "interval");
    refused(|c| c.cgroup_parent = "/a/../..".into(), "cgroup_parent");
    refused(|c| c.uplink.batch_bytes = 0, "batch_bytes");
    refused(|c| c.scrape.max_bodies_bytes = 1, "max_bodies_bytes");
    let relative = "[[logs.container_files]]\npod = 'web-*'\npaths = ['app.log']";
    let error = Config::from_toml(relative).unwrap().checked().unwrap_err().to_string();
    assert!(error.contains("container_files") && error.contains("app.log"), "{error}");
    refused(|c| c.uplink.backoff_max = Duration::ZERO, "backoff_max");
}
