//! What dashboards and recording rules of the community ask for, in the forms in which they ask. `NODE` stands for the selector of the node, `POD` for that of the pod's containers.

/// One panel or rule.
pub struct Query {
    pub title: &'static str,
    pub expr: &'static str,
    /// A file without which the kernel offers nothing to show; empty when all kernels do.
    pub kernel: &'static str,
}

const fn query(title: &'static str, expr: &'static str) -> Query {
    Query { title, expr, kernel: "" }
}

impl Query {
    /// The families that it names: they must be in a sample of the agent (or, for objects, of the server).
    pub fn families(&self) -> impl Iterator<Item = &'static str> {
        let words = self.expr.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(|word| {
            ["node_", "container_", "kube_", "machine_"].iter().any(|kind| word.starts_with(kind))
        })
    }
}

const fn offered(kernel: &'static str, query: Query) -> Query {
    Query { kernel, ..query }
}

/// Panels as *Node Exporter Full* has them.
pub const NODE: &[Query] = &[
    query("CPU busy", "100 * (1 - avg(rate(node_cpu_seconds_total{mode=\"idle\", NODE}[1m])))"),
    query(
        "CPU by mode, of all cores",
        "sum by (instance) (irate(node_cpu_seconds_total{NODE, mode=~\"user|system|iowait\"}[1m])) / on (instance) group_left () \
         count(count(node_cpu_seconds_total{NODE}) by (cpu, instance)) by (instance)",
    ),
    query("cores", "count(count(node_cpu_seconds_total{NODE}) by (cpu))"),
    query(
        "system load",
        "scalar(node_load1{NODE}) * 100 / count(count(node_cpu_seconds_total{NODE}) by (cpu))",
    ),
    query("load averages", "node_load1{NODE} + node_load5{NODE} + node_load15{NODE}"),
    query(
        "RAM used",
        "(1 - (node_memory_MemAvailable_bytes{NODE} / node_memory_MemTotal_bytes{NODE})) * 100",
    ),
    query(
        "RAM stacked",
        "node_memory_MemTotal_bytes{NODE} - node_memory_MemFree_bytes{NODE} - \
         (node_memory_Cached_bytes{NODE} + node_memory_Buffers_bytes{NODE} + node_memory_SReclaimable_bytes{NODE})",
    ),
    query("SWAP used", "node_memory_SwapTotal_bytes{NODE} - node_memory_SwapFree_bytes{NODE}"),
    query(
        "memory, active and inactive",
        "node_memory_Inactive_bytes{NODE} + node_memory_Active_bytes{NODE} + node_memory_Active_anon_bytes{NODE} + \
         node_memory_Inactive_file_bytes{NODE}",
    ),
    query("memory committed", "node_memory_Committed_AS_bytes{NODE} / node_memory_CommitLimit_bytes{NODE}"),
    query("memory, writeback and dirty", "node_memory_Writeback_bytes{NODE} + node_memory_Dirty_bytes{NODE}"),
    query("memory, shared and mapped", "node_memory_Mapped_bytes{NODE} + node_memory_Shmem_bytes{NODE}"),
    query(
        "slab and page tables",
        "node_memory_Slab_bytes{NODE} + node_memory_PageTables_bytes{NODE} + node_memory_KernelStack_bytes{NODE}",
    ),
    query(
        "root file system used",
        "100 - ((node_filesystem_avail_bytes{NODE, mountpoint=\"/\", fstype!=\"rootfs\"} * 100) / \
         node_filesystem_size_bytes{NODE, mountpoint=\"/\", fstype!=\"rootfs\"})",
    ),
    query(
        "file nodes",
        "node_filesystem_files{NODE, device!~\"rootfs\"} - node_filesystem_files_free{NODE, device!~\"rootfs\"}",
    ),
    query("read-only file systems", "node_filesystem_readonly{NODE, device!~\"rootfs\"}"),
    query("uptime", "node_time_seconds{NODE} - node_boot_time_seconds{NODE}"),
    query(
        "disk, operations",
        "irate(node_disk_reads_completed_total{NODE}[1m]) + irate(node_disk_writes_completed_total{NODE}[1m])",
    ),
    query(
        "disk, bytes",
        "irate(node_disk_read_bytes_total{NODE}[1m]) + irate(node_disk_written_bytes_total{NODE}[1m])",
    ),
    query("disk, busy", "irate(node_disk_io_time_seconds_total{NODE}[1m])"),
    query(
        "disk, average wait",
        "irate(node_disk_read_time_seconds_total{NODE}[1m]) + irate(node_disk_write_time_seconds_total{NODE}[1m])",
    ),
    query("disk, queue", "irate(node_disk_io_time_weighted_seconds_total{NODE}[1m])"),
    query("disk, in flight", "node_disk_io_now{NODE}"),
    query(
        "disk, merged",
        "irate(node_disk_reads_merged_total{NODE}[1m]) + irate(node_disk_writes_merged_total{NODE}[1m])",
    ),
    query(
        "network, bits",
        "rate(node_network_receive_bytes_total{NODE}[1m]) * 8 + rate(node_network_transmit_bytes_total{NODE}[1m]) * 8",
    ),
    query(
        "network, packets",
        "irate(node_network_receive_packets_total{NODE}[1m]) + irate(node_network_transmit_packets_total{NODE}[1m])",
    ),
    query(
        "network, errors and drops",
        "rate(node_network_receive_errs_total{NODE}[1m]) + rate(node_network_transmit_errs_total{NODE}[1m]) + \
         rate(node_network_receive_drop_total{NODE}[1m]) + rate(node_network_transmit_drop_total{NODE}[1m])",
    ),
    query(
        "network, fifo, frame, multicast, compressed",
        "irate(node_network_receive_fifo_total{NODE}[1m]) + irate(node_network_receive_frame_total{NODE}[1m]) + \
         irate(node_network_receive_multicast_total{NODE}[1m]) + irate(node_network_receive_compressed_total{NODE}[1m])",
    ),
    query("network, up", "node_network_up{NODE} == 1 or node_network_carrier{NODE}"),
    query("network, MTU", "node_network_mtu_bytes{NODE}"),
    query("network, queue length", "node_network_transmit_queue_length{NODE}"),
    query(
        "context switches and interrupts",
        "irate(node_context_switches_total{NODE}[1m]) + irate(node_intr_total{NODE}[1m])",
    ),
    query("processes", "node_procs_running{NODE} + node_procs_blocked{NODE}"),
    query("forks", "irate(node_forks_total{NODE}[1m])"),
    query("file descriptors", "node_filefd_allocated{NODE} / node_filefd_maximum{NODE}"),
    query("entropy", "node_entropy_available_bits{NODE}"),
    query(
        "clock",
        "node_timex_estimated_error_seconds{NODE} + node_timex_offset_seconds{NODE} + node_timex_maxerror_seconds{NODE}",
    ),
    query("clock, in sync", "node_timex_sync_status{NODE}"),
    query("pages in and out", "irate(node_vmstat_pgpgin{NODE}[1m]) + irate(node_vmstat_pgpgout{NODE}[1m])"),
    query("page faults", "irate(node_vmstat_pgfault{NODE}[1m]) - irate(node_vmstat_pgmajfault{NODE}[1m])"),
    query("swap in and out", "irate(node_vmstat_pswpin{NODE}[1m]) + irate(node_vmstat_pswpout{NODE}[1m])"),
    query("OOM killer", "irate(node_vmstat_oom_kill{NODE}[1m])"),
    query(
        "TCP connections",
        "node_netstat_Tcp_CurrEstab{NODE} + node_sockstat_TCP_tw{NODE} + node_sockstat_TCP_alloc{NODE}",
    ),
    query(
        "TCP errors",
        "irate(node_netstat_TcpExt_ListenOverflows{NODE}[1m]) + irate(node_netstat_TcpExt_ListenDrops{NODE}[1m]) + \
         irate(node_netstat_Tcp_RetransSegs{NODE}[1m]) + irate(node_netstat_TcpExt_TCPSynRetrans{NODE}[1m])",
    ),
    query(
        "UDP",
        "irate(node_netstat_Udp_InDatagrams{NODE}[1m]) + irate(node_netstat_Udp_OutDatagrams{NODE}[1m])",
    ),
    query("sockets", "node_sockstat_sockets_used{NODE}"),
    query(
        "softnet",
        "irate(node_softnet_processed_total{NODE}[1m]) + irate(node_softnet_dropped_total{NODE}[1m]) + \
         irate(node_softnet_times_squeezed_total{NODE}[1m])",
    ),
    query("system", "node_uname_info{NODE}"),
    offered("/proc/net/arp", query("neighbours", "sum(node_arp_entries{NODE}) >= 0")),
    offered(
        "/proc/sys/net/netfilter/nf_conntrack_count",
        query(
            "connections tracked",
            "node_nf_conntrack_entries{NODE} / node_nf_conntrack_entries_limit{NODE}",
        ),
    ),
    offered(
        "/proc/schedstat",
        query(
            "time on the run queue",
            "irate(node_schedstat_running_seconds_total{NODE}[1m]) + irate(node_schedstat_waiting_seconds_total{NODE}[1m])",
        ),
    ),
    offered(
        "/proc/pressure/cpu",
        query(
            "pressure",
            "irate(node_pressure_cpu_waiting_seconds_total{NODE}[1m]) + irate(node_pressure_memory_waiting_seconds_total{NODE}[1m]) \
             + irate(node_pressure_io_waiting_seconds_total{NODE}[1m])",
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
    ),
    query(
        "node_namespace_pod_container:container_memory_working_set_bytes",
        "container_memory_working_set_bytes{job=\"kubelet\", metrics_path=\"/metrics/cadvisor\", image!=\"\"} \
         * on (namespace, pod) group_left (node) topk by (namespace, pod) (1, max by (namespace, pod, node) (kube_pod_info{node!=\"\"}))",
    ),
    query(
        "node_namespace_pod_container:container_memory_rss, _cache, _swap",
        "container_memory_rss{job=\"kubelet\", image!=\"\"} + container_memory_cache{job=\"kubelet\", image!=\"\"} \
         + container_memory_swap{job=\"kubelet\", image!=\"\"}",
    ),
    query("CPU of pods", "sum by (pod) (rate(container_cpu_usage_seconds_total{POD, container!=\"\"}[1m]))"),
    query(
        "CPU, user and system",
        "rate(container_cpu_user_seconds_total{POD}[1m]) + rate(container_cpu_system_seconds_total{POD}[1m])",
    ),
    query(
        "CPU throttled",
        "sum by (container) (increase(container_cpu_cfs_throttled_periods_total{POD, container!=\"\"}[1m])) \
         / sum by (container) (increase(container_cpu_cfs_periods_total{POD, container!=\"\"}[1m]))",
    ),
    query(
        "CPU of the limit",
        "sum by (pod) (rate(container_cpu_usage_seconds_total{POD, container!=\"\"}[1m])) / sum by (pod) \
         (container_spec_cpu_quota{POD, container!=\"\"} / container_spec_cpu_period{POD, container!=\"\"})",
    ),
    query(
        "memory of the limit",
        "sum by (container) (container_memory_working_set_bytes{POD, container!=\"\"}) / sum by (container) \
         (container_spec_memory_limit_bytes{POD, container!=\"\"} > 0)",
    ),
    query(
        "memory of the requests",
        "sum by (namespace, pod) (container_memory_working_set_bytes{POD, container!=\"\"}) / on (namespace, pod) \
         sum by (namespace, pod) (kube_pod_container_resource_requests{resource=\"memory\"})",
    ),
    query(
        "memory, the rest",
        "container_memory_usage_bytes{POD} + container_memory_mapped_file{POD} + container_memory_max_usage_bytes{POD} \
         + container_memory_failcnt{POD}",
    ),
    query(
        "page faults",
        "rate(container_memory_failures_total{POD, failure_type=\"pgmajfault\", scope=\"container\"}[1m])",
    ),
    // Version 1 of recent kernels counts only what is throttled.
    offered(
        "/sys/fs/cgroup/cgroup.controllers",
        query(
            "disk, operations and bytes",
            "sum by (pod) (rate(container_fs_reads_total{POD}[1m]) + rate(container_fs_writes_total{POD}[1m])) + \
         sum by (pod) (rate(container_fs_reads_bytes_total{POD}[1m]) + rate(container_fs_writes_bytes_total{POD}[1m]))",
        ),
    ),
    query("processes and threads", "container_processes{POD} + container_threads{POD}"),
    query("open files", "container_file_descriptors{POD} > 0"),
    query("age and last sight", "time() - container_start_time_seconds{POD} + 0 * container_last_seen{POD}"),
    query("OOM kills", "sum by (pod) (increase(container_oom_events_total{POD}[1m]))"),
    query("the machine", "sum(machine_cpu_cores) * 0 + sum(machine_memory_bytes)"),
    query(
        "pods by phase",
        "sum by (phase) (kube_pod_status_phase) > 0 and on () kube_deployment_status_replicas_available",
    ),
    offered(
        "/sys/fs/cgroup/cgroup.controllers",
        query("pressure of containers", "rate(container_pressure_cpu_waiting_seconds_total{POD}[1m])"),
    ),
];
