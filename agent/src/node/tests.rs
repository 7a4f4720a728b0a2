use super::*;

type Make = fn(&Roots) -> Box<dyn Collector>;

/// Runs one collector over a `proc` tree with these files.
fn run(
    files: &[(&str, &str)],
    make: impl Fn(&Roots) -> Box<dyn Collector>,
) -> (Vec<(String, f64)>, Result<(), Failure>) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let root: Arc<Path> = Arc::from(dir.path());
    let roots = Roots { proc: root.clone(), sys: root.clone(), host: root.to_path_buf() };
    let mut page = Page::new(LabelsBuilder::new());
    let mut samples = Vec::new();
    let mut scrape = page.scrape(&mut samples);
    let result = make(&roots).collect(&mut Buffer::default(), &mut scrape);
    scrape.finish();
    (samples.iter().map(|(series, value)| (series.labels().to_string(), *value)).collect(), result)
}

fn value(samples: &[(String, f64)], series: &str) -> f64 {
    let found = samples.iter().find(|(name, _)| name == series);
    found.unwrap_or_else(|| panic!("{series} is not among {samples:#?}")).1
}

#[test]
fn processor_time_is_in_seconds_by_mode() {
    let stat =
        "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 100 200 300 400 500 600 700 800 900 1000\nintr 5 1 2\nbtime 7\n";
    let (samples, result) = run(&[("stat", stat)], |roots| Box::new(processor::Cpu::new(roots)));
    assert_eq!(result, Ok(()));
    assert_eq!(samples.len(), 10);
    assert_eq!(value(&samples, r#"node_cpu_seconds_total{cpu="0", mode="steal"}"#), 8.0);
    assert_eq!(value(&samples, r#"node_cpu_guest_seconds_total{cpu="0", mode="nice"}"#), 10.0);
    let (samples, _) = run(&[("stat", stat)], |roots| Box::new(processor::Stat::new(roots)));
    assert_eq!(samples, [("node_intr_total".to_owned(), 5.0), ("node_boot_time_seconds".to_owned(), 7.0)]);
}

#[test]
fn a_malformed_line_is_named() {
    let (_, result) = run(&[("stat", "cpu0 1 x 3\n")], |roots| Box::new(processor::Cpu::new(roots)));
    assert_eq!(result, Err(Failure::Malformed("nice: \"x\" is not a number".into())));
    let (_, result) = run(&[("loadavg", "0.1")], |roots| Box::new(load::LoadAvg::new(roots)));
    assert_eq!(result, Err(Failure::Malformed("node_load5: absent".into())));
}

#[test]
fn what_the_kernel_does_not_offer_is_no_error() {
    let collectors: [Make; 5] = [
        |roots| Box::new(processor::Cpu::new(roots)),
        |roots| Box::new(load::Pressure::new(roots)),
        |roots| Box::new(memory::MemInfo::new(roots)),
        |roots| Box::new(disk::DiskStats::new(roots)),
        |roots| Box::new(network::NetDev::new(roots)),
    ];
    for make in collectors {
        let (samples, result) = run(&[], make);
        assert_eq!((samples.len(), result), (0, Err(Failure::NotOffered)));
    }
}

#[test]
fn memory_is_in_bytes_and_counts_are_counts() {
    let text = "MemTotal:       2048 kB\nActive(anon):      3 kB\nHugePages_Total:       4\n";
    let (samples, _) = run(&[("meminfo", text)], |roots| Box::new(memory::MemInfo::new(roots)));
    let expected = [
        ("node_memory_MemTotal_bytes".to_owned(), 2_097_152.0),
        ("node_memory_Active_anon_bytes".to_owned(), 3072.0),
        ("node_memory_HugePages_Total".to_owned(), 4.0),
    ];
    assert_eq!(samples, expected);
}

#[test]
fn vmstat_is_a_choice() {
    let text = "nr_free_pages 9\npgpgin 1\npswpout 2\npgfault 3\npgmajfault 4\noom_kill 5\npgalloc_dma 6\n";
    let (samples, _) = run(&[("vmstat", text)], |roots| Box::new(memory::VmStat::new(roots)));
    let names: Vec<&str> = samples.iter().map(|(name, _)| name.trim_start_matches("node_vmstat_")).collect();
    assert_eq!(names, ["pgpgin", "pswpout", "pgfault", "pgmajfault", "oom_kill"]);
}

#[test]
fn disks_are_in_bytes_and_seconds() {
    let text = " 254 0 vda 1 2 3 4000 5 6 7 8000 9 10000 11000 12 13 14 15000 16 17000\n 7 0 loop0 1 2 3\n";
    let udev = "S:disk/x\nE:ID_SERIAL_SHORT=abc\n";
    let files = [("diskstats", text), ("run/udev/data/b254:0", udev)];
    let (samples, _) = run(&files, |roots| Box::new(disk::DiskStats::new(roots)));
    assert_eq!(samples.len(), 18);
    assert_eq!(value(&samples, r#"node_disk_read_bytes_total{device="vda"}"#), 1536.0);
    assert_eq!(value(&samples, r#"node_disk_write_time_seconds_total{device="vda"}"#), 8.0);
    assert_eq!(value(&samples, r#"node_disk_info{device="vda", major="254", minor="0", serial="abc"}"#), 1.0);
}

#[test]
fn interfaces_have_sixteen_columns() {
    let text = "Inter-|   Receive\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n eth0:1:17 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
    let (samples, result) = run(&[("net/dev", text)], |roots| Box::new(network::NetDev::new(roots)));
    assert_eq!(result, Ok(()));
    assert_eq!(value(&samples, r#"node_network_transmit_carrier_total{device="lo"}"#), 15.0);
    assert_eq!(value(&samples, r#"node_network_receive_bytes_total{device="eth0:1"}"#), 17.0);
}

#[test]
fn pressure_is_in_seconds() {
    let both = "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n";
    let files = [("pressure/cpu", both), ("pressure/memory", both)];
    let (samples, _) = run(&files, |roots| Box::new(load::Pressure::new(roots)));
    assert_eq!(value(&samples, "node_pressure_cpu_waiting_seconds_total"), 2.5);
    assert_eq!(value(&samples, "node_pressure_memory_stalled_seconds_total"), 1.0);
    assert_eq!(samples.len(), 3, "no io.pressure: absent is not zero");
}

#[test]
fn this_machine_can_be_read() {
    let config = Config { node: "here".into(), ..Config::default() };
    let mut node = Node::new(&config, &SelfMetrics::default());
    let mut samples = Vec::new();
    node.collect(&mut samples);
    for name in ["node_cpu_seconds_total", "node_memory_MemTotal_bytes", "node_load1", "node_time_seconds"] {
        assert!(samples.iter().any(|(series, _)| series.labels().metric_name() == Some(name)), "{name}");
    }
    let first = samples.len();
    samples.clear();
    node.collect(&mut samples);
    assert_eq!(samples.len(), first, "the same series in the next round");
}
