use super::*;

/// A machine in a temporary folder with these mounts (`type options path`), all below `cg`.
fn machine(mounts: &[(&str, &str, &str)], controllers: &str) -> (tempfile::TempDir, Config) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let mut table = String::from("22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n");
    for (i, (kind, options, path)) in mounts.iter().enumerate() {
        let path = root.join("cg").join(path);
        std::fs::create_dir_all(&path).unwrap();
        if *kind == "cgroup2" {
            std::fs::write(path.join("cgroup.controllers"), controllers).unwrap();
        }
        let path = path.display();
        table += &format!("{} 22 0:{i} / {path} rw,relatime shared:{i} - {kind} {kind} {options}\n", 30 + i);
    }
    std::fs::create_dir_all(root.join("proc/self")).unwrap();
    std::fs::write(root.join("proc/self/mountinfo"), table).unwrap();
    let config = Config { cgroup_root: root.join("cg"), proc_root: root.join("proc"), ..Config::default() };
    (dir, config)
}

#[test]
fn version_2_has_all_its_controllers_in_one_place() {
    let (dir, config) = machine(&[("cgroup2", "rw,nsdelegate", "")], "cpuset cpu io memory pids\n");
    let cgroups = Cgroups::discover(&config).unwrap();
    assert_eq!(cgroups.mode(), Mode::V2);
    for controller in Controller::ALL {
        assert_eq!(cgroups.home(controller), Some(&Home::V2(dir.path().join("cg"))));
    }
    assert_eq!(cgroups.hierarchies().len(), 1);
}

#[test]
fn version_1_controllers_may_share_a_hierarchy_or_be_absent() {
    let (dir, config) = machine(
        &[
            ("cgroup", "rw,cpu,cpuacct", "cpu,cpuacct"),
            ("cgroup", "rw,memory", "memory"),
            ("cgroup", "rw,name=systemd", "systemd"),
        ],
        "",
    );
    let cgroups = Cgroups::discover(&config).unwrap();
    assert_eq!(cgroups.mode(), Mode::V1);
    let shared = Home::V1(dir.path().join("cg/cpu,cpuacct"));
    assert_eq!(cgroups.home(Controller::Cpu), Some(&shared));
    assert_eq!(cgroups.home(Controller::Cpuacct), Some(&shared));
    assert_eq!(cgroups.home(Controller::Pids), None);
    assert_eq!(cgroups.dir(Controller::Pids, "/a"), None);
    assert_eq!(cgroups.hierarchies().len(), 2);
}

#[test]
fn on_a_hybrid_machine_each_controller_decides() {
    let (dir, config) =
        machine(&[("cgroup", "rw,memory", "memory"), ("cgroup2", "rw", "unified")], "cpu pids\n");
    let cgroups = Cgroups::discover(&config).unwrap();
    assert_eq!(cgroups.mode(), Mode::Hybrid);
    assert_eq!(cgroups.home(Controller::Memory), Some(&Home::V1(dir.path().join("cg/memory"))));
    assert_eq!(cgroups.home(Controller::Cpu), Some(&Home::V2(dir.path().join("cg/unified"))));
    assert_eq!(cgroups.home(Controller::Io), None);
}

#[test]
fn systemd_alone_beside_the_unified_hierarchy_is_version_2() {
    let (_dir, config) =
        machine(&[("cgroup", "rw,name=systemd", "systemd"), ("cgroup2", "rw", "unified")], "cpu memory\n");
    assert_eq!(Cgroups::discover(&config).unwrap().mode(), Mode::V2);
}

#[test]
fn directories_are_below_the_parent() {
    let (dir, mut config) = machine(&[("cgroup2", "rw", "")], "cpu memory\n");
    config.cgroup_parent = "/binnacle/alpha".into();
    let cgroups = Cgroups::discover(&config).unwrap();
    let root = dir.path().join("cg");
    assert_eq!(cgroups.dir(Controller::Cpu, "/"), Some(root.join("binnacle/alpha")));
    assert_eq!(
        cgroups.dir(Controller::Cpu, "/kubepods/podx"),
        Some(root.join("binnacle/alpha/kubepods/podx"))
    );
    assert_eq!(cgroups.unified_dir("/a"), Some(root.join("binnacle/alpha/a")));
}

#[test]
fn without_cgroups_the_error_names_both_places() {
    let (_dir, config) = machine(&[], "");
    let error = Cgroups::discover(&config).unwrap_err().to_string();
    assert!(error.contains("/cg ") && error.contains("mountinfo"), "{error}");
}

#[test]
fn this_machine_is_understood() {
    let cgroups = Cgroups::discover(&Config::default());
    match cgroups {
        Ok(cgroups) => assert!(!cgroups.hierarchies().is_empty()),
        Err(error) => println!("skipped: no cgroups here: {error}"),
    }
}

#[test]
fn escaped_mount_points_are_read() {
    assert_eq!(mounts::unescape(r"/a\040b\134c"), PathBuf::from(r"/a b\c"));
    assert_eq!(mounts::unescape(r"/a\9"), PathBuf::from(r"/a\9"));
}
