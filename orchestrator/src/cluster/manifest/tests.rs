use super::folder::{Folder, parse_text};
use crate::cluster::objects::{Amount, BudgetRule, Key};
use crate::decide::hpa::{MetricSource, MetricTarget, ResourceKind, SelectPolicy};
use crate::decide::{Qos, Rollout};

const WEB: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
        - name: web
          image: host
          command: [serve, "$(PORT)", "$$HOME", "$(UNKNOWN)"]
          args: ["--name=$(NAME)"]
          env:
            - {name: PORT, value: "80"}
            - {name: NAME, value: "web-$(PORT)"}
          resources:
            requests: {cpu: 250m, memory: 32Mi}
            limits: {cpu: "1", memory: 128Mi}
"#;

fn key(name: &str) -> Key {
    Key::new("default", name)
}

/// The message for WEB with one line replaced.
fn refused(old: &str, new: &str) -> String {
    assert!(WEB.contains(old), "{old}");
    parse_text(&WEB.replace(old, new)).expect_err(new).to_string()
}

#[test]
fn a_deployment_is_read_with_kubernetes_defaults() {
    let objects = parse_text(WEB).unwrap();
    let web = &objects.deployments[&key("web")];
    assert_eq!(web.replicas, 2);
    assert_eq!(web.strategy.for_replicas(2), Rollout::Rolling { max_surge: 1, max_unavailable: 0 });
    assert_eq!(web.strategy.for_replicas(8), Rollout::Rolling { max_surge: 2, max_unavailable: 2 });
    let template = &web.definition.template;
    assert_eq!(template.qos(), Qos::Burstable);
    assert_eq!(template.requests().cpu(), 250);
    assert_eq!(template.limits().memory(), 128 << 20);
    let run = &web.definition.run;
    assert_eq!(run.containers[0].argv, ["serve", "80", "$HOME", "$(UNKNOWN)", "--name=web-80"]);
    assert_eq!(run.restart_policy, "Always");
    assert_eq!(run.termination_grace_seconds, 30);
}

#[test]
fn the_template_hash_follows_the_template_alone() {
    let hash = |text: &str| parse_text(text).unwrap().deployments[&key("web")].template_hash.clone();
    assert_eq!(hash(WEB), hash(&WEB.replace("replicas: 2", "replicas: 7")));
    assert_ne!(hash(WEB), hash(&WEB.replace("cpu: 250m", "cpu: 251m")));
    assert_eq!(hash(WEB).len(), 10);
}

#[test]
fn unknown_fields_are_named_with_file_line_and_path() {
    let cases = [
        ("  replicas: 2", "  replcas: 2", "m.yaml:6: spec.replcas: unknown field"),
        (
            "          image: host",
            "          imagee: host",
            "m.yaml:15: spec.template.spec.containers[0].imagee: unknown field",
        ),
        (
            "metadata:\n  name: web",
            "metadata:\n  name: web\n  colour: red",
            "m.yaml:5: metadata.colour: unknown field",
        ),
        ("spec:\n  replicas: 2", "specs:\n  replicas: 2", "m.yaml:5: specs: unknown field"),
    ];
    for (old, new, message) in cases {
        assert_eq!(refused(old, new), message);
    }
}

#[test]
fn fields_of_the_wrong_kind_are_named_with_line_and_path() {
    let message = refused("  replicas: 2", "  replicas: two");
    assert!(message.starts_with("m.yaml:6: spec.replicas: "), "{message}");
    let message = refused("          command: [serve,", "          command: [{a: b},");
    assert!(message.starts_with("m.yaml:16: spec.template.spec.containers[0].command"), "{message}");
}

#[test]
fn wrong_values_are_named_with_line_and_path() {
    let container = "spec.template.spec.containers[0]";
    let cases = [
        ("  replicas: 2", "  replicas: -1", "m.yaml:6: spec.replicas: -1 is negative".to_owned()),
        (
            "cpu: 250m",
            "cpu: 250q",
            format!("m.yaml:22: {container}.resources.requests.cpu: \"250q\" is not a quantity"),
        ),
        (
            "memory: 32Mi",
            "memory: 1Gi",
            format!("m.yaml:22: {container}.resources.requests.memory: is more than the limit"),
        ),
        (
            "matchLabels: {app: web}",
            "matchLabels: {app: wob}",
            "m.yaml:7: spec.selector: does not match the labels of the template".to_owned(),
        ),
        (
            "kind: Deployment",
            "kind: DaemonSet",
            "m.yaml:2: kind: apps/v1 DaemonSet is not known here".to_owned(),
        ),
        (
            "  name: web\nspec",
            "  name: Web\nspec",
            "m.yaml:4: metadata.name: \"Web\" is not a name".to_owned(),
        ),
        (
            "          image: host",
            "          image: host\n          livenessProbe: {}",
            format!("m.yaml:16: {container}.livenessProbe: is not supported"),
        ),
    ];
    for (old, new, expected) in cases {
        let message = refused(old, new);
        assert!(message.starts_with(&expected), "{message}\n  is not\n{expected}");
    }
}

#[test]
fn lines_count_from_the_start_of_the_file_in_every_document() {
    let text = format!(
        "# head\n---\n{WEB}---\n{}",
        WEB.replace("name: web", "name: api").replace("replicas:", "replicsa:")
    );
    let message = parse_text(&text).unwrap_err().to_string();
    let line = text.lines().position(|line| line.contains("replicsa")).unwrap() + 1;
    assert!(message.starts_with(&format!("m.yaml:{line}: spec.replicsa")), "{message}");
}

#[test]
fn text_that_is_not_yaml_is_named_with_its_line() {
    let message = parse_text("apiVersion: apps/v1\nkind: [Deployment\n").unwrap_err().to_string();
    assert!(message.starts_with("m.yaml:"), "{message}");
    let message = parse_text("just text\n").unwrap_err().to_string();
    assert!(message.contains("apiVersion: is missing"), "{message}");
}

#[test]
fn an_autoscaler_is_read_with_kubernetes_defaults() {
    let text = r#"apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: web
  annotations:
    metric.binnacle.dev/queue: sum(queue_length)
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 4
  metrics:
    - type: ContainerResource
      containerResource:
        name: memory
        container: web
        target: {type: AverageValue, averageValue: 100Mi}
    - type: External
      external:
        metric: {name: queue}
        target: {type: Value, value: "30"}
  behavior:
    scaleDown: {stabilizationWindowSeconds: 10, selectPolicy: Disabled}
"#;
    let objects = parse_text(text).unwrap();
    let hpa = &objects.hpas[&key("web")];
    assert_eq!((hpa.min_replicas, hpa.max_replicas), (1, 4));
    let container =
        MetricSource::ContainerResource { resource: ResourceKind::Memory, container: "web".into() };
    assert_eq!(hpa.metrics[0].source, container);
    assert_eq!(hpa.metrics[0].target, MetricTarget::AverageValue((100 << 20) * 1000));
    let query = MetricSource::External { name: "queue".into(), query: "sum(queue_length)".into() };
    assert_eq!(hpa.metrics[1].source, query);
    assert_eq!(hpa.metrics[1].target, MetricTarget::Value(30_000));
    assert_eq!(hpa.behavior.up.policies.len(), 2);
    assert_eq!(hpa.behavior.down.stabilization_ms, Some(10_000));
    assert_eq!(hpa.behavior.down.select, SelectPolicy::Disabled);

    let wrong = |old: &str, new: &str| parse_text(&text.replace(old, new)).unwrap_err().to_string();
    assert!(wrong("  maxReplicas: 4\n", "").contains("spec.maxReplicas: must be given"));
    let message = wrong("metric.binnacle.dev/queue", "metric.binnacle.dev/other");
    assert!(message.contains("spec.metrics[1].external.metric.name: the query of"), "{message}");
    assert!(
        wrong("stabilizationWindowSeconds: 10", "stabilizationWindowSeconds: 9999").contains("not within")
    );
}

#[test]
fn a_budget_is_read() {
    let text = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec:\n  minAvailable: 50%\n  selector: {matchLabels: {app: web}}\n";
    let budget = &parse_text(text).unwrap().budgets[&key("web")];
    assert_eq!(budget.rule, BudgetRule::MinAvailable(Amount::Percent(50)));
}

#[test]
fn a_broken_file_keeps_its_old_objects_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (web, api) = (dir.path().join("web.yaml"), dir.path().join("api.yaml"));
    std::fs::write(&web, WEB).unwrap();
    std::fs::write(&api, WEB.replace("name: web\nspec", "name: api\nspec")).unwrap();
    let mut folder = Folder::new(dir.path().to_owned());
    assert!(folder.refresh(false));
    assert!(!folder.refresh(false), "nothing has changed");
    let before = folder.objects().clone();
    assert_eq!(before.len(), 2);

    std::fs::write(&web, WEB.replace("replicas: 2", "replicas: many, many")).unwrap();
    assert!(folder.refresh(false));
    assert_eq!(*folder.objects(), before);
    let problems = folder.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].line, problems[0].field.as_str()), (Some(6), "spec.replicas"));

    std::fs::write(&web, WEB.replace("replicas: 2", "replicas: 3, # none")).unwrap();
    folder.refresh(false);
    std::fs::write(&web, WEB.replace("replicas: 2", "replicas: 3")).unwrap();
    folder.refresh(false);
    assert!(folder.problems().is_empty());
    assert_eq!(folder.objects().deployments[&key("web")].replicas, 3);

    std::fs::remove_file(&api).unwrap();
    folder.refresh(false);
    assert_eq!(folder.objects().len(), 1);
}

#[test]
fn a_folder_that_cannot_be_listed_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("manifests");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("web.yaml"), WEB).unwrap();
    let mut folder = Folder::new(path.clone());
    folder.refresh(false);
    std::fs::rename(&path, dir.path().join("away")).unwrap();
    assert!(folder.refresh(false));
    assert_eq!(folder.objects().len(), 1);
    assert_eq!(folder.problems().len(), 1);
}

#[test]
fn an_object_defined_in_two_files_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.yaml"), WEB).unwrap();
    std::fs::write(dir.path().join("b.yaml"), WEB.replace("replicas: 2", "replicas: 9")).unwrap();
    let mut folder = Folder::new(dir.path().to_owned());
    folder.refresh(false);
    assert_eq!(folder.objects().deployments[&key("web")].replicas, 2);
    assert!(folder.problems()[0].to_string().contains("b.yaml"), "{:?}", folder.problems());
}

#[test]
fn the_manifests_of_the_demo_are_accepted() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/demo");
    let mut folder = Folder::new(path);
    folder.refresh(false);
    assert_eq!(folder.problems(), []);
    let names: Vec<String> = folder.objects().deployments.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["default/chatty", "default/leaky", "default/web"]);
    assert_eq!(folder.objects().hpas.len(), 1);
}
