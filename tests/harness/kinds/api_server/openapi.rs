//! `/openapi/v2` as a document that old clients live on: whole in itself, the same as protobuf, and on the test bed with the
//! real server's definitions.

use std::collections::BTreeSet;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use kube::client::Body;
use libtest_mimic::Failed;
use meshscript::sandbox::Cluster;
use serde_json::Value;

const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

async fn get(client: &kube::Client, accept: &str) -> Result<Bytes, Failed> {
    let request = http::Request::get("/openapi/v2").header("accept", accept).body(Body::empty())?;
    let answer = client.send(request).await?;
    if answer.status() != 200 {
        return Err(format!("/openapi/v2 as {accept} answers {}", answer.status()).into());
    }
    Ok(answer.into_body().collect().await?.to_bytes())
}

pub(super) async fn v2(cluster: Cluster) -> Result<(), Failed> {
    let document: Value =
        serde_json::from_slice(&get(&cluster.client(), "application/json").await?)?;
    let definitions = document["definitions"].as_object().ok_or("no definitions")?;
    let mut dangling = BTreeSet::new();
    references(&document, &mut |target| {
        let name = target.trim_start_matches("#/definitions/");
        if !definitions.contains_key(name) {
            dangling.insert(target.to_owned());
        }
    });
    if !dangling.is_empty() || definitions.len() < 400 {
        let n = definitions.len();
        return Err(format!("{n} definitions, references to nothing: {dangling:?}").into());
    }
    let written = get(&cluster.client(), PROTOBUF).await?;
    let named = fields(fields(&written, 9)?.first().ok_or("no definitions")?, 1)?;
    let names: Result<BTreeSet<String>, Failed> =
        named.iter().map(|entry| Ok(String::from_utf8(fields(entry, 1)?.concat())?)).collect();
    if names? != definitions.keys().cloned().collect() {
        return Err("as protobuf the document has other definitions".into());
    }
    let Some(path) = std::env::var_os("MESHBED_KUBECONFIG") else { return Ok(()) };
    let config = kube::config::Kubeconfig::read_from(path)?;
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await?;
    let real: Value =
        serde_json::from_slice(&get(&kube::Client::try_from(config)?, "application/json").await?)?;
    let differ: Vec<&String> = definitions
        .iter()
        .filter(|(name, ours)| plain(ours) != plain(&real["definitions"][name.as_str()]))
        .map(|(name, _)| name)
        .collect();
    if !differ.is_empty() {
        return Err(format!("other than the real server's: {differ:?}").into());
    }
    Ok(())
}

/// The contents of a field of a message, as often as it is there; other kinds of fields are passed over.
fn fields(mut message: &[u8], wanted: u64) -> Result<Vec<&[u8]>, Failed> {
    fn varint(bytes: &mut &[u8]) -> Result<u64, &'static str> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = bytes.split_first().ok_or("the message is cut off")?;
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number without an end")
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let length = match tag & 7 {
            0 => {
                varint(&mut message)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)?)?,
            kind => return Err(format!("a field of kind {kind}").into()),
        };
        let (content, rest) = message.split_at_checked(length).ok_or("the message is cut off")?;
        message = rest;
        if tag >> 3 == wanted {
            found.push(content);
        }
    }
    Ok(found)
}

fn references(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                match value {
                    Value::String(target) if name == "$ref" => found(target),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// A definition without its words, and without the unions that clients do not look at.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(entries) => entries
            .iter()
            .filter(|(name, value)| {
                !(*name == "description" && value.is_string()) && *name != "x-kubernetes-unions"
            })
            .map(|(name, value)| {
                let mut value = plain(value);
                if name == "required"
                    && let Some(names) = value.as_array_mut()
                {
                    names.sort_by_key(ToString::to_string);
                }
                (name.clone(), value)
            })
            .collect(),
        Value::Array(items) => items.iter().map(plain).collect(),
        other => other.clone(),
    }
}
