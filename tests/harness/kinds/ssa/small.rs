//! Small inputs, one behaviour each: the codec of `fieldsV1`, and texts that need no server.

use libtest_mimic::{Failed, Trial};
use meshscript::sandbox::ssa::{decode_fields, encode_fields, path_text};
use serde_json::json;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("ssa/fields_v1_round_trip", round_trip),
        Trial::test("ssa/fields_v1_refuses_what_is_no_path", refuses),
        Trial::test("ssa/paths_print_as_in_conflicts", paths),
    ]
}

fn round_trip() -> Result<(), Failed> {
    let fields = json!({
        "f:metadata": {"f:labels": {".": {}, "f:a/b": {}}},
        "f:spec": {
            "f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}},
            "f:finalizers": {"v:\"a\\u003cb\"": {}, "v:1": {}, "i:3": {}},
        },
    });
    let back = encode_fields(&decode_fields(&fields)?);
    if back == fields { Ok(()) } else { Err(format!("{back}").into()) }
}

fn refuses() -> Result<(), Failed> {
    for wrong in [json!({"x:a": {}}), json!({"f": {}}), json!({"f:a": 1}), json!({"k:{": {}})] {
        if decode_fields(&wrong).is_ok() {
            return Err(format!("{wrong} was read").into());
        }
    }
    Ok(())
}

fn paths() -> Result<(), Failed> {
    let fields = json!({"f:spec": {"f:p": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {"f:name": {}}, "v:\"x\"": {}, "v:true": {}, "i:0": {}}}});
    let texts: Vec<_> =
        decode_fields(&fields)?.paths().iter().map(|path| path_text(path)).collect();
    let wanted = [
        ".spec.p[=\"x\"]",
        ".spec.p[=true]",
        ".spec.p[0]",
        ".spec.p[port=80,protocol=\"TCP\"].name",
    ];
    if texts == wanted { Ok(()) } else { Err(format!("{texts:?}").into()) }
}
