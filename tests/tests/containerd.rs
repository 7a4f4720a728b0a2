//! A real containerd runs pods: they appear with their names, their logs are read, an OOM kill counts once,
//! and they vanish. Needs root and the packages `containerd`, `runc` and `busybox-static`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use binnacle_tests::cgroups::Parent;
use binnacle_tests::client::Client;
use binnacle_tests::cri::{PodMetadata, Runtime, Wanted};
use binnacle_tests::process::{Agent, Server, is_root, wait_until};

const SOON: Duration = Duration::from_secs(60);
const IMAGE: &str = "docker.io/library/binnacle-test:1";
const NO_ARGS: [&str; 0] = [];

/// Says what is missing.
fn is_installed() -> bool {
    let missing: Vec<&str> = [
        ("containerd", "/usr/bin/containerd"),
        ("runc", "/usr/sbin/runc"),
        ("busybox-static", "/bin/busybox"),
    ]
    .into_iter()
    .filter(|(_, path)| !Path::new(path).exists())
    .map(|(package, _)| package)
    .collect();
    if !missing.is_empty() {
        println!("skipped: needs the packages {}", missing.join(", "));
    }
    missing.is_empty()
}

fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// A containerd with folders of its own, and an image with nothing but busybox. Ends when dropped.
struct Containerd {
    child: Child,
    folder: PathBuf,
}

impl Containerd {
    async fn start(folder: &Path) -> Result<Self> {
        let at = folder.display();
        let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
        let config = format!(
            "version = 2\nroot = \"{at}/root\"\nstate = \"{at}/state\"\n\
             disabled_plugins = [\"io.containerd.snapshotter.v1.aufs\", \"io.containerd.snapshotter.v1.btrfs\", \
             \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.snapshotter.v1.zfs\"]\n\
             [grpc]\naddress = \"{at}/containerd.sock\"\n[ttrpc]\naddress = \"{at}/ttrpc.sock\"\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{at}/opt\"\n\
             [{cri}]\nsandbox_image = \"{IMAGE}\"\nstream_server_address = \"127.0.0.1\"\n\
             stream_server_port = \"0\"\ndisable_apparmor = true\nrestrict_oom_score_adj = true\n\
             [{cri}.containerd]\nsnapshotter = \"native\"\n\
             [{cri}.cni]\nbin_dir = \"{at}/cni\"\nconf_dir = \"{at}/cni\"\n"
        );
        fs::write(folder.join("config.toml"), config)?;
        let log = fs::File::create(folder.join("containerd.log"))?;
        let mut command = Command::new("containerd");
        command.arg("--config").arg(folder.join("config.toml")).stdin(Stdio::null());
        let child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        let containerd = Self { child, folder: folder.to_owned() };
        let answers = || async { containerd.ctr(&["version"]).is_ok() };
        wait_until("containerd", SOON, answers).await.with_context(|| containerd.log())?;
        containerd.import()?;
        Ok(containerd)
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("containerd.sock")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("containerd.log")).unwrap_or_default()
    }

    fn ctr(&self, args: &[&str]) -> Result<String> {
        let socket = self.socket().display().to_string();
        run("ctr", &[&["--address", &socket, "-n", "k8s.io"], args].concat())
    }

    /// An image in the format of `docker save`, made of one layer.
    fn import(&self) -> Result<()> {
        let image = self.folder.join("image");
        let bin = image.join("rootfs/bin");
        fs::create_dir_all(&bin)?;
        fs::copy("/bin/busybox", bin.join("busybox"))?;
        for name in ["sh", "sleep", "dd", "mkdir", "mv", "rm", "ln"] {
            std::os::unix::fs::symlink("busybox", bin.join(name))?;
        }
        let path = |name: &str| image.join(name).display().to_string();
        run("tar", &["-C", &path("rootfs"), "--owner=0", "--group=0", "-cf", &path("layer.tar"), "."])?;
        let digest = run("sha256sum", &[&path("layer.tar")])?;
        let digest = digest.split_whitespace().next().context("no digest")?;
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Entrypoint": ["/bin/sleep"], "Cmd": ["100000"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
            "history": [{"created_by": "a test"}],
        });
        fs::write(path("config.json"), config.to_string())?;
        let manifest =
            serde_json::json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
        fs::write(path("manifest.json"), manifest.to_string())?;
        let parts = ["manifest.json", "config.json", "layer.tar"];
        run("tar", &[&["-C", &path("."), "-cf", &path("image.tar")][..], &parts].concat())?;
        self.ctr(&["images", "import", "--snapshotter", "native", &path("image.tar")])?;
        Ok(())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // What a failed test has left; shims would outlive containerd.
        for container in self.ctr(&["tasks", "list", "-q"]).unwrap_or_default().split_whitespace() {
            let _ = self.ctr(&["tasks", "delete", "--force", container]);
        }
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
        for mount in run("findmnt", &["-rno", "TARGET"]).unwrap_or_default().lines() {
            if Path::new(mount).starts_with(&self.folder) {
                let _ = run("umount", &["-l", mount]);
            }
        }
    }
}

async fn eventually(client: &Client, expr: &str, value: Option<f64>) -> Result<()> {
    let there = || async { client.number(expr, None).await.is_ok_and(|found| found == value) };
    let waited = wait_until(expr, SOON, there).await;
    let found = client.number(expr, None).await;
    waited.with_context(|| format!("{expr}: {found:?}, not {value:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_real_runtime_appear_are_counted_and_vanish() -> Result<()> {
    if !is_root() || !is_installed() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let parent = Parent::new("test-cri");
    let containerd = Containerd::start(folder.path()).await?;
    let mut runtime = Runtime::connect(&containerd.socket()).await?;
    let server = Server::start(NO_ARGS).await?;
    let client = server.client()?;
    let pod_logs = folder.path().join("pods");
    fs::create_dir(&pod_logs)?;
    let config = folder.path().join("agent.toml");
    let text = format!(
        "node = \"alpha\"\nserver = \"{}\"\ninterval = \"500ms\"\ncgroup_parent = \"{}\"\n\
         cri_socket = \"{}\"\npod_log_dir = \"{}\"\nstate_dir = \"{}/state\"\n",
        server.grpc_url(),
        parent.name(),
        containerd.socket().display(),
        pod_logs.display(),
        folder.path().display(),
    );
    fs::write(&config, text)?;

    let identity =
        |name: &str, uid: &str| PodMetadata { name: name.into(), uid: uid.into(), namespace: "shop".into() };
    let place = |name: &str, uid: &str| {
        (
            format!("/{}/kubepods/burstable/pod{uid}", parent.name()),
            pod_logs.join(format!("shop_{name}_{uid}")),
        )
    };
    let (talker_uid, eater_uid) =
        ("0a1b2c3d-0000-4000-8000-000000000001", "0a1b2c3d-0000-4000-8000-000000000002");
    let (cgroup, logs) = place("talker", talker_uid);
    let talker = runtime
        .run_annotated_pod(
            identity("talker", talker_uid),
            &[("binnacle.io/logs", "/var/log/app/*.log")],
            &cgroup,
            &logs,
        )
        .await
        .with_context(|| containerd.log())?;
    let (cgroup, logs) = place("eater", eater_uid);
    let eater = runtime.run_pod(identity("eater", eater_uid), &cgroup, &logs).await?;
    let agent = Agent::start(folder.path(), ["--config", &config.display().to_string()])?;

    let says =
        ["/bin/sh", "-c", "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done; sleep 100000"];
    let wanted = Wanted { name: "main", image: IMAGE, command: &says, ..Wanted::default() };
    runtime.start(&talker, wanted).await.with_context(|| containerd.log())?;
    let sleeps = ["/bin/sleep", "100000"];
    let aside = Wanted { name: "aside", image: IMAGE, command: &sleeps, ..Wanted::default() };
    runtime.start(&eater, aside).await?;

    // By namespace, pod, container and image, as the runtime knows them.
    let labels =
        format!("namespace=\"shop\",pod=\"talker\",container=\"main\",image=\"{IMAGE}\",node=\"alpha\"");
    let named = format!("count(container_memory_usage_bytes{{{labels}}})");
    eventually(&client, &named, Some(1.0)).await.with_context(|| agent.log())?;
    eventually(
        &client,
        "count(count by (pod, container) (container_processes{container!=\"\",container!=\"POD\"}))",
        Some(2.0),
    )
    .await?;
    // Their lines, once and in order.
    let lines = || async {
        let lines =
            client.logs("{namespace=\"shop\",pod=\"talker\",container=\"main\"}", 0, i64::MAX / 2).await;
        lines.unwrap_or_default().into_iter().map(|line| line.line).collect::<Vec<_>>()
    };
    let expected: Vec<String> = (0..200).map(|number| format!("line {number}")).collect();
    let all = || async { lines().await == expected };
    wait_until("the container's lines", SOON, all).await.with_context(|| agent.log())?;

    // Files inside a container, through its own rotation, and nothing beyond: to the last line when it ends.
    let writes = [
        "/bin/sh",
        "-c",
        "mkdir -p /var/log/app; cd /var/log/app; ln -s /proc/1/root/bin/sh evil.log; i=0; \
         while [ $i -lt 300 ]; do echo inside $i >> app.log; i=$((i+1)); \
         if [ $((i % 60)) = 0 ]; then mv app.log app.log.$((1000000+i)); sleep 0.4; fi; done; echo last >> app.log; sleep 2",
    ];
    let wanted = Wanted { name: "writer", image: IMAGE, command: &writes, ..Wanted::default() };
    runtime.start(&talker, wanted).await.with_context(|| containerd.log())?;
    let mut expected: Vec<String> = (0..300).map(|number| format!("inside {number}")).collect();
    expected.push("last".to_owned());
    let inside = || async {
        let selector = "{container=\"writer\",filename=\"/var/log/app/app.log\",pod=\"talker\"}";
        let lines = client.logs(selector, 0, i64::MAX / 2).await.unwrap_or_default();
        lines.into_iter().map(|line| line.line).collect::<Vec<_>>()
    };
    let all = || async { inside().await == expected };
    let waited = wait_until("lines from inside the container", SOON, all).await;
    let found = inside().await;
    waited.with_context(|| format!("{found:?}\n{}", agent.log()))?;
    let foreign = client.logs("{filename!=\"/var/log/app/app.log\",filename!=\"\"}", 0, i64::MAX / 2).await?;
    ensure!(foreign.is_empty(), "{foreign:?}");

    // A container eats more than it may: killed once, counted once, and not on anybody else's account.
    let eats = ["/bin/sh", "-c", "sleep 2; dd if=/dev/zero of=/dev/null bs=200M count=1"];
    let hog =
        Wanted { name: "hog", image: IMAGE, command: &eats, memory_limit: 48 << 20, ..Wanted::default() };
    let first = runtime.start(&eater, hog.clone()).await?;
    let kills = "sum(container_oom_events_total{pod=\"eater\",container=\"hog\"})";
    eventually(&client, kills, Some(1.0)).await.with_context(|| agent.log())?;
    runtime.remove(&first).await?;
    // It stays when the container is started anew.
    runtime.start(&eater, Wanted { attempt: 1, command: &sleeps, ..hog }).await?;
    eventually(
        &client,
        "sum(container_start_time_seconds{pod=\"eater\",container=\"hog\"}) > bool 0",
        Some(1.0),
    )
    .await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    eventually(&client, kills, Some(1.0)).await.with_context(|| agent.log())?;
    eventually(&client, "sum(container_oom_events_total{namespace=\"shop\"})", Some(1.0)).await?;

    // Gone from one round to the next, not after five minutes.
    runtime.remove_pod(&talker).await?;
    runtime.remove_pod(&eater).await?;
    let containers = "count(container_memory_usage_bytes{namespace=\"shop\",container!=\"\"})";
    eventually(&client, containers, None).await?;
    // The pods' own cgroups belong to who made the pods; in Kubernetes the kubelet removes them.
    drop(parent);
    eventually(&client, "count(container_memory_usage_bytes{namespace=\"shop\"})", None).await?;
    ensure!(!agent.log().contains("panicked"), "{}", agent.log());
    drop(agent);
    drop(containerd);
    Ok(())
}
