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

#[test]
fn protocol_counters_are_a_choice_from_three_files() {
    let files = [
        (
            "net/netstat",
            "TcpExt: ListenDrops TCPHPHits TCPTimeouts\nTcpExt: 1 2 3\nIpExt: InOctets\nIpExt: 4\n",
        ),
        ("net/snmp", "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: MaxConn CurrEstab\nTcp: -1 5\n"),
        ("net/snmp6", "Ip6InReceives  \t7\nIp6OutOctets  \t8\nUdp6InErrors  \t9\n"),
    ];
    let (samples, result) = run(&files, |roots| Box::new(protocol::NetStat::new(roots)));
    assert_eq!(result, Ok(()));
    let names: Vec<&str> = samples.iter().map(|(name, _)| name.trim_start_matches("node_netstat_")).collect();
    let expected = [
        "TcpExt_ListenDrops",
        "TcpExt_TCPTimeouts",
        "IpExt_InOctets",
        "Ip_Forwarding",
        "Tcp_CurrEstab",
        "Ip6_OutOctets",
        "Udp6_InErrors",
    ];
    assert_eq!(names, expected);
}

#[test]
fn socket_memory_is_in_pages_and_in_bytes() {
    let text = "sockets: used 99\nTCP: inuse 3 orphan 0 tw 1 alloc 5 mem 2\nFRAG: inuse 0 memory 7\n";
    let (samples, _) = run(&[("net/sockstat", text)], |roots| Box::new(protocol::SockStat::new(roots)));
    assert_eq!(value(&samples, "node_sockstat_sockets_used"), 99.0);
    assert_eq!(value(&samples, "node_sockstat_TCP_mem"), 2.0);
    assert_eq!(value(&samples, "node_sockstat_TCP_mem_bytes"), 2.0 * rustix::param::page_size() as f64);
    assert_eq!(value(&samples, "node_sockstat_FRAG_memory"), 7.0);
    let (_, result) =
        run(&[("net/sockstat", "TCP: inuse\n")], |roots| Box::new(protocol::SockStat::new(roots)));
    assert_eq!(result, Err(Failure::Malformed("inuse: absent".into())));
}

#[test]
fn softnet_columns_are_hexadecimal_and_name_their_processor() {
    let text = "0000000a 00000001 0 0 0 0 0 0 0 0 0 0 00000003\n";
    let (samples, _) = run(&[("net/softnet_stat", text)], |roots| Box::new(protocol::SoftNet::new(roots)));
    assert_eq!(value(&samples, r#"node_softnet_processed_total{cpu="3"}"#), 10.0);
    let (_, result) = run(&[("net/softnet_stat", "xyz\n")], |roots| Box::new(protocol::SoftNet::new(roots)));
    assert!(matches!(result, Err(Failure::Malformed(_))));
}

#[test]
fn neighbours_are_counted_by_interface() {
    let text = "IP address HW type Flags HW address Mask Device\n10.0.0.1 0x1 0x2 aa * eth0\n10.0.0.2 0x1 0x2 ab * eth0\n";
    let (samples, _) = run(&[("net/arp", text)], |roots| Box::new(protocol::Arp::new(roots)));
    assert_eq!(samples, [(r#"node_arp_entries{device="eth0"}"#.to_owned(), 2.0)]);
}

#[test]
fn tracked_connections_are_summed_over_processors() {
    let stat = "entries  searched found invalid drop\n0000000a 0 0 00000002 1\n0000000a 0 0 00000003 0\n";
    let files = [
        ("sys/net/netfilter/nf_conntrack_count", "10\n"),
        ("sys/net/netfilter/nf_conntrack_max", "1000\n"),
        ("net/stat/nf_conntrack", stat),
    ];
    let (samples, _) = run(&files, |roots| Box::new(protocol::Conntrack::new(roots)));
    assert_eq!(value(&samples, "node_nf_conntrack_entries"), 10.0);
    assert_eq!(value(&samples, "node_nf_conntrack_stat_invalid"), 5.0);
}

#[test]
fn scheduling_is_in_seconds_and_slices() {
    let text = "version 17\ncpu0 0 0 0 0 0 0 1500000000 2500000000 42\ndomain0 3 1 2\n";
    let (samples, _) = run(&[("schedstat", text)], |roots| Box::new(processor::SchedStat::new(roots)));
    assert_eq!(value(&samples, r#"node_schedstat_running_seconds_total{cpu="0"}"#), 1.5);
    assert_eq!(value(&samples, r#"node_schedstat_timeslices_total{cpu="0"}"#), 42.0);
}

#[test]
fn an_interface_has_what_its_driver_says() {
    let files = [
        ("class/net/bonding_masters", ""),
        ("class/net/eth0/ifindex", "2\n"),
        ("class/net/eth0/flags", "0x1003\n"),
        ("class/net/eth0/operstate", "up\n"),
        ("class/net/eth0/speed", "1000\n"),
        ("class/net/eth0/address", "aa:bb\n"),
        ("class/net/eth0/statistics/rx_nohandler", "6\n"),
    ];
    let (samples, _) = run(&files, |roots| Box::new(interface::NetClass::new(roots)));
    assert_eq!(value(&samples, r#"node_network_speed_bytes{device="eth0"}"#), 125_000_000.0);
    assert_eq!(value(&samples, r#"node_network_flags{device="eth0"}"#), 4099.0);
    assert_eq!(value(&samples, r#"node_network_up{device="eth0"}"#), 1.0);
    let info = r#"node_network_info{address="aa:bb", adminstate="up", device="eth0", operstate="up"}"#;
    assert_eq!(value(&samples, info), 1.0);
    assert!(samples.iter().all(|(name, _)| !name.contains("mtu")), "absent is not zero");
}
