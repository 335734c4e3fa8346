//! The cases of the kind `k8s`; their names are their claims.

use std::time::Duration;

use futures::future::FutureExt as _;
use libtest_mimic::Failed;
use meshscript::base::diagnostic::{Diagnostic, ErrorKind};
use meshscript::k8s::access::{self, Access};
use meshscript::k8s::apply::{self, ApplyOptions};
use meshscript::k8s::delete::{self, DeleteOptions};
use meshscript::k8s::diff;
use meshscript::k8s::error::Error;
use meshscript::k8s::events::{self, EventOptions};
use meshscript::k8s::exec::{self, ExecOptions};
use meshscript::k8s::logs::{self, LogOptions};
use meshscript::k8s::port_forward;
use meshscript::k8s::read::{self, ListOptions, Scope};
use meshscript::k8s::target::TargetOptions;
use meshscript::k8s::wait::{self, Goal, WaitOptions, Wanted};
use meshscript::k8s::write::{self, MetadataField, PatchKind, PatchOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Case, World, fail, same, says};

pub(super) const CASES: &[(&str, Case)] = &[
    ("an_unchanged_object_is_not_written", |w| unchanged(w).boxed_local()),
    ("crds_are_applied_once_and_their_kinds_known_at_once", |w| crds(w).boxed_local()),
    ("a_field_that_is_no_longer_applied_goes", |w| fields(w).boxed_local()),
    ("a_conflict_names_field_owner_and_values", |w| conflict(w).boxed_local()),
    ("helm_may_take_fields_by_force", |w| force(w).boxed_local()),
    ("several_hundred_objects_are_listed_in_pages", |w| pages(w).boxed_local()),
    ("reading_names_the_near_object_and_kind", |w| reading(w).boxed_local()),
    ("patches_that_change_nothing_are_not_sent", |w| patches(w).boxed_local()),
    ("what_is_deleted_is_gone_afterwards", |w| deletes(w).boxed_local()),
    ("a_rollout_is_waited_for_and_scaled", |w| rollout(w).boxed_local()),
    ("a_wait_that_ends_in_time_says_why", |w| timeout(w).boxed_local()),
    ("a_quota_ends_a_wait_at_once", |w| quota(w).boxed_local()),
    ("deleted_and_existing_objects_are_waited_for", |w| existence(w).boxed_local()),
    ("a_webhook_that_nobody_answers_is_tried_until_the_time_is_up", |w| webhook(w).boxed_local()),
    ("refusals_keep_the_words_of_the_server", |w| refusals(w).boxed_local()),
    ("a_diff_shows_fields_and_hides_secrets", |w| differences(w).boxed_local()),
    ("secrets_are_learned_and_encoded", |w| secrets(w).boxed_local()),
    ("pods_log_run_commands_and_carry_connections", |w| streams(w).boxed_local()),
    ("others_are_asked_for_and_impersonated", |w| others(w).boxed_local()),
    ("targets_that_cannot_be_used_say_so", |w| targets(w).boxed_local()),
];

const WORKLOAD: &str = r#"
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ServiceAccount
  metadata: {name: web, labels: {app: web}}
- apiVersion: v1
  kind: Service
  metadata: {name: web}
  spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web, labels: {app: web, "example.com/part": "a.b"}}
  spec:
    replicas: 2
    selector: {matchLabels: {app: web}}
    template:
      metadata: {creationTimestamp: null, labels: {app: web}}
      spec:
        serviceAccountName: web
        containers:
        - name: web
          image: docker.io/example/go-httpbin:2.15.0
          args: ["-port", "8080"]
          env:
          - {name: EMPTY, value: ""}
          - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
          ports: [{name: http, containerPort: 8080}]
          resources: {requests: {cpu: 1000m, memory: 0.5Gi}, limits: {cpu: 2}}
          securityContext: {}
          readinessProbe: {httpGet: {path: /status/200, port: http}}
        tolerations: [{key: a, operator: Exists}]
        volumes: [{name: tmp, emptyDir: {}}]
"#;

async fn unchanged(world: &World) -> Result<(), Failed> {
    let all = |change: &str| {
        ["ServiceAccount", "Service", "Deployment"]
            .map(|kind| format!("{kind}/web {change}"))
            .to_vec()
    };
    same(world.apply(WORKLOAD).await?, all("created"))?;
    let before = world.cluster.requests();
    same(world.apply(WORKLOAD).await?, all("unchanged"))?;
    let after = world.cluster.requests();
    same((after.0 - before.0, after.1 - before.1), (3, 0))?;
    // A stranger's label is nobody's business.
    let labels = json!({"stranger": "yes"});
    let namespace = world.cluster.namespace();
    let options = PatchOptions { field_manager: "stranger".into(), ..PatchOptions::default() };
    let patch = json!({"metadata": {"labels": labels}});
    write::patch(&world.cluster, "deploy", "web", Some(namespace), &patch, &options)
        .await
        .map_err(fail)?;
    let writes = world.writes();
    same(world.apply(WORKLOAD).await?, all("unchanged"))?;
    same(world.writes(), writes)
}

async fn crds(world: &World) -> Result<(), Failed> {
    let group = format!("{}.example.com", world.cluster.namespace());
    let text = format!(
        "
apiVersion: {group}/v1
kind: Widget
metadata: {{name: one}}
spec: {{size: 3, parts: [{{name: a}}, {{name: b}}]}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: widgets.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: Widget, plural: widgets, singular: widget, shortNames: [wdg{}]}}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {{type: integer, default: 1, maximum: 5}}
              parts: {{type: array, items: {{type: object, properties: {{name: {{type: string}}}}}}}}
",
        group.len()
    );
    let created = world.apply(&text).await?;
    same(
        created,
        vec![
            "Widget/one created".into(),
            format!("CustomResourceDefinition/widgets.{group} created"),
        ],
    )?;
    let (reads, writes) = world.cluster.requests();
    let again = world.apply(&text).await?;
    same(
        again,
        vec![
            "Widget/one unchanged".into(),
            format!("CustomResourceDefinition/widgets.{group} unchanged"),
        ],
    )?;
    same(world.writes(), writes)?;
    same(world.cluster.requests().0, reads + 2)?;
    let kind = format!("widgets.{group}");
    let found = read::list(&world.cluster, &kind, &ListOptions::default()).await.map_err(fail)?;
    same(found.len(), 1)?;
    let short = format!("wdg{}", group.len());
    same(world.cluster.resolve(&short).await.map_err(fail)?.kind.as_str(), "Widget")?;
    let crd = format!("widgets.{group}");
    let gone = delete::delete(&world.cluster, "crd", &crd, None, &DeleteOptions::default()).await;
    same(gone.map_err(fail)?, true)
}

async fn fields(world: &World) -> Result<(), Failed> {
    let map = |data: &str| {
        format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a}}, data: {{{data}}}}}")
    };
    same(world.apply(&map("x: '1', y: '2'")).await?, vec!["ConfigMap/a created".to_owned()])?;
    same(world.apply(&map("x: '1'")).await?, vec!["ConfigMap/a configured".to_owned()])?;
    let found = read::require(&world.cluster, "cm", "a", None).await.map_err(fail)?;
    same(&found["data"], &json!({"x": "1"}))?;
    let writes = world.writes();
    same(world.apply(&map("x: '1'")).await?, vec!["ConfigMap/a unchanged".to_owned()])?;
    same(world.writes(), writes)
}

async fn conflict(world: &World) -> Result<(), Failed> {
    let other = ApplyOptions { field_manager: "other".into(), ..ApplyOptions::default() };
    // The server compares what is applied with what is stored as texts: values that it stores in another form than they
    // were written in (`1000m`, a null) conflict as well.
    let workload = WORKLOAD
        .replace("cpu: 1000m, memory: 0.5Gi", "cpu: '1', memory: 512Mi")
        .replace("cpu: 2}", "cpu: '2'}")
        .replace("creationTimestamp: null, ", "")
        .replace("- {name: EMPTY, value: \"\"}", "- {name: EMPTY}")
        .replace("fieldPath: metadata.name", "apiVersion: v1, fieldPath: metadata.name");
    world.apply_with(&workload, &other).await?;
    let ours = workload
        .replace("replicas: 2", "replicas: 3")
        .replace("go-httpbin:2.15.0", "go-httpbin:2.16.0");
    let objects = world.objects(&ours)?;
    let Err(error) = apply::apply(&world.cluster, objects, &ApplyOptions::default()).await else {
        return Err("the conflict was overrun".into());
    };
    let Error::FieldConflict { conflicts, .. } = &error else { return Err(fail(error)) };
    let mut found: Vec<String> = conflicts
        .iter()
        .map(|conflict| {
            format!("{} {} {} {}", conflict.field, conflict.owner, conflict.theirs, conflict.ours)
        })
        .collect();
    found.sort();
    same(
        found,
        vec![
            ".spec.replicas other 2 3".to_owned(),
            ".spec.template.spec.containers[name=\"web\"].image other \"docker.io/example/go-httpbin:2.15.0\" \"docker.io/example/go-httpbin:2.16.0\"".to_owned(),
        ],
    )?;
    let diagnostic = Diagnostic::from(error);
    same(diagnostic.kind, ErrorKind::Conflict)?;
    same(diagnostic.hints.len(), 3)?;
    // The third way out: take the fields over by a patch.
    let patch = json!({"spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "web", "image": "docker.io/example/go-httpbin:2.16.0"}]}}}});
    let options = PatchOptions { kind: PatchKind::Strategic, ..PatchOptions::default() };
    write::patch(&world.cluster, "deploy", "web", None, &patch, &options).await.map_err(fail)?;
    world.apply(&ours).await.map(drop)
}

async fn force(world: &World) -> Result<(), Failed> {
    world.apply(WORKLOAD).await?;
    let options =
        ApplyOptions { field_manager: "helm".into(), force: true, ..ApplyOptions::default() };
    let theirs = WORKLOAD.replace("replicas: 2", "replicas: 3");
    let changed = world.apply_with(&theirs, &options).await?;
    same(changed.last().map(String::as_str), Some("Deployment/web configured"))?;
    let writes = world.writes();
    let again = world.apply_with(&theirs, &options).await?;
    same(again.last().map(String::as_str), Some("Deployment/web unchanged"))?;
    same(world.writes(), writes)
}

async fn pages(world: &World) -> Result<(), Failed> {
    let text: Vec<String> = (0..620)
        .map(|at| format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: c{at}, labels: {{set: many}}}}, data: {{n: '{at}'}}}}"))
        .collect();
    let text = text.join("\n---\n");
    same(world.apply(&text).await?.len(), 620)?;
    let before = world.cluster.requests();
    let options = ListOptions { labels: "set=many".into(), ..ListOptions::default() };
    let found = read::list(&world.cluster, "cm", &options).await.map_err(fail)?;
    same(found.len(), 620)?;
    same(world.cluster.requests().0 - before.0, 2)?;
    world.apply(&text).await?;
    let after = world.cluster.requests();
    same((after.0 - before.0, after.1), (4, before.1))
}

async fn reading(world: &World) -> Result<(), Failed> {
    world.apply(WORKLOAD).await?;
    let cluster = &world.cluster;
    for kind in
        ["deploy", "Deployment", "deployments.apps", "apps/v1/Deployment", "deployments.v1.apps"]
    {
        same(read::exists(cluster, kind, "web", None).await.map_err(fail)?, true)?;
    }
    let missing = read::require(cluster, "deploy", "wbe", None).await.err();
    same(
        missing.map(Diagnostic::from).map(|error| (error.kind, error.hints)),
        Some((ErrorKind::NotFound, vec!["did you mean `web`?".to_owned()])),
    )?;
    let unknown = cluster.resolve("deploymets").await.err();
    same(
        unknown.map(Diagnostic::from).map(|error| error.hints),
        Some(vec!["did you mean `deployments`?".to_owned()]),
    )?;
    let version =
        cluster.resource_of("apps/v1beta1", "Deployment").await.err().map(Diagnostic::from);
    same(
        version.map(|error| error.causes),
        Some(vec!["the kind is served as apps/v1".to_owned()]),
    )?;
    let options = ListOptions {
        scope: Scope::AllNamespaces,
        fields: "metadata.name=web".into(),
        ..ListOptions::default()
    };
    let namespace = cluster.namespace();
    let found = read::list(cluster, "svc", &options).await.map_err(fail)?;
    same(found.iter().any(|found| found["metadata"]["namespace"] == namespace), true)?;
    let bad = ListOptions { labels: "a in b".into(), ..ListOptions::default() };
    let error = read::list(cluster, "svc", &bad).await.err().map(|error| error.kind());
    same(error, Some(ErrorKind::Invalid))
}

async fn patches(world: &World) -> Result<(), Failed> {
    world.apply(WORKLOAD).await?;
    let cluster = &world.cluster;
    let label = json!({"team": "mesh", "number": 3});
    let set = |values: Value| async move {
        let set =
            write::set_metadata(cluster, "svc", "web", None, MetadataField::Labels, &values).await;
        set.map(|written| written.change.name()).map_err(fail)
    };
    same(set(label.clone()).await?, "configured")?;
    let writes = world.writes();
    same(set(label).await?, "unchanged")?;
    same(set(json!({"nope": null})).await?, "unchanged")?;
    same(world.writes(), writes)?;
    same(set(json!({"team": null})).await?, "configured")?;
    let found = read::require(cluster, "svc", "web", None).await.map_err(fail)?;
    same(&found["metadata"]["labels"], &json!({"number": "3"}))?;
    let json_patch = json!([{"op": "replace", "path": "/spec/ports/0/port", "value": 81}]);
    let options = PatchOptions { kind: PatchKind::Json, ..PatchOptions::default() };
    let patched =
        write::patch(cluster, "svc", "web", None, &json_patch, &options).await.map_err(fail)?;
    same(&patched.object["spec"]["ports"][0]["port"], &json!(81))?;
    let error =
        write::patch(cluster, "svc", "wbe", None, &json!({}), &PatchOptions::default()).await;
    same(error.err().map(|error| error.kind()), Some(ErrorKind::NotFound))
}

async fn deletes(world: &World) -> Result<(), Failed> {
    world.apply(WORKLOAD).await?;
    let cluster = &world.cluster;
    let options = DeleteOptions::default();
    same(delete::delete(cluster, "deploy", "web", None, &options).await.map_err(fail)?, true)?;
    same(read::exists(cluster, "deploy", "web", None).await.map_err(fail)?, false)?;
    let writes = world.writes();
    same(delete::delete(cluster, "deploy", "web", None, &options).await.map_err(fail)?, false)?;
    same(world.writes(), writes)?;
    let deleted = delete::delete_manifests(cluster, world.objects(WORKLOAD)?, &options).await;
    same(deleted.map_err(fail)?, 2)?;
    // What holds an object is named when time runs out.
    let held =
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: held, finalizers: [example.com/hold]}}";
    world.apply(held).await?;
    let brief = DeleteOptions { timeout: Duration::from_secs(1), ..DeleteOptions::default() };
    let error =
        delete::delete(cluster, "cm", "held", None, &brief).await.err().map(Diagnostic::from);
    let error = error.ok_or("it is gone, although it is held")?;
    same(error.kind, ErrorKind::Timeout)?;
    says(&error.to_string(), "held by example.com/hold")?;
    let free = json!({"metadata": {"finalizers": null}});
    write::patch(cluster, "cm", "held", None, &free, &PatchOptions::default())
        .await
        .map_err(fail)?;
    Ok(())
}

async fn wanted(world: &World, kind: &str, name: &str, goal: Goal) -> Result<Wanted, Failed> {
    let resource = world.cluster.resolve(kind).await.map_err(fail)?;
    let namespace = resource.namespaced.then(|| world.cluster.namespace().to_owned());
    Ok(Wanted { resource, namespace, name: name.to_owned(), goal })
}

async fn rollout(world: &World) -> Result<(), Failed> {
    let cluster = &world.cluster;
    world.apply(WORKLOAD).await?;
    let options = WaitOptions { timeout: Duration::from_secs(60) };
    let goals = vec![
        wanted(world, "deploy", "web", Goal::Rollout).await?,
        wanted(world, "deploy", "web", Goal::condition("available", "true")).await?,
        wanted(world, "svc", "web", Goal::Ready { jobs: true }).await?,
    ];
    let found = wait::wait(cluster, goals, &options).await.map_err(fail)?;
    same(&found[0]["status"]["availableReplicas"], &json!(2))?;
    // What is so already costs one read.
    let before = cluster.requests();
    wait::wait(cluster, vec![wanted(world, "deploy", "web", Goal::Rollout).await?], &options)
        .await
        .map_err(fail)?;
    same(cluster.requests(), (before.0 + 1, before.1))?;
    let scaled = write::scale(cluster, "deploy", "web", None, 3).await.map_err(fail)?;
    same(scaled.change.name(), "configured")?;
    same(
        write::scale(cluster, "deploy", "web", None, 3).await.map_err(fail)?.change.name(),
        "unchanged",
    )?;
    write::restart(cluster, "deploy", "web", None).await.map_err(fail)?;
    let found =
        wait::wait(cluster, vec![wanted(world, "deploy", "web", Goal::Rollout).await?], &options)
            .await
            .map_err(fail)?;
    same(&found[0]["status"]["updatedReplicas"], &json!(3))?;
    let error = write::scale(cluster, "svc", "web", None, 3).await.err().map(|error| error.kind());
    same(error, Some(ErrorKind::Invalid))
}

async fn timeout(world: &World) -> Result<(), Failed> {
    let held = WORKLOAD.replace(
        "labels: {app: web}}\n      spec:\n        serv",
        "labels: {app: web}, annotations: {\"meshbed/hold\": \"true\"}}\n      spec:\n        serv",
    );
    world.apply(&held).await?;
    let options = WaitOptions { timeout: Duration::from_secs(3) };
    let goals = vec![wanted(world, "deploy", "web", Goal::Rollout).await?];
    let error = wait::wait(&world.cluster, goals, &options).await.err().map(Diagnostic::from);
    let error = error.ok_or("the rollout is complete, although its pods are held")?;
    same(error.kind, ErrorKind::Timeout)?;
    says(&error.to_string(), "is not rolled out after 3.0s")?;
    says(&error.to_string(), "0 of 2 pods available; pod web-")?;
    says(
        &world.heard.all(),
        "waiting for deployment.apps k8s-a-wait-that-ends-in-time-says-why/web to be rolled out",
    )
}

async fn quota(world: &World) -> Result<(), Failed> {
    world
        .apply(
            "{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {pods: '0'}}}",
        )
        .await?;
    world.apply(WORKLOAD).await?;
    let options = WaitOptions { timeout: Duration::from_secs(60) };
    let goals = vec![wanted(world, "deploy", "web", Goal::Rollout).await?];
    let began = world.cluster.clock().monotonic();
    let error = wait::wait(&world.cluster, goals, &options).await.err().map(Diagnostic::from);
    let took = world.cluster.clock().monotonic() - began;
    let error = error.ok_or("the rollout is complete, although the quota forbids it")?;
    same(error.kind, ErrorKind::Terminal)?;
    says(&error.to_string(), "exceeded quota: q")?;
    says(&error.hints.join("\n"), "ResourceQuota")?;
    same(took < Duration::from_secs(20), true)
}

async fn existence(world: &World) -> Result<(), Failed> {
    let cluster = &world.cluster;
    let options = WaitOptions { timeout: Duration::from_secs(20) };
    let goals = vec![
        wanted(world, "cm", "late", Goal::Exists).await?,
        wanted(world, "cm", "gone", Goal::Deleted { uid: String::new() }).await?,
    ];
    let map =
        |name: &str| format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}");
    world.apply(&map("gone")).await?;
    let before = cluster.requests();
    let write = async {
        cluster.clock().sleep(Duration::from_millis(300)).await;
        world.apply(&map("late")).await?;
        delete::delete(cluster, "cm", "gone", None, &DeleteOptions::default()).await.map_err(fail)
    };
    let (waited, wrote) = tokio::join!(wait::wait(cluster, goals, &options), write);
    wrote?;
    let found = waited.map_err(fail)?;
    same(&found[0]["metadata"]["name"], &json!("late"))?;
    same(&found[1], &Value::Null)?;
    // One list and one watch for both, beside the reads of the writes.
    same(cluster.requests().0 - before.0 <= 5, true)
}

async fn webhook(world: &World) -> Result<(), Failed> {
    let namespace = world.cluster.namespace();
    let hook = format!(
        "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {{name: {namespace}}}
webhooks:
- name: nobody.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  clientConfig: {{service: {{name: nobody, namespace: {namespace}, path: /}}}}
  namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
  rules: [{{apiGroups: [''], apiVersions: [v1], operations: ['*'], resources: [configmaps]}}]
"
    );
    world.apply(&hook).await?;
    world.apply("{apiVersion: v1, kind: Service, metadata: {name: nobody}, spec: {ports: [{port: 443}]}}").await?;
    let options = ApplyOptions { timeout: Duration::from_secs(2), ..ApplyOptions::default() };
    let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}";
    // The API server hears of the webhook a moment later.
    let mut error = None;
    for _ in 0..50 {
        let objects = world.objects(map)?;
        error = apply::apply(&world.cluster, objects, &options).await.err().map(Diagnostic::from);
        if error.is_some() {
            break;
        }
        let named = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}";
        delete::delete_manifests(&world.cluster, world.objects(named)?, &DeleteOptions::default())
            .await
            .ok();
    }
    delete::delete(
        &world.cluster,
        "validatingwebhookconfiguration",
        namespace,
        None,
        &DeleteOptions::default(),
    )
    .await
    .map_err(fail)?;
    let error = error.ok_or("nobody answers, and yet it was admitted")?;
    says(&error.to_string(), "failed calling webhook \"nobody.example.com\"")?;
    says(&error.hints.join("\n"), "not ready")?;
    says(&world.heard.all(), "to be admitted")?;
    same(error.kind, ErrorKind::Failed)
}

async fn refusals(world: &World) -> Result<(), Failed> {
    let refused = |text: &'static str| async move {
        let objects = world.objects(text)?;
        let error = apply::apply(&world.cluster, objects, &ApplyOptions::default()).await.err();
        error.map(Diagnostic::from).ok_or_else(|| Failed::from("it was taken"))
    };
    let unknown =
        refused("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {prts: [{port: 80}]}}")
            .await?;
    same(unknown.kind, ErrorKind::Invalid)?;
    says(&unknown.to_string(), ".spec.prts: field not declared in schema")?;
    let invalid = refused("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: Nope, ports: [{port: 99999}]}}").await?;
    same(invalid.kind, ErrorKind::Invalid)?;
    says(
        &invalid.to_string(),
        "spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive",
    )?;
    says(&invalid.to_string(), "spec.type: Unsupported value: \"Nope\"")?;
    let missing = refused("{apiVersion: v1, kind: Service, metadata: {name: a, namespace: nope}, spec: {ports: [{port: 80}]}}").await?;
    same(
        (missing.kind, missing.hints),
        (ErrorKind::NotFound, vec!["create the namespace first".to_owned()]),
    )?;
    let kind = refused("{apiVersion: v1, kind: Servce, metadata: {name: a}}").await?;
    same(
        (kind.kind, kind.hints),
        (ErrorKind::NotFound, vec!["did you mean `Service`?".to_owned()]),
    )?;
    let exists = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    let error = write::create(&world.cluster, exists, None, "meshscript").await.err();
    same(error.map(|error| error.kind()), Some(ErrorKind::AlreadyExists))
}

async fn differences(world: &World) -> Result<(), Failed> {
    world.apply(WORKLOAD).await?;
    let secret = |value: &str| {
        format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: s}}, stringData: {{password: {value}}}}}"
        )
    };
    world.apply(&secret("first-password")).await?;
    let changed = WORKLOAD.replace("replicas: 2", "replicas: 3");
    let new =
        "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: new, namespace: not-there-yet}}";
    let text = format!("{changed}---\n{}\n{new}", secret("second-password"));
    let writes = world.writes();
    let found = diff::diff(&world.cluster, world.objects(&text)?, &ApplyOptions::default()).await;
    let found = found.map_err(fail)?;
    same(world.writes(), writes)?;
    let mut lines = Vec::new();
    for object in &found {
        lines.push(format!(
            "{}/{} {}",
            object.reference.kind,
            object.reference.name,
            object.change.name()
        ));
        for field in &object.fields {
            let is_secret = object.reference.kind == "Secret";
            let (before, after) = if is_secret {
                (
                    field
                        .before
                        .as_str()
                        .is_some_and(|hash| hash.starts_with("sha256:"))
                        .to_string(),
                    "hidden".to_owned(),
                )
            } else {
                (field.before.to_string(), field.after.to_string())
            };
            lines.push(format!("  {}: {before} -> {after}", field.path));
        }
    }
    same(
        lines,
        [
            "ServiceAccount/web unchanged",
            "Service/web unchanged",
            "Deployment/web configured",
            "  spec.replicas: 2 -> 3",
            "Secret/s configured",
            "  data.password: true -> hidden",
            "ConfigMap/new created",
        ]
        .map(str::to_owned)
        .to_vec(),
    )
}

async fn secrets(world: &World) -> Result<(), Failed> {
    let text = "{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {password: correct-horse}}";
    same(world.apply(text).await?, vec!["Secret/s created".to_owned()])?;
    let writes = world.writes();
    same(world.apply(text).await?, vec!["Secret/s unchanged".to_owned()])?;
    same(world.writes(), writes)?;
    let found = read::require(&world.cluster, "secret", "s", None).await.map_err(fail)?;
    same(&found["data"], &json!({"password": "Y29ycmVjdC1ob3JzZQ=="}))?;
    let told = format!("it is correct-horse or {}", found["data"]["password"]);
    same(world.cluster.redactor().mask(&told).as_str(), "it is *** or \"***\"")?;
    // A conflict over a secret does not show it.
    let other = ApplyOptions { field_manager: "other".into(), ..ApplyOptions::default() };
    let objects = world.objects(&text.replace("correct-horse", "battery-staple"))?;
    let error = apply::apply(&world.cluster, objects, &other).await.err().map(Diagnostic::from);
    let error = error.ok_or("the conflict was overrun")?.to_string();
    says(&error, "sha256:")?;
    same(error.contains("YmF0dGVyeS1zdGFwbGU=") || error.contains("battery-staple"), false)
}

async fn streams(world: &World) -> Result<(), Failed> {
    let cluster = &world.cluster;
    world.apply(WORKLOAD).await?;
    let options = WaitOptions { timeout: Duration::from_secs(60) };
    wait::wait(cluster, vec![wanted(world, "deploy", "web", Goal::Rollout).await?], &options)
        .await
        .map_err(fail)?;
    let log = logs::logs(
        cluster,
        "deploy/web",
        None,
        &LogOptions { tail: Some(1), ..LogOptions::default() },
    )
    .await;
    same(log.map_err(fail)?.trim().is_empty(), false)?;
    // The image is none of Docker Hub's, which has no shell.
    // kwok's exec hands on neither the end of the input nor an exit code (kubectl's hangs as well).
    let run = |command: &'static [&'static str]| async move {
        let command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
        let options = ExecOptions::default();
        exec::exec(cluster, "svc/web", None, &command, &options).await.map_err(fail)
    };
    let output = run(&["sh", "-c", "echo out; echo err >&2"]).await?;
    same((output.stdout.as_str(), output.stderr.as_str(), output.code), ("out\n", "err\n", 0))?;
    let forward = port_forward::forward(cluster, "svc/web", None, 80).await.map_err(fail)?;
    same(forward.port, 8080)?;
    let answers = |mut stream: Box<dyn meshscript::base::net::Stream>| async move {
        stream
            .write_all(b"GET /status/204 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, Failed>(answer)
    };
    let connection = forward.connect().await.map_err(fail)?;
    says(&connection.peer, "port-forward k8s-pods-log-run-commands-and-carry-connections/web-")?;
    says(&answers(connection.stream).await?, "204 No Content")?;
    let listening = forward.listen(0).await.map_err(fail)?;
    let client = tokio::net::TcpStream::connect(("127.0.0.1", listening.local_port)).await?;
    says(&answers(Box::new(client)).await?, "204 No Content")?;
    let taken =
        listening.forward.clone().listen(listening.local_port).await.err().map(Diagnostic::from);
    says(&taken.ok_or("a port was taken twice")?.to_string(), "cannot listen on 127.0.0.1:")?;
    let missing = logs::logs(cluster, "deploy/nope", None, &LogOptions::default()).await.err();
    same(missing.map(|error| error.kind()), Some(ErrorKind::NotFound))?;
    let about =
        EventOptions { kind: "deploy".into(), name: "web".into(), ..EventOptions::default() };
    let events = events::events(cluster, &about).await.map_err(fail)?;
    same(events.iter().any(|event| event["reason"] == "ScalingReplicaSet"), true)
}

async fn others(world: &World) -> Result<(), Failed> {
    let access = |verb: &str, kind: &str| Access {
        verb: verb.into(),
        kind: kind.into(),
        name: String::new(),
        namespace: Some("default".into()),
    };
    let cluster = &world.cluster;
    for (verb, kind) in [
        ("create", "deploy"),
        ("get", "pods/log"),
        ("*", "*"),
        ("get", "/metrics"),
        ("list", "widgets.nope.example.com"),
    ] {
        same(access::can_i(cluster, &access(verb, kind)).await.map_err(fail)?, true)?;
    }
    let options = TargetOptions { impersonate: Some("alice".into()), ..world.options.clone() };
    let alice = World::connect(&options, cluster.namespace())?;
    says(&alice.cluster.info().user, "(as alice)")?;
    same(access::can_i(&alice.cluster, &access("create", "deploy")).await.map_err(fail)?, false)?;
    same(alice.writes(), 0)?;
    let error = read::get(&alice.cluster, "secret", "s", None).await.err().map(Diagnostic::from);
    let error = error.ok_or("alice may read Secrets")?;
    same(error.kind, ErrorKind::Forbidden)?;
    says(&error.to_string(), "User \"alice\" cannot get resource \"secrets\"")
}

async fn targets(world: &World) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).map(|()| path)
    };
    let told = |options: TargetOptions| async move {
        let world = match World::connect(&options, "default") {
            Err(error) => return error.message().unwrap_or_default().to_owned(),
            Ok(world) => world,
        };
        let began = world.cluster.clock().monotonic();
        let error = world.cluster.reach().await.err().map(fail);
        let took = world.cluster.clock().monotonic() - began;
        let slow = if took > Duration::from_secs(6) { "SLOW " } else { "" };
        format!(
            "{slow}{}",
            error.and_then(|error| error.message().map(str::to_owned)).unwrap_or_default()
        )
    };
    let of = |files: Vec<std::path::PathBuf>| TargetOptions { files, ..TargetOptions::default() };
    let config = |server: &str, user: &str| {
        format!(
            "{{apiVersion: v1, kind: Config, current-context: a, contexts: [{{name: a, context: {{cluster: c, user: u}}}}], clusters: [{{name: c, cluster: {{server: '{server}', insecure-skip-tls-verify: true}}}}], users: [{{name: u, user: {user}}}]}}"
        )
    };
    let missing = told(of(vec![folder.path().join("nope")])).await;
    says(&missing, "cannot read the kubeconfig")?;
    let broken = told(of(vec![file("broken", "a: [")?])).await;
    says(&broken, "is not valid")?;
    let closed = file("closed", &config("https://127.0.0.1:1", "{token: super-secret-token}"))?;
    let refused = told(of(vec![closed.clone()])).await;
    says(
        &refused,
        "the API server at https://127.0.0.1:1 cannot be reached: connection refused (Unreachable)",
    )?;
    let unknown =
        told(TargetOptions { context: Some("b".into()), ..of(vec![closed.clone()]) }).await;
    says(&unknown, "the kubeconfig has no context `b`")?;
    says(&unknown, "available contexts: a")?;
    let merged = told(of(vec![folder.path().join("nope"), closed.clone()])).await;
    says(&merged, "connection refused")?;
    let plugin = file(
        "plugin",
        &config(
            "https://127.0.0.1:1",
            "{exec: {apiVersion: client.authentication.k8s.io/v1, command: aws}}",
        ),
    )?;
    let plugin = told(of(vec![plugin])).await;
    says(&plugin, "the exec plugin `aws`, and meshscript starts no programs")?;
    let server = world.cluster.info().server;
    let expired = file("expired", &config(&server, "{token: super-secret-token}"))?;
    let expired = told(of(vec![expired])).await;
    says(&expired, "Unauthorized (401) (Forbidden)")?;
    same(format!("{refused}{expired}").contains("super-secret"), false)?;
    let nowhere = file("nowhere", &config("https://no-such-host.invalid:6443", "{}"))?;
    says(&told(of(vec![nowhere])).await, "(Unreachable)")
}
