use super::*;

fn v1_host(root: &Path) -> Tree {
    let hierarchy = |name: &str, controllers: &[Controller]| Hierarchy {
        version: if name == "unified" { Version::V2 } else { Version::V1 },
        controllers: controllers.to_vec(),
        root: root.join(name),
    };
    let hierarchies = vec![
        hierarchy("cpu,cpuacct", &[Controller::Cpu, Controller::Cpuacct]),
        hierarchy("memory", &[Controller::Memory]),
        hierarchy("pids", &[Controller::Pids]),
        hierarchy("unified", &[]),
    ];
    for hierarchy in &hierarchies {
        fs::create_dir_all(&hierarchy.root).unwrap();
    }
    Tree { hierarchies, parent: "binnacle/alpha".into() }
}

#[test]
fn a_cgroup_is_made_in_every_hierarchy_and_removed_from_all() {
    let dir = tempfile::tempdir().unwrap();
    let tree = v1_host(dir.path());
    assert_eq!(tree.create_parent().unwrap().len(), 8);
    assert_eq!(tree.create_parent().unwrap(), Vec::<PathBuf>::new());
    let group = tree.group("/kubepods/podx/c");
    group.create().unwrap();
    let expect = ["cpu,cpuacct", "memory", "pids", "unified"]
        .map(|name| dir.path().join(name).join("binnacle/alpha/kubepods/podx/c"));
    assert_eq!(group.dirs(), expect);
    assert!(expect.iter().all(|path| path.is_dir()));
    tree.group("kubepods/podx").remove().unwrap();
    assert!(!tree.group("kubepods/podx").exists() && tree.group("kubepods").exists());
}

#[test]
fn v1_limits_are_written_in_its_own_units() {
    let dir = tempfile::tempdir().unwrap();
    let group = v1_host(dir.path()).group("kubepods/podx");
    group.create().unwrap();
    let limits =
        Limits { cpu_shares: 512, cpu_quota_us: Some(25_000), memory_bytes: 32 << 20, oom_group: true };
    group.limit(&limits).unwrap();
    let read = |file: &str| {
        let found = group.dirs().into_iter().map(|dir| dir.join(file)).find(|path| path.exists());
        fs::read_to_string(found.unwrap()).unwrap()
    };
    assert_eq!(read("cpu.shares"), "512");
    assert_eq!(read("cpu.cfs_quota_us"), "25000");
    assert_eq!(read("memory.limit_in_bytes"), "33554432");
    assert_eq!(group.memory_limit().unwrap(), Some(32 << 20));
}

#[test]
fn v2_hands_controllers_down_and_writes_its_units() {
    let dir = tempfile::tempdir().unwrap();
    let (root, pod) = (dir.path(), dir.path().join("kubepods/podx"));
    fs::create_dir_all(&pod).unwrap();
    for at in [root, &root.join("kubepods")] {
        fs::write(at.join("cgroup.subtree_control"), "cpu io memory pids").unwrap();
    }
    let controllers = Controller::ALL.to_vec();
    let only = Hierarchy { version: Version::V2, controllers, root: root.to_owned() };
    let group = Tree { hierarchies: vec![only], parent: PathBuf::new() }.group("kubepods/podx");
    group.create().unwrap();
    let limits = Limits { cpu_shares: 1024, cpu_quota_us: None, memory_bytes: 1 << 20, oom_group: true };
    group.limit(&limits).unwrap();
    let read = |file: &str| fs::read_to_string(pod.join(file)).unwrap();
    assert_eq!(read("cpu.weight"), "39");
    assert_eq!(read("cpu.max"), "max 100000");
    assert_eq!(read("memory.max"), "1048576");
    assert_eq!(read("memory.oom.group"), "1");
    fs::write(pod.join("memory.events"), "low 0\nmax 7\noom 2\noom_kill 2\noom_group_kill 0\n").unwrap();
    assert_eq!(group.oom_kills().unwrap(), 2);
    fs::write(pod.join("memory.max"), "max\n").unwrap();
    assert_eq!(group.memory_limit().unwrap(), None);
}

#[test]
fn a_number_that_is_none_is_an_error_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let group = v1_host(dir.path()).group("g");
    group.create().unwrap();
    fs::write(dir.path().join("memory/binnacle/alpha/g/memory.limit_in_bytes"), "lots\n").unwrap();
    let error = group.memory_limit().unwrap_err().to_string();
    assert!(error.contains("memory.limit_in_bytes") && error.contains("lots"), "{error}");
}
