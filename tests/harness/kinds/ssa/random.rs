//! Random sequences of writes by several managers, each step held against the real API server.

use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::{Map, Value, json};

use super::bed::{self, Bed};
use super::play::{self, Op, Step, Times};

/// How many sequences of how many requests run when nothing else is said.
const SEQUENCES: u64 = 24;
const LENGTH: usize = 14;
const MANAGERS: [&str; 4] = ["kubectl", "helm", "controller", "ops"];

pub(crate) fn run() -> Result<(), Failed> {
    if !bed::is_up() {
        println!("skipped: no test bed");
        return Ok(());
    }
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let first = number("SSA_SEED", 1);
    let count = number("SSA_SEQUENCES", SEQUENCES);
    let bed = Bed::open("random")?;
    let mut wrong = Vec::new();
    let mut n_requests = 0;
    for seed in first..first + count {
        let mut random = Random::of(seed);
        let resource = ["configmaps", "services", "deployments", "widgets"][(seed % 4) as usize];
        let name = format!("r{seed}");
        let mut live: Option<Value> = None;
        for at in 0..LENGTH {
            let mut step = next_step(&mut random, resource, &name, live.as_ref());
            if live.is_some() {
                live = settled(&bed, &step)?;
            }
            let guarded = match &live {
                Some(live) if resource == "deployments" => guard(&mut step, live),
                _ => false,
            };
            let answer = play::send(&bed, &step)?;
            if guarded && answer.body.pointer("/details/causes").is_none() && answer.code >= 400 {
                continue;
            }
            n_requests += 1;
            if let Err(message) = play::check(&step, live.as_ref(), &answer, Times::Ignored) {
                wrong.push(format!(
                    "seed {seed} step {at}: {message}\nrequest: {}\nlive: {}",
                    serde_json::to_string(&step)?,
                    live.unwrap_or_default()
                ));
                break;
            }
            if answer.code < 300 {
                live = Some(answer.body);
            }
        }
    }
    if wrong.is_empty() {
        println!("{n_requests} requests in {count} sequences agree");
        return Ok(());
    }
    let shown: Vec<_> = wrong.iter().take(3).cloned().collect();
    Err(format!("{} of {count} sequences differ\n{}", wrong.len(), shown.join("\n\n")).into())
}

/// The stored object, once the controllers of the test bed have written what they have to write.
fn settled(bed: &Bed, step: &Step) -> Result<Option<Value>, Failed> {
    let mut live = play::get(bed, step)?;
    if step.resource != "deployments" {
        return Ok(live);
    }
    for _ in 0..100 {
        bed::pause(Duration::from_millis(25));
        let again = play::get(bed, step)?;
        let observed = again.as_ref().is_some_and(|object| {
            object["status"]["observedGeneration"] == object["metadata"]["generation"]
        });
        if observed && again == live {
            break;
        }
        live = again;
    }
    Ok(live)
}

/// Makes a request fail if a controller wrote in between. The answer to that has no causes.
fn guard(step: &mut Step, live: &Value) -> bool {
    let version = live["metadata"]["resourceVersion"].clone();
    if let Value::Array(operations) = &mut step.body {
        let path = "/metadata/resourceVersion";
        operations.insert(0, json!({"op": "test", "path": path, "value": version}));
    } else {
        step.body["metadata"]["resourceVersion"] = version;
    }
    true
}

/// xorshift: the same seed gives the same sequence everywhere.
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// The next request about an object, from what it is.
pub(crate) fn next_step(
    random: &mut Random,
    resource: &str,
    name: &str,
    live: Option<&Value>,
) -> Step {
    let manager = (*random.pick(&MANAGERS)).to_owned();
    let mut step = Step {
        op: Op::Apply,
        resource: resource.to_owned(),
        name: name.to_owned(),
        manager,
        force: random.chance(60),
        subresource: String::new(),
        body: Value::Null,
    };
    let mut object = object(random, resource, name);
    let Some(live) = live else {
        step.op = if random.chance(50) { Op::Create } else { Op::Apply };
        complete(&mut object, resource);
        step.body = object;
        return step;
    };
    if resource == "widgets" && random.chance(20) {
        step.subresource = "status".to_owned();
    }
    if resource == "widgets" && random.chance(25) {
        step.resource = "widgets.v1beta1".to_owned();
        object["apiVersion"] = json!("ssa.example.com/v1beta1");
    }
    match random.below(10) {
        0..=4 => {
            if random.chance(50) {
                complete(&mut object, resource);
            }
            step.body = object;
        }
        5 => {
            step.op = Op::Update;
            let mut body = live.clone();
            body["apiVersion"] = object["apiVersion"].clone();
            overlay(&mut body, &object, random);
            if let Some(metadata) = body["metadata"].as_object_mut() {
                metadata.remove("resourceVersion");
                metadata.remove("namespace");
                if random.chance(10) {
                    metadata.insert("managedFields".to_owned(), json!([]));
                } else if random.chance(50) {
                    metadata.remove("managedFields");
                }
            }
            step.body = body;
        }
        6 | 7 => {
            step.op = Op::MergePatch;
            step.body = patch_of(object, random);
        }
        8 => {
            step.op = Op::JsonPatch;
            step.body = json_patch_of(live, &object, random);
        }
        _ => {
            step.op = if ["widgets", "gateways"].contains(&resource) {
                Op::MergePatch
            } else {
                Op::StrategicPatch
            };
            step.body = patch_of(object, random);
        }
    }
    step
}

/// Puts some of the object's parts into another.
fn overlay(body: &mut Value, object: &Value, random: &mut Random) {
    for part in ["data", "spec", "status"] {
        for (name, value) in object[part].as_object().cloned().into_iter().flatten() {
            if random.chance(60) {
                body[part][&name] = value;
            } else if random.chance(10)
                && let Some(fields) = body[part].as_object_mut()
                && !["selector", "template"].contains(&name.as_str())
            {
                fields.remove(&name);
            }
        }
    }
    if let Some(labels) = object["metadata"].get("labels") {
        body["metadata"]["labels"] = labels.clone();
    }
}

fn patch_of(mut object: Value, random: &mut Random) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("name");
    }
    for part in ["data", "spec"] {
        let names: Vec<String> =
            object[part].as_object().into_iter().flat_map(Map::keys).cloned().collect();
        for name in names {
            let required = ["selector", "template", "ports"].contains(&name.as_str());
            if !required && random.chance(15) {
                object[part][&name] = Value::Null;
            }
        }
    }
    object
}

fn json_patch_of(live: &Value, object: &Value, random: &mut Random) -> Value {
    let mut operations = Vec::new();
    for part in ["data", "spec"] {
        for (name, value) in object[part].as_object().into_iter().flatten() {
            let there = live[part].get(name).is_some();
            let required = ["selector", "template", "ports"].contains(&name.as_str());
            if there && !required && random.chance(30) {
                operations.push(json!({"op": "remove", "path": format!("/{part}/{name}")}));
            } else if live.get(part).is_some() && random.chance(50) {
                let op = if there { "replace" } else { "add" };
                operations
                    .push(json!({"op": op, "path": format!("/{part}/{name}"), "value": value}));
            }
        }
    }
    if random.chance(10) {
        operations.push(json!({"op": "test", "path": "/metadata/name", "value": "other"}));
    }
    Value::Array(operations)
}

/// What a new object cannot do without.
fn complete(object: &mut Value, resource: &str) {
    match resource {
        "services" if object["spec"].get("ports").is_none() => {
            object["spec"]["ports"] = json!([{"name": "base", "port": 1, "protocol": "TCP"}]);
        }
        "gateways" => {
            object["spec"]["gatewayClassName"] = json!("nobody");
            if object["spec"].get("listeners").is_none() {
                object["spec"]["listeners"] =
                    json!([{"name": "a", "port": 80, "protocol": "HTTP"}]);
            }
        }
        "deployments" => {
            object["spec"]["selector"] = json!({"matchLabels": {"app": "x"}});
            object["spec"]["template"]["metadata"]["labels"]["app"] = json!("x");
            if object["spec"]["template"]["spec"].get("containers").is_none() {
                object["spec"]["template"]["spec"]["containers"] =
                    json!([{"name": "a", "image": "img"}]);
            }
        }
        _ => {}
    }
}

fn object(random: &mut Random, resource: &str, name: &str) -> Value {
    let (api_version, kind) = match resource {
        "configmaps" => ("v1", "ConfigMap"),
        "services" => ("v1", "Service"),
        "deployments" => ("apps/v1", "Deployment"),
        "gateways" => ("gateway.networking.k8s.io/v1", "Gateway"),
        _ => ("ssa.example.com/v1", "Widget"),
    };
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    if random.chance(30) {
        object["metadata"]["labels"] = words(random, 3);
    }
    if random.chance(15) {
        object["metadata"]["annotations"] = words(random, 2);
    }
    match resource {
        "configmaps" => {
            if random.chance(85) {
                object["data"] = words(random, 4);
            }
        }
        "services" => object["spec"] = service(random),
        "deployments" => object["spec"] = deployment(random),
        "gateways" => object["spec"] = gateway(random),
        _ => {
            object["spec"] = widget(random);
            if random.chance(50) {
                object["status"] = status(random);
            }
        }
    }
    object
}

fn words(random: &mut Random, most: usize) -> Value {
    let mut fields = Map::new();
    for _ in 0..random.below(most + 1) {
        let key = *random.pick(&["a", "b", "c", "d", "e"]);
        fields.insert(key.to_owned(), json!(*random.pick(&["1", "2", "3"])));
    }
    Value::Object(fields)
}

fn service(random: &mut Random) -> Value {
    let mut spec = Map::new();
    if random.chance(60) {
        let mut ports = Vec::new();
        for port in [80, 443, 8080] {
            if random.chance(50) {
                let mut item =
                    json!({"name": format!("p{port}{}", random.pick(&["", "x"])), "port": port});
                if random.chance(50) {
                    item["protocol"] = json!("TCP");
                }
                if random.chance(40) {
                    item["targetPort"] =
                        random.pick(&[json!(8080), json!("http"), json!(port)]).clone();
                }
                ports.push(item);
            }
        }
        if random.chance(50) {
            ports.reverse();
        }
        if !ports.is_empty() {
            spec.insert("ports".to_owned(), Value::Array(ports));
        }
    }
    if random.chance(50) {
        spec.insert("selector".to_owned(), words(random, 3));
    }
    if random.chance(20) {
        spec.insert("externalName".to_owned(), json!(*random.pick(&["a.example", "b.example"])));
    }
    if random.chance(20) {
        spec.insert("publishNotReadyAddresses".to_owned(), json!(true));
    }
    Value::Object(spec)
}

/// A Gateway that no controller cares for; some of its listeners are refused.
fn gateway(random: &mut Random) -> Value {
    let mut spec = json!({});
    if random.chance(50) {
        spec["gatewayClassName"] = json!(*random.pick(&["nobody", "nothing"]));
    }
    let mut listeners = Vec::new();
    for (name, port) in [("a", 80), ("b", 8080), ("c", 443)] {
        if random.chance(50) {
            let mut item = json!({
                "name": name, "port": port, "protocol": *random.pick(&["HTTP", "HTTP", "TCP", "HTTPS"]),
            });
            if random.chance(40) {
                item["hostname"] = json!(*random.pick(&["a.example.com", "*.example.com", "bad_"]));
            }
            if random.chance(30) {
                item["allowedRoutes"] = random
                    .pick(&[
                        json!({"namespaces": {"from": "All"}}),
                        json!({"kinds": [{"kind": "HTTPRoute"}]}),
                    ])
                    .clone();
            }
            if random.chance(20) {
                item["tls"] = random
                    .pick(&[
                        json!({"mode": "Terminate", "certificateRefs": [{"name": "s"}]}),
                        json!({"mode": "Passthrough"}),
                    ])
                    .clone();
            }
            listeners.push(item);
        }
    }
    if random.chance(40) {
        listeners.reverse();
    }
    if !listeners.is_empty() {
        spec["listeners"] = Value::Array(listeners);
    }
    if random.chance(20) {
        spec["addresses"] = random
            .pick(&[
                json!([{"value": "10.0.0.1"}]),
                json!([{"type": "Hostname", "value": "a.example.com"}, {"value": "10.0.0.2"}]),
            ])
            .clone();
    }
    if random.chance(15) {
        spec["infrastructure"]["labels"] = words(random, 2);
    }
    spec
}

fn deployment(random: &mut Random) -> Value {
    let mut spec = json!({});
    if random.chance(40) {
        spec["replicas"] = json!(random.below(4));
    }
    if random.chance(15) {
        spec["strategy"] = random
            .pick(&[
                json!({"type": "RollingUpdate"}),
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}),
                json!({"rollingUpdate": {"maxUnavailable": "30%"}}),
            ])
            .clone();
    }
    let mut containers = Vec::new();
    for name in ["a", "b", "c"] {
        if random.chance(40) {
            containers.push(container(random, name));
        }
    }
    if random.chance(40) {
        containers.reverse();
    }
    if !containers.is_empty() {
        spec["template"]["spec"]["containers"] = Value::Array(containers);
    }
    if random.chance(30) {
        spec["template"]["metadata"]["annotations"] = words(random, 2);
    }
    if random.chance(20) {
        spec["template"]["spec"]["nodeSelector"] = words(random, 2);
    }
    if random.chance(15) {
        spec["template"]["spec"]["securityContext"] =
            random.pick(&[json!({}), json!({"runAsNonRoot": true}), json!({"fsGroup": 5})]).clone();
    }
    if random.chance(15) {
        spec["template"]["spec"]["volumes"] = random
            .pick(&[
                json!([{"name": "v", "emptyDir": {}}]),
                json!([{"name": "w", "configMap": {"name": "x"}}, {"name": "v", "emptyDir": {}}]),
            ])
            .clone();
    }
    spec
}

fn container(random: &mut Random, name: &str) -> Value {
    let mut item = json!({"name": name, "image": *random.pick(&["img", "img:2"])});
    if random.chance(40) {
        let mut env = Vec::new();
        for name in ["X", "Y", "Z"] {
            if random.chance(50) {
                env.push(json!({"name": name, "value": *random.pick(&["1", "2"])}));
            }
        }
        item["env"] = Value::Array(env);
    }
    if random.chance(40) {
        item["ports"] = random
            .pick(&[
                json!([{"containerPort": 80}]),
                json!([{"containerPort": 80, "protocol": "TCP", "name": "http"}]),
                json!([{"containerPort": 443, "protocol": "UDP"}, {"containerPort": 80}]),
            ])
            .clone();
    }
    if random.chance(30) {
        item["args"] = random.pick(&[json!(["a"]), json!(["a", "b"]), json!([])]).clone();
    }
    if random.chance(30) {
        item["resources"] = random
            .pick(&[
                json!({"limits": {"cpu": "1"}}),
                json!({"requests": {"cpu": "100m", "memory": "1Gi"}}),
                json!({}),
            ])
            .clone();
    }
    item
}

fn widget(random: &mut Random) -> Value {
    let mut spec = json!({});
    if random.chance(40) {
        spec["size"] = json!(random.below(3));
    }
    if random.chance(20) {
        spec["ratio"] = random.pick(&[json!(1.5), json!(2), json!(0.25)]).clone();
    }
    if random.chance(20) {
        spec["on"] = json!(random.chance(50));
    }
    if random.chance(20) {
        spec["port"] = random.pick(&[json!(80), json!("http")]).clone();
    }
    for name in ["labels", "limits"] {
        if random.chance(35) {
            spec[name] = words(random, 3);
        }
    }
    if random.chance(30) {
        spec["args"] = random.pick(&[json!(["a"]), json!(["a", "b"]), json!([])]).clone();
    }
    if random.chance(40) {
        let mut tags: Vec<Value> = Vec::new();
        for tag in ["x", "y", "z", "<w>"] {
            if random.chance(45) {
                tags.push(json!(tag));
            }
        }
        if random.chance(50) {
            tags.reverse();
        }
        spec["tags"] = Value::Array(tags);
    }
    if random.chance(20) {
        spec["numbers"] = random.pick(&[json!([1, 2]), json!([2, 3, 10]), json!([])]).clone();
    }
    if random.chance(50) {
        let mut listeners = Vec::new();
        for name in ["h", "t", "u"] {
            if random.chance(50) {
                listeners.push(listener(random, name));
            }
        }
        if random.chance(40) {
            listeners.reverse();
        }
        spec["listeners"] = Value::Array(listeners);
    }
    if random.chance(30) {
        spec["free"] = free(random);
    }
    if random.chance(25) {
        spec["half"] = random
            .pick(&[
                json!({"known": "k"}),
                json!({"known": "k", "more": {"x": [1, 2]}}),
                json!({"inner": {"a": "1"}, "b": 2}),
                json!({}),
            ])
            .clone();
    }
    if random.chance(15) {
        spec["open"] = random.pick(&[json!({}), json!(null)]).clone();
    }
    if random.chance(15) {
        spec["maybe"] = random.pick(&[json!("m"), json!(null)]).clone();
    }
    spec
}

fn listener(random: &mut Random, name: &str) -> Value {
    let mut item = json!({"name": name});
    if random.chance(40) {
        item["protocol"] = json!(*random.pick(&["TCP", "UDP"]));
    }
    if random.chance(50) {
        item["port"] = json!(random.below(3));
    }
    if random.chance(40) {
        item["hosts"] = random.pick(&[json!(["a", "b"]), json!(["b"]), json!(["c", "a"])]).clone();
    }
    if random.chance(40) {
        item["tls"] = random
            .pick(&[
                json!({"mode": "Terminate"}),
                json!({"refs": [{"name": "s"}]}),
                json!({"mode": "Terminate", "refs": [{"name": "t", "group": "g"}, {"name": "s"}]}),
                json!({}),
            ])
            .clone();
    }
    item
}

fn free(random: &mut Random) -> Value {
    random
        .pick(&[
            json!({"a": 1}),
            json!({"a": {"b": {"c": "x"}}}),
            json!({"a": {"b": {"d": true}}, "l": [1, {"x": 1}]}),
            json!({"l": [2]}),
            json!({"a": null, "z": {}}),
            json!({}),
        ])
        .clone()
}

fn status(random: &mut Random) -> Value {
    let mut status = json!({});
    if random.chance(50) {
        status["ready"] = json!(random.below(3));
    }
    if random.chance(60) {
        status["conditions"] = random
            .pick(&[
                json!([{"type": "Ready", "status": "True"}]),
                json!([{"type": "Ready", "status": "False", "message": "m"}, {"type": "Other"}]),
            ])
            .clone();
    }
    status
}
