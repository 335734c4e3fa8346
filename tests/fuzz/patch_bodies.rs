//! Patches by themselves: a text in three parts, divided by lines `---`: what kind of patch, an object, the patch.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use meshscript::sandbox::patch::{json_patch, merge_patch, strategic_merge_patch};
use meshscript::sandbox::schema::Schema;
use meshscript::sandbox::ssa::{self, ApplyRequest, Origin, ResetFields, Target, UpdateRequest};
use meshscript::sandbox::validation::structural;
use serde_json::{Value, json};

/// No patch may make more than this of an object and itself.
const GROWTH: usize = 8 << 20;

/// The schema of the CRD of `objects.yaml`, its lists with keys as strategic merge patches know them.
fn schema() -> &'static Arc<Schema> {
    static SCHEMA: OnceLock<Arc<Schema>> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let definition = include_str!("../attack/objects.yaml")
            .split("\n---\n")
            .find(|text| text.contains("kind: CustomResourceDefinition"))
            .and_then(|text| serde_yaml::from_str::<Value>(text).ok())
            .expect("a CRD");
        let mut schema = structural::schema_of_crd(&definition["spec"]["versions"][0])
            .expect("a schema")
            .as_ref()
            .clone();
        let mut spec = schema.properties["spec"].as_ref().clone();
        for (name, key) in [("items", Some("name")), ("set", None)] {
            let mut list = spec.properties[name].as_ref().clone();
            list.patch_strategy = Some("merge".to_owned());
            list.patch_merge_key = key.map(str::to_owned);
            spec.properties.insert(name.to_owned(), Arc::new(list));
        }
        schema.properties.insert("spec".to_owned(), Arc::new(spec));
        Arc::new(schema)
    })
}

pub(crate) fn patch(text: &str) {
    let mut parts = text.splitn(3, "\n---\n");
    let (Some(kind), Some(object), Some(patch)) = (parts.next(), parts.next(), parts.next()) else {
        return;
    };
    let (Ok(object), Ok(patch)) =
        (serde_json::from_str::<Value>(object), serde_json::from_str::<Value>(patch))
    else {
        return;
    };
    let made = match kind {
        "json" => json_patch(&object, &patch).ok(),
        "merge" => merge_patch(&object, &patch).ok(),
        "strategic" => strategic_merge_patch(&object, &patch, schema()).ok(),
        "apply" | "force" => return applied(&object, &patch, kind == "force"),
        _ => return,
    };
    if let Some(made) = made {
        assert!(made.to_string().len() < text.len() + GROWTH, "it has grown");
    }
}

/// An apply, an update of what came out, and another apply over both.
fn applied(live: &Value, wanted: &Value, force: bool) {
    let reset = ResetFields::default();
    let target = Target {
        schema: Some(schema()),
        origin: Origin::Custom,
        api_version: "attack.example.com/v1",
        kind: "Thing",
        other_versions: &[],
        subresource: "",
        reset_fields: &reset,
        time: Timestamp::UNIX_EPOCH,
    };
    if !live.is_object() || !wanted.is_object() {
        return;
    }
    let named = |value: &Value| {
        let mut value = value.clone();
        value["apiVersion"] = json!("attack.example.com/v1");
        value["kind"] = json!("Thing");
        value
    };
    let (live, wanted) = (named(live), named(wanted));
    let first = ssa::apply(&ApplyRequest {
        target,
        live: Some(&live),
        applied: &wanted,
        manager: "a",
        force,
    });
    let Ok(first) = first else { return };
    let updated =
        ssa::update(&UpdateRequest { target, live: Some(&first.object), new: &live, manager: "b" });
    let again = ssa::apply(&ApplyRequest {
        target,
        live: Some(&updated),
        applied: &wanted,
        manager: "c",
        force: true,
    });
    drop(again);
}
