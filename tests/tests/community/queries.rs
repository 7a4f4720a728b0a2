//! What dashboards and recording rules of the community ask for, in the forms in which they ask, with the families each
//! needs. `NODE` stands for the selector of the node, `POD` for that of the pod's containers.

/// One panel or rule.
pub struct Query {
    pub title: &'static str,
    pub expr: &'static str,
    /// Families that must be in a sample of the agent (or, for objects, of the server).
    pub needs: &'static [&'static str],
    /// A file without which the kernel offers nothing to show; empty when all kernels do.
    pub kernel: &'static str,
}

const fn query(title: &'static str, expr: &'static str, needs: &'static [&'static str]) -> Query {
    Query { title, expr, needs, kernel: "" }
}

const fn offered(kernel: &'static str, query: Query) -> Query {
    Query { kernel, ..query }
}

/// Panels as *Node Exporter Full* has them.
pub const NODE: &[Query] = &[
    query(
        "CPU busy",
        "100 * (1 - avg(rate(node_cpu_seconds_total{mode=\"idle\", NODE}[1m])))",
        &["node_cpu_seconds_total"],
    ),
    query(
        "CPU by mode, of all cores",
        "sum by (instance) (irate(node_cpu_seconds_total{NODE, mode=~\"user|system|iowait\"}[1m])) / on (instance) group_left () \
         count(count(node_cpu_seconds_total{NODE}) by (cpu, instance)) by (instance)",
        &["node_cpu_seconds_total"],
    ),
    query("cores", "count(count(node_cpu_seconds_total{NODE}) by (cpu))", &["node_cpu_seconds_total"]),
    query(
        "system load",
        "scalar(node_load1{NODE}) * 100 / count(count(node_cpu_seconds_total{NODE}) by (cpu))",
        &["node_load1", "node_cpu_seconds_total"],
    ),
    query(
        "load averages",
        "node_load1{NODE} + node_load5{NODE} + node_load15{NODE}",
        &["node_load5", "node_load15"],
    ),
    query(
        "RAM used",
        "(1 - (node_memory_MemAvailable_bytes{NODE} / node_memory_MemTotal_bytes{NODE})) * 100",
        &["node_memory_MemAvailable_bytes", "node_memory_MemTotal_bytes"],
    ),
    query(
        "RAM stacked",
        "node_memory_MemTotal_bytes{NODE} - node_memory_MemFree_bytes{NODE} - \
         (node_memory_Cached_bytes{NODE} + node_memory_Buffers_bytes{NODE} + node_memory_SReclaimable_bytes{NODE})",
        &[
            "node_memory_MemFree_bytes",
            "node_memory_Cached_bytes",
            "node_memory_Buffers_bytes",
            "node_memory_SReclaimable_bytes",
        ],
    ),
    query(
        "SWAP used",
        "node_memory_SwapTotal_bytes{NODE} - node_memory_SwapFree_bytes{NODE}",
        &["node_memory_SwapTotal_bytes", "node_memory_SwapFree_bytes"],
    ),
    query(
        "memory, active and inactive",
        "node_memory_Inactive_bytes{NODE} + node_memory_Active_bytes{NODE} + node_memory_Active_anon_bytes{NODE} + \
         node_memory_Inactive_file_bytes{NODE}",
        &["node_memory_Inactive_bytes", "node_memory_Active_bytes", "node_memory_Active_anon_bytes"],
    ),
    query(
        "memory committed",
        "node_memory_Committed_AS_bytes{NODE} / node_memory_CommitLimit_bytes{NODE}",
        &["node_memory_Committed_AS_bytes", "node_memory_CommitLimit_bytes"],
    ),
    query(
        "memory, writeback and dirty",
        "node_memory_Writeback_bytes{NODE} + node_memory_Dirty_bytes{NODE}",
        &["node_memory_Writeback_bytes", "node_memory_Dirty_bytes"],
    ),
    query(
        "memory, shared and mapped",
        "node_memory_Mapped_bytes{NODE} + node_memory_Shmem_bytes{NODE}",
        &["node_memory_Mapped_bytes", "node_memory_Shmem_bytes"],
    ),
    query(
        "slab and page tables",
        "node_memory_Slab_bytes{NODE} + node_memory_PageTables_bytes{NODE} + node_memory_KernelStack_bytes{NODE}",
        &["node_memory_Slab_bytes", "node_memory_PageTables_bytes", "node_memory_KernelStack_bytes"],
    ),
    query(
        "root file system used",
        "100 - ((node_filesystem_avail_bytes{NODE, mountpoint=\"/\", fstype!=\"rootfs\"} * 100) / \
         node_filesystem_size_bytes{NODE, mountpoint=\"/\", fstype!=\"rootfs\"})",
        &["node_filesystem_avail_bytes", "node_filesystem_size_bytes"],
    ),
    query(
        "file nodes",
        "node_filesystem_files{NODE, device!~\"rootfs\"} - node_filesystem_files_free{NODE, device!~\"rootfs\"}",
        &["node_filesystem_files", "node_filesystem_files_free"],
    ),
    query(
        "read-only file systems",
        "node_filesystem_readonly{NODE, device!~\"rootfs\"}",
        &["node_filesystem_readonly"],
    ),
    query(
        "uptime",
        "node_time_seconds{NODE} - node_boot_time_seconds{NODE}",
        &["node_time_seconds", "node_boot_time_seconds"],
    ),
    query(
        "disk, operations",
        "irate(node_disk_reads_completed_total{NODE}[1m]) + irate(node_disk_writes_completed_total{NODE}[1m])",
        &["node_disk_reads_completed_total", "node_disk_writes_completed_total"],
    ),
    query(
        "disk, bytes",
        "irate(node_disk_read_bytes_total{NODE}[1m]) + irate(node_disk_written_bytes_total{NODE}[1m])",
        &["node_disk_read_bytes_total", "node_disk_written_bytes_total"],
    ),
    query(
        "disk, busy",
        "irate(node_disk_io_time_seconds_total{NODE}[1m])",
        &["node_disk_io_time_seconds_total"],
    ),
    query(
        "disk, average wait",
        "irate(node_disk_read_time_seconds_total{NODE}[1m]) + irate(node_disk_write_time_seconds_total{NODE}[1m])",
        &["node_disk_read_time_seconds_total", "node_disk_write_time_seconds_total"],
    ),
    query(
        "disk, queue",
        "irate(node_disk_io_time_weighted_seconds_total{NODE}[1m])",
        &["node_disk_io_time_weighted_seconds_total"],
    ),
    query("disk, in flight", "node_disk_io_now{NODE}", &["node_disk_io_now"]),
    query(
        "disk, merged",
        "irate(node_disk_reads_merged_total{NODE}[1m]) + irate(node_disk_writes_merged_total{NODE}[1m])",
        &["node_disk_reads_merged_total", "node_disk_writes_merged_total"],
    ),
    query(
        "network, bits",
        "rate(node_network_receive_bytes_total{NODE}[1m]) * 8 + rate(node_network_transmit_bytes_total{NODE}[1m]) * 8",
        &["node_network_receive_bytes_total", "node_network_transmit_bytes_total"],
    ),
    query(
        "network, packets",
        "irate(node_network_receive_packets_total{NODE}[1m]) + irate(node_network_transmit_packets_total{NODE}[1m])",
        &["node_network_receive_packets_total", "node_network_transmit_packets_total"],
    ),
    query(
        "network, errors and drops",
        "rate(node_network_receive_errs_total{NODE}[1m]) + rate(node_network_transmit_errs_total{NODE}[1m]) + \
         rate(node_network_receive_drop_total{NODE}[1m]) + rate(node_network_transmit_drop_total{NODE}[1m])",
        &[
            "node_network_receive_errs_total",
            "node_network_transmit_errs_total",
            "node_network_receive_drop_total",
            "node_network_transmit_drop_total",
        ],
    ),
    query(
        "network, fifo, frame, multicast, compressed",
        "irate(node_network_receive_fifo_total{NODE}[1m]) + irate(node_network_receive_frame_total{NODE}[1m]) + \
         irate(node_network_receive_multicast_total{NODE}[1m]) + irate(node_network_receive_compressed_total{NODE}[1m])",
        &[
            "node_network_receive_fifo_total",
            "node_network_receive_frame_total",
            "node_network_receive_multicast_total",
            "node_network_receive_compressed_total",
        ],
    ),
    query(
        "network, up",
        "node_network_up{NODE} == 1 or node_network_carrier{NODE}",
        &["node_network_up", "node_network_carrier"],
    ),
    query("network, MTU", "node_network_mtu_bytes{NODE}", &["node_network_mtu_bytes"]),
    query(
        "network, queue length",
        "node_network_transmit_queue_length{NODE}",
        &["node_network_transmit_queue_length"],
    ),
    query(
        "context switches and interrupts",
        "irate(node_context_switches_total{NODE}[1m]) + irate(node_intr_total{NODE}[1m])",
        &["node_context_switches_total", "node_intr_total"],
    ),
    query(
        "processes",
        "node_procs_running{NODE} + node_procs_blocked{NODE}",
        &["node_procs_running", "node_procs_blocked"],
    ),
    query("forks", "irate(node_forks_total{NODE}[1m])", &["node_forks_total"]),
    query(
        "file descriptors",
        "node_filefd_allocated{NODE} / node_filefd_maximum{NODE}",
        &["node_filefd_allocated", "node_filefd_maximum"],
    ),
    query("entropy", "node_entropy_available_bits{NODE}", &["node_entropy_available_bits"]),
    query(
        "clock",
        "node_timex_estimated_error_seconds{NODE} + node_timex_offset_seconds{NODE} + node_timex_maxerror_seconds{NODE}",
        &["node_timex_estimated_error_seconds", "node_timex_offset_seconds", "node_timex_maxerror_seconds"],
    ),
    query("clock, in sync", "node_timex_sync_status{NODE}", &["node_timex_sync_status"]),
    query(
        "pages in and out",
        "irate(node_vmstat_pgpgin{NODE}[1m]) + irate(node_vmstat_pgpgout{NODE}[1m])",
        &["node_vmstat_pgpgin", "node_vmstat_pgpgout"],
    ),
    query(
        "page faults",
        "irate(node_vmstat_pgfault{NODE}[1m]) - irate(node_vmstat_pgmajfault{NODE}[1m])",
        &["node_vmstat_pgfault", "node_vmstat_pgmajfault"],
    ),
    query(
        "swap in and out",
        "irate(node_vmstat_pswpin{NODE}[1m]) + irate(node_vmstat_pswpout{NODE}[1m])",
        &["node_vmstat_pswpin", "node_vmstat_pswpout"],
    ),
    query("OOM killer", "irate(node_vmstat_oom_kill{NODE}[1m])", &["node_vmstat_oom_kill"]),
    query(
        "TCP connections",
        "node_netstat_Tcp_CurrEstab{NODE} + node_sockstat_TCP_tw{NODE} + node_sockstat_TCP_alloc{NODE}",
        &["node_netstat_Tcp_CurrEstab", "node_sockstat_TCP_tw", "node_sockstat_TCP_alloc"],
    ),
    query(
        "TCP errors",
        "irate(node_netstat_TcpExt_ListenOverflows{NODE}[1m]) + irate(node_netstat_TcpExt_ListenDrops{NODE}[1m]) + \
         irate(node_netstat_Tcp_RetransSegs{NODE}[1m]) + irate(node_netstat_TcpExt_TCPSynRetrans{NODE}[1m])",
        &[
            "node_netstat_TcpExt_ListenOverflows",
            "node_netstat_TcpExt_ListenDrops",
            "node_netstat_Tcp_RetransSegs",
            "node_netstat_TcpExt_TCPSynRetrans",
        ],
    ),
    query(
        "UDP",
        "irate(node_netstat_Udp_InDatagrams{NODE}[1m]) + irate(node_netstat_Udp_OutDatagrams{NODE}[1m])",
        &["node_netstat_Udp_InDatagrams", "node_netstat_Udp_OutDatagrams"],
    ),
    query("sockets", "node_sockstat_sockets_used{NODE}", &["node_sockstat_sockets_used"]),
    query(
        "softnet",
        "irate(node_softnet_processed_total{NODE}[1m]) + irate(node_softnet_dropped_total{NODE}[1m]) + \
         irate(node_softnet_times_squeezed_total{NODE}[1m])",
        &["node_softnet_processed_total", "node_softnet_dropped_total", "node_softnet_times_squeezed_total"],
    ),
    query("system", "node_uname_info{NODE}", &["node_uname_info"]),
    offered("/proc/net/arp", query("neighbours", "sum(node_arp_entries{NODE}) >= 0", &["node_arp_entries"])),
    offered(
        "/proc/sys/net/netfilter/nf_conntrack_count",
        query(
            "connections tracked",
            "node_nf_conntrack_entries{NODE} / node_nf_conntrack_entries_limit{NODE}",
            &["node_nf_conntrack_entries", "node_nf_conntrack_entries_limit"],
        ),
    ),
    offered(
        "/proc/schedstat",
        query(
            "time on the run queue",
            "irate(node_schedstat_running_seconds_total{NODE}[1m]) + irate(node_schedstat_waiting_seconds_total{NODE}[1m])",
            &["node_schedstat_running_seconds_total", "node_schedstat_waiting_seconds_total"],
        ),
    ),
    offered(
        "/proc/pressure/cpu",
        query(
            "pressure",
            "irate(node_pressure_cpu_waiting_seconds_total{NODE}[1m]) + irate(node_pressure_memory_waiting_seconds_total{NODE}[1m]) \
             + irate(node_pressure_io_waiting_seconds_total{NODE}[1m])",
            &[
                "node_pressure_cpu_waiting_seconds_total",
                "node_pressure_memory_waiting_seconds_total",
                "node_pressure_io_waiting_seconds_total",
            ],
        ),
    ),
];

/// Recording rules and panels of kubernetes-mixin for containers.
pub const CONTAINERS: &[Query] = &[
    query(
        "node_namespace_pod_container:container_cpu_usage_seconds_total",
        "sum by (cluster, namespace, pod, container) (irate(container_cpu_usage_seconds_total{job=\"kubelet\", \
         metrics_path=\"/metrics/cadvisor\", image!=\"\"}[1m])) * on (cluster, namespace, pod) group_left (node) \
         topk by (cluster, namespace, pod) (1, max by (cluster, namespace, pod, node) (kube_pod_info{node!=\"\"}))",
        &["container_cpu_usage_seconds_total", "kube_pod_info"],
    ),
    query(
        "node_namespace_pod_container:container_memory_working_set_bytes",
        "container_memory_working_set_bytes{job=\"kubelet\", metrics_path=\"/metrics/cadvisor\", image!=\"\"} \
         * on (namespace, pod) group_left (node) topk by (namespace, pod) (1, max by (namespace, pod, node) (kube_pod_info{node!=\"\"}))",
        &["container_memory_working_set_bytes", "kube_pod_info"],
    ),
    query(
        "node_namespace_pod_container:container_memory_rss, _cache, _swap",
        "container_memory_rss{job=\"kubelet\", image!=\"\"} + container_memory_cache{job=\"kubelet\", image!=\"\"} \
         + container_memory_swap{job=\"kubelet\", image!=\"\"}",
        &["container_memory_rss", "container_memory_cache", "container_memory_swap"],
    ),
    query(
        "CPU of pods",
        "sum by (pod) (rate(container_cpu_usage_seconds_total{POD, container!=\"\"}[1m]))",
        &["container_cpu_usage_seconds_total"],
    ),
    query(
        "CPU, user and system",
        "rate(container_cpu_user_seconds_total{POD}[1m]) + rate(container_cpu_system_seconds_total{POD}[1m])",
        &["container_cpu_user_seconds_total", "container_cpu_system_seconds_total"],
    ),
    query(
        "CPU throttled",
        "sum by (container) (increase(container_cpu_cfs_throttled_periods_total{POD, container!=\"\"}[1m])) \
         / sum by (container) (increase(container_cpu_cfs_periods_total{POD, container!=\"\"}[1m]))",
        &["container_cpu_cfs_throttled_periods_total", "container_cpu_cfs_periods_total"],
    ),
    query(
        "CPU of the limit",
        "sum by (pod) (rate(container_cpu_usage_seconds_total{POD, container!=\"\"}[1m])) / sum by (pod) \
         (container_spec_cpu_quota{POD, container!=\"\"} / container_spec_cpu_period{POD, container!=\"\"})",
        &["container_spec_cpu_quota", "container_spec_cpu_period"],
    ),
    query(
        "memory of the limit",
        "sum by (container) (container_memory_working_set_bytes{POD, container!=\"\"}) / sum by (container) \
         (container_spec_memory_limit_bytes{POD, container!=\"\"} > 0)",
        &["container_memory_working_set_bytes", "container_spec_memory_limit_bytes"],
    ),
    query(
        "memory of the requests",
        "sum by (namespace, pod) (container_memory_working_set_bytes{POD, container!=\"\"}) / on (namespace, pod) \
         sum by (namespace, pod) (kube_pod_container_resource_requests{resource=\"memory\"})",
        &["kube_pod_container_resource_requests"],
    ),
    query(
        "memory, the rest",
        "container_memory_usage_bytes{POD} + container_memory_mapped_file{POD} + container_memory_max_usage_bytes{POD} \
         + container_memory_failcnt{POD}",
        &[
            "container_memory_usage_bytes",
            "container_memory_mapped_file",
            "container_memory_max_usage_bytes",
            "container_memory_failcnt",
        ],
    ),
    query(
        "page faults",
        "rate(container_memory_failures_total{POD, failure_type=\"pgmajfault\", scope=\"container\"}[1m])",
        &["container_memory_failures_total"],
    ),
    // Version 1 of recent kernels counts only what is throttled.
    offered(
        "/sys/fs/cgroup/cgroup.controllers",
        query(
            "disk, operations and bytes",
            "sum by (pod) (rate(container_fs_reads_total{POD}[1m]) + rate(container_fs_writes_total{POD}[1m])) + \
         sum by (pod) (rate(container_fs_reads_bytes_total{POD}[1m]) + rate(container_fs_writes_bytes_total{POD}[1m]))",
            &[
                "container_fs_reads_total",
                "container_fs_writes_total",
                "container_fs_reads_bytes_total",
                "container_fs_writes_bytes_total",
            ],
        ),
    ),
    query(
        "processes and threads",
        "container_processes{POD} + container_threads{POD}",
        &["container_processes", "container_threads"],
    ),
    query("open files", "container_file_descriptors{POD} > 0", &["container_file_descriptors"]),
    query(
        "age and last sight",
        "time() - container_start_time_seconds{POD} + 0 * container_last_seen{POD}",
        &["container_start_time_seconds", "container_last_seen"],
    ),
    query(
        "OOM kills",
        "sum by (pod) (increase(container_oom_events_total{POD}[1m]))",
        &["container_oom_events_total"],
    ),
    query(
        "the machine",
        "sum(machine_cpu_cores) * 0 + sum(machine_memory_bytes)",
        &["machine_cpu_cores", "machine_memory_bytes"],
    ),
    query(
        "pods by phase",
        "sum by (phase) (kube_pod_status_phase) > 0 and on () kube_deployment_status_replicas_available",
        &["kube_pod_status_phase", "kube_deployment_status_replicas_available"],
    ),
    offered(
        "/sys/fs/cgroup/cgroup.controllers",
        query(
            "pressure of containers",
            "rate(container_pressure_cpu_waiting_seconds_total{POD}[1m])",
            &["container_pressure_cpu_waiting_seconds_total"],
        ),
    ),
];
