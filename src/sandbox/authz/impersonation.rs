//! Acting as somebody else by `Impersonate-*` headers.

use serde_json::Value;

use super::{ANONYMOUS, AUTHENTICATED, Access, UNAUTHENTICATED, User};
use crate::sandbox::api::Status;

/// What a client asks to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impersonation {
    /// Who it is then.
    pub user: User,
    /// What it must be allowed for that, in order; the first refusal is the answer.
    pub checks: Vec<Access>,
}

/// Reads the headers; `None` when they ask for nothing. Names are matched without regard to case.
///
/// # Errors
/// Groups, extras or a UID without a user.
pub fn requested<'a>(
    headers: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Option<Impersonation>, Status> {
    let mut user = User::default();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "impersonate-user" => user.name = value.to_owned(),
            "impersonate-group" => user.groups.push(value.to_owned()),
            "impersonate-uid" => user.uid = value.to_owned(),
            _ => {
                if let Some(key) = name.strip_prefix("impersonate-extra-") {
                    add_extra(&mut user, &unescaped(key), value);
                }
            }
        }
    }
    if user.name.is_empty() {
        if user == User::default() {
            return Ok(None);
        }
        let quoted = |texts: &[String]| -> String {
            texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ")
        };
        let groups = match user.groups.as_slice() {
            [] => "[]string(nil)".to_owned(),
            groups => format!("[]string{{{}}}", quoted(groups)),
        };
        let extra: Vec<String> = user
            .extra
            .iter()
            .map(|(key, values)| format!("{key:?}:[]string{{{}}}", quoted(values)))
            .collect();
        let extra = match extra.as_slice() {
            [] => "map[string][]string(nil)".to_owned(),
            extra => format!("map[string][]string{{{}}}", extra.join(", ")),
        };
        // The API server shows the whole struct.
        let message = format!(
            "requested &user.DefaultInfo{{Name:\"\", UID:{:?}, Groups:{groups}, Extra:{extra}}} without impersonating a user name",
            user.uid
        );
        let details = Value::Null;
        return Err(Status { code: 400, reason: "BadRequest".to_owned(), message, details });
    }
    let checks = checks(&user);
    complete_groups(&mut user);
    Ok(Some(Impersonation { user, checks }))
}

fn add_extra(user: &mut User, key: &str, value: &str) {
    match user.extra.iter_mut().find(|(found, _)| found == key) {
        Some((_, values)) => values.push(value.to_owned()),
        None => user.extra.push((key.to_owned(), vec![value.to_owned()])),
    }
}

/// `namespace` and `name` of a service account's user name.
fn service_account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':')
}

fn checks(user: &User) -> Vec<Access> {
    let access = |group: &str, resource: &str, subresource: &str, name: &str| Access {
        verb: "impersonate".to_owned(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        name: name.to_owned(),
        ..Access::default()
    };
    let mut out = vec![match service_account(&user.name) {
        Some((namespace, name)) => {
            Access { namespace: namespace.to_owned(), ..access("", "serviceaccounts", "", name) }
        }
        None => access("", "users", "", &user.name),
    }];
    out.extend(user.groups.iter().map(|group| access("", "groups", "", group)));
    for (key, values) in &user.extra {
        out.extend(
            values.iter().map(|value| access("authentication.k8s.io", "userextras", key, value)),
        );
    }
    if !user.uid.is_empty() {
        out.push(access("authentication.k8s.io", "uids", "", &user.uid));
    }
    out
}

/// Groups that come with a name, unless groups are named.
fn complete_groups(user: &mut User) {
    if user.groups.is_empty()
        && let Some((namespace, _)) = service_account(&user.name)
    {
        user.groups = vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ];
    }
    if user.name == ANONYMOUS {
        if !user.is_in(UNAUTHENTICATED) {
            user.groups.push(UNAUTHENTICATED.to_owned());
        }
    } else if !user.is_in(AUTHENTICATED) && !user.is_in(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
}

/// Undoes percent-encoding; what is not encoded well stays as it is.
fn unescaped(key: &str) -> String {
    let mut out = Vec::with_capacity(key.len());
    let mut bytes = key.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
            return key.to_owned();
        };
        out.extend(u8::try_from(high * 16 + low));
    }
    String::from_utf8(out).unwrap_or_else(|_| key.to_owned())
}
