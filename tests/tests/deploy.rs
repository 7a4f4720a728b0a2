//! What `deploy/` holds is taken by those it is for: Kubernetes' types, systemd, the agent itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// The documents of a file.
fn documents(file: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(file)?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).with_context(|| file.display().to_string())?;
    ensure!(!documents.is_empty(), "{}: nothing in it", file.display());
    Ok(documents)
}

/// A document as Kubernetes' own type writes it again.
fn typed<T: DeserializeOwned + Serialize>(document: &Value) -> Result<Value> {
    Ok(serde_json::to_value(serde_json::from_value::<T>(document.clone())?)?)
}

/// Everything that is written must be there again: a field that the type does not know would be missing.
fn missing(written: &Value, read: &Value, path: &str) -> Vec<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            let of = |(name, value)| {
                missing(value, read.get(name).unwrap_or(&Value::Null), &format!("{path}.{name}"))
            };
            written.iter().flat_map(of).collect()
        }
        (Value::Array(written), Value::Array(read)) if written.len() == read.len() => {
            let of = |(at, (written, read))| missing(written, read, &format!("{path}[{at}]"));
            written.iter().zip(read).enumerate().flat_map(of).collect()
        }
        (written, read) if written == read => Vec::new(),
        (written, read) => vec![format!("{path}: {written} is read as {read}")],
    }
}

fn check(document: &Value) -> Result<()> {
    let kind = document["kind"].as_str().context("no kind")?;
    let read = match kind {
        "Namespace" => typed::<Namespace>(document),
        "ConfigMap" => typed::<ConfigMap>(document),
        "DaemonSet" => typed::<DaemonSet>(document),
        "Deployment" => typed::<Deployment>(document),
        "HorizontalPodAutoscaler" => typed::<HorizontalPodAutoscaler>(document),
        other => anyhow::bail!("a {other} is not expected in deploy/"),
    };
    let lost = missing(document, &read.with_context(|| kind.to_owned())?, kind);
    ensure!(lost.is_empty(), "{}", lost.join("\n"));
    Ok(())
}

#[test]
fn manifests_are_what_kubernetes_types_know() -> Result<()> {
    let mut count = 0;
    for folder in ["agent", "demo"] {
        for entry in std::fs::read_dir(deploy().join(folder))? {
            let file = entry?.path();
            if file.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            for document in documents(&file)? {
                check(&document).with_context(|| file.display().to_string())?;
                count += 1;
            }
        }
    }
    println!("{count} documents");
    ensure!(count >= 6, "only {count} documents");
    // The check sees what it is for.
    let mut wrong = documents(&deploy().join("agent/daemonset.yaml"))?.pop().context("no documents")?;
    wrong["spec"]["template"]["spec"]["containers"][0]["volumeMount"] = Value::Array(Vec::new());
    let error = format!("{:#}", check(&wrong).err().context("an unknown field is taken")?);
    ensure!(error.contains("containers[0].volumeMount"), "{error}");
    Ok(())
}

#[test]
fn the_agents_configuration_in_the_daemonset_is_one() -> Result<()> {
    let documents = documents(&deploy().join("agent/daemonset.yaml"))?;
    let of = |kind: &str| documents.iter().find(|document| document["kind"] == kind).context("not there");
    let text = of("ConfigMap")?["data"]["agent.toml"].as_str().context("no agent.toml")?;
    let config = binnacle_agent::Config::from_toml(text)?.checked()?;
    // Every path it names is mounted, the writable one as such.
    let container = &of("DaemonSet")?["spec"]["template"]["spec"]["containers"][0];
    let mounts = container["volumeMounts"].as_array().context("no mounts")?;
    let mount = |path: &Path| {
        let holds = |mount: &&Value| mount["mountPath"].as_str().is_some_and(|at| path.starts_with(at));
        mounts.iter().filter(holds).max_by_key(|mount| mount["mountPath"].as_str().map(str::len))
    };
    let token = config.tls.join_token_file.clone().context("no join token")?;
    for path in [
        &config.proc_root,
        &config.sys_root,
        &config.cgroup_root,
        &config.host_root,
        &config.cri_socket,
        &config.pod_log_dir,
        &token,
    ] {
        let mount = mount(path).with_context(|| format!("{} is not mounted", path.display()))?;
        ensure!(mount["readOnly"] == true, "{} can be written", path.display());
    }
    let state = mount(&config.state_dir).context("the state is not mounted")?;
    ensure!(state.get("readOnly").is_none(), "the state cannot be written");
    Ok(())
}

#[test]
fn systemd_takes_the_unit() -> Result<()> {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped: needs the package systemd");
        return Ok(());
    }
    let unit = std::fs::read_to_string(deploy().join("agent/binnacle-agent.service"))?;
    let binary = binnacle_tests::process::binary("binnacle-agent")?;
    let unit = unit.replace("/usr/local/bin/binnacle-agent", &binary.display().to_string());
    let verify = |text: &str| -> Result<(bool, String)> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("binnacle-agent.service");
        std::fs::write(&file, text)?;
        let mut command = Command::new("systemd-analyze");
        let output = command.args(["verify", "--man=no"]).arg(&file).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // Other units of the machine are not of interest.
        let about: Vec<&str> = said.lines().filter(|line| line.contains("binnacle-agent")).collect();
        Ok((output.status.success(), about.join("\n")))
    };
    let (success, said) = verify(&unit)?;
    ensure!(success && said.is_empty(), "{said}");
    let (_, said) = verify(&unit.replace("CPUWeight=", "CPUWeigth="))?;
    ensure!(said.contains("CPUWeigth"), "a wrong key is not seen: {said}");
    Ok(())
}
