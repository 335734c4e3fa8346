//! Expressions of CRDs and admission policies: of the grammar, damaged, deep, long, and none at all.

use serde_json::{Value, json};

use super::random::{Random, damage};

const NAMES: &[&str] = &[
    "self",
    "oldSelf",
    "self.spec.n",
    "self.spec.items",
    "self.spec.texts",
    "self.metadata.name",
    "object",
    "params.x",
    "variables.v",
    "request.userInfo",
    "authorizer",
    "none",
    "x",
    "1",
    "-9223372036854775808",
    "2u",
    "1e308",
    "'a'",
    "b'\\xff'",
    "r'\\d+('",
    "null",
    "true",
    "[]",
    "{}",
    "duration('1h')",
    "timestamp('2020-01-01T00:00:00Z')",
    "quantity('1Gi')",
    "optional.of(1)",
];

const SHAPES: &[&str] = &[
    "(#)",
    "[#, #]",
    "{#: #}",
    "# + #",
    "# - #",
    "# / #",
    "# % #",
    "# == #",
    "# < #",
    "# in #",
    "# && #",
    "# || #",
    "# ? # : #",
    "!#",
    "-#",
    "#.a",
    "#.?a",
    "#[#]",
    "#[?#]",
    "#.all(x, #)",
    "#.exists(x, #)",
    "#.exists_one(x, #)",
    "#.map(x, #)",
    "#.map(x, #, #)",
    "#.filter(x, #)",
    "#.all(i, x, #)",
    "#.optMap(x, #)",
    "#.optFlatMap(x, #)",
    "#.sortBy(x, #)",
    "has(#.a)",
    "size(#)",
    "#.size()",
    "string(#)",
    "int(#)",
    "type(#)",
    "dyn(#)",
    "#.matches(#)",
    "#.split(#)",
    "#.replace(#, #)",
    "#.substring(#, #)",
    "#.format([#])",
    "#.orValue(#)",
    "url(#)",
    "ip(#)",
    "cidr(#).containsIP(#)",
    "quantity(#).add(#)",
    "a.b.C{f: #}",
];

/// Pieces that are repeated.
const UNITS: &[&str] = &[
    "(",
    "[",
    "{1:",
    "!",
    "-",
    ".a",
    "[0]",
    "+1",
    "<1",
    "||true",
    "&&true",
    "true?true:",
    ".size()",
    ".optMap(x, x)",
    "[1].all(x, ",
    ")",
    "]",
    "\n",
    "'",
    "\\",
    "`",
    "\u{10ffff}",
];

const WORDS: &[&[u8]] =
    &[b"(", b")", b"[", b"]", b"'", b"\"\"\"", b"\\u", b"?", b":", b"//", b"\n", b"e9"];

/// One expression.
fn expression(random: &mut Random) -> String {
    let mut text = "#".to_owned();
    for _ in 0..random.below(30) {
        let shape = random.pick(SHAPES);
        let holes = text.matches('#').count();
        let Some((at, _)) = text.match_indices('#').nth(random.below(holes)) else { break };
        text.replace_range(at..=at, shape);
    }
    while let Some(at) = text.find('#') {
        let name = random.pick(NAMES);
        text.replace_range(at..=at, name);
    }
    if random.chance(30) {
        let unit = random.pick(UNITS).repeat(1 << random.below(15));
        let mut at = random.below(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.insert_str(at, &unit);
    }
    if random.chance(25) {
        let mut bytes = text.into_bytes();
        damage(random, &mut bytes, WORDS);
        text = String::from_utf8_lossy(&bytes).into_owned();
    }
    text
}

/// A definition or a policy with some expressions, with the path of its collection.
pub(super) fn object(random: &mut Random) -> (&'static str, Value) {
    if random.chance(40) {
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "attack-expressions"},
            "spec": {
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                    "resources": ["configmaps"]
                }]},
                "variables": [{"name": "v", "expression": expression(random)}],
                "matchConditions": [{"name": "m", "expression": expression(random)}],
                "validations": [
                    {"expression": expression(random), "messageExpression": expression(random)}
                ]
            }
        });
        return ("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", policy);
    }
    let rules: Vec<Value> = (0..=random.below(4))
        .map(|_| json!({"rule": expression(random), "messageExpression": expression(random)}))
        .collect();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "expressions.attack.example.com"},
        "spec": {
            "group": "attack.example.com", "scope": "Namespaced",
            "names": {"plural": "expressions", "kind": "Expression"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                    "type": "object",
                    "properties": {
                        "n": {"type": "integer"},
                        "items": {"type": "array", "items": {"type": "integer"}, "maxItems": 9},
                        "texts": {"type": "object", "additionalProperties": {"type": "string"}}
                    },
                }}, "x-kubernetes-validations": rules}}
            }]
        }
    });
    ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
}
