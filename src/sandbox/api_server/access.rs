//! Who a request is from, and whether it may: credentials, impersonation, RBAC over the stored roles, reviews.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use serde_json::{Value, json};

use super::extensions::Write;
use super::kinds::{Kind, metadata_text};
use super::verbs::write::metadata_of;
use super::{ApiServer, Request, status};
use crate::sandbox::api::{Api as _, Resource, Status};
use crate::sandbox::authz::{self, Access, Roles, User};

const RBAC: &str = "rbac.authorization.k8s.io";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Who is at the other end of a connection, before any header is read.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// Somebody whose certificate, or place in this process, says who it is.
    Known(User),
    /// Somebody who must send a token.
    Unknown,
}

impl Peer {
    /// The cluster's administrator: who rehearses.
    pub(crate) fn admin() -> Self {
        Self::Known(User::named("kubernetes-admin", &[authz::MASTERS]))
    }
}

/// What signs and checks tokens.
pub(super) struct Tokens {
    secret: Vec<u8>,
    key: hmac::Key,
}

impl Tokens {
    /// A key that nobody else has. `None` where the machine gives no randomness.
    pub(super) fn new() -> Option<Self> {
        let mut secret = vec![0; 32];
        aws_lc_rs::rand::fill(&mut secret).ok()?;
        Self::of(secret)
    }

    /// The key of a server that was saved. `None` for one that is too short to keep anybody out.
    pub(super) fn of(secret: Vec<u8>) -> Option<Self> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        (secret.len() >= 32).then_some(Self { secret, key })
    }

    /// What the key is made of.
    pub(super) fn secret(&self) -> &[u8] {
        &self.secret
    }
}

/// The token of an `Authorization` header: the second word after `bearer`, in letters of any case. An empty one is none.
fn bearer_token(authorization: &str) -> Option<&str> {
    let mut words = authorization.trim().split(' ');
    let scheme = words.next().filter(|scheme| scheme.eq_ignore_ascii_case("bearer"));
    scheme.and(words.next()).filter(|token| !token.is_empty())
}

impl Roles for ApiServer {
    fn cluster_role(&self, name: &str) -> Option<Arc<Value>> {
        self.get(&Resource::new(RBAC, "v1", "clusterroles"), "", name)
    }

    fn role(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.get(&Resource::new(RBAC, "v1", "roles"), namespace, name)
    }

    fn cluster_role_bindings(&self) -> Vec<Arc<Value>> {
        self.list(&Resource::new(RBAC, "v1", "clusterrolebindings"), "")
    }

    fn role_bindings(&self, namespace: &str) -> Vec<Arc<Value>> {
        self.list(&Resource::new(RBAC, "v1", "rolebindings"), namespace)
    }
}

impl ApiServer {
    /// The user that a request acts as.
    ///
    /// # Errors
    /// 401 for a token that is not valid; 403 for somebody whom the sender may not impersonate.
    pub(crate) fn user_of(&self, peer: &Peer, headers: &HeaderMap) -> Result<User, Status> {
        let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let authorization = headers.get(http::header::AUTHORIZATION).map(text).unwrap_or_default();
        let bearer = bearer_token(&authorization);
        // As on a real server, a certificate is looked at before a token.
        let sender = match (peer, bearer) {
            (Peer::Known(user), _) => user.clone(),
            (Peer::Unknown, Some(token)) => {
                self.user_of_token(token).ok_or_else(status::unauthorized)?
            }
            (Peer::Unknown, None) => User::anonymous(),
        };
        let given: Vec<(String, String)> =
            headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let given = given.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let Some(wanted) = authz::requested(given)? else { return Ok(sender) };
        for access in &wanted.checks {
            self.allow(&sender, access)?;
        }
        Ok(wanted.user)
    }

    /// Refuses what the stored roles do not allow.
    ///
    /// # Errors
    /// The server's 403.
    pub(crate) fn allow(&self, user: &User, access: &Access) -> Result<(), Status> {
        let decision = authz::authorize(self, user, access);
        if decision.allowed {
            return Ok(());
        }
        Err(authz::forbidden(user, access, &decision.reason))
    }

    fn user_of_token(&self, token: &str) -> Option<User> {
        let claims = self.claims_of(token)?;
        let place = &claims["kubernetes.io"];
        let account = place["serviceaccount"]["name"].as_str()?;
        let namespace = place["namespace"].as_str()?;
        let live = self.get(&Resource::new("", "v1", "serviceaccounts"), namespace, account)?;
        // A token dies with its account, also when one of the same name follows.
        (live["metadata"]["uid"] == place["serviceaccount"]["uid"])
            .then(|| User::service_account(namespace, account))
    }

    /// A token with these claims.
    pub(super) fn signed(&self, claims: &Value) -> Option<String> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": "HS256", "typ": "JWT"});
        let text = format!("{}.{}", part(&header), part(claims));
        let signature = hmac::sign(&self.tokens.read().as_ref()?.key, text.as_bytes());
        Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }

    /// The claims of a token of this server that has not expired.
    pub(super) fn claims_of(&self, token: &str) -> Option<Value> {
        let (text, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        hmac::verify(&self.tokens.read().as_ref()?.key, text.as_bytes(), &signature).ok()?;
        let (_, claims) = text.split_once('.')?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        (claims["exp"].as_i64()? > self.now().as_second() && claims["iss"] == ISSUER)
            .then_some(claims)
    }

    /// Answers a review: access reviews from the stored roles, the review of a token. `None` for every other kind.
    pub(crate) fn review(
        &self,
        kind: &Kind,
        namespace: &str,
        object: impl FnOnce() -> Value,
        user: &User,
        request: &Request,
    ) -> Option<Result<Value, Status>> {
        // A review is an object that somebody wrote: it has an owner, but it is never stored.
        let owned = |mut object: Value| {
            object["kind"] = kind.kind.clone().into();
            object["apiVersion"] = kind.api_version().into();
            metadata_of(&mut object);
            self.own(kind, None, object, "", request)
        };
        if authz::is_review(&kind.group, &kind.kind) {
            let object = owned(object());
            let reviewed = authz::review(self, user, namespace, object);
            return Some(reviewed.map(|mut object| {
                if kind.kind == "SelfSubjectReview" {
                    object["metadata"] = json!({"creationTimestamp": self.now_text()});
                } else if kind.kind == "SelfSubjectRulesReview" {
                    object["metadata"] = json!({});
                    object["spec"] = json!({});
                }
                object
            }));
        }
        if (kind.group.as_str(), kind.kind.as_str()) != ("authentication.k8s.io", "TokenReview") {
            return None;
        }
        let mut object = owned(object());
        if object["spec"]["token"].as_str().is_none_or(str::is_empty) {
            let why = "token is required for TokenReview in authentication";
            return Some(Err(status::bad_request(why)));
        }
        object["status"] = self.token_review(&object["spec"]);
        Some(Ok(object))
    }

    fn token_review(&self, spec: &Value) -> Value {
        let token = spec["token"].as_str().unwrap_or_default();
        let Some(user) = self.user_of_token(token) else {
            return json!({"user": {}, "error": "invalid bearer token"});
        };
        let claims = self.claims_of(token).unwrap_or_default();
        json!({
            "authenticated": true,
            "user": {"username": user.name, "groups": user.groups},
            "audiences": claims["aud"],
        })
    }
}

/// Refuses roles and bindings that give away more than their writer holds.
///
/// # Errors
/// The 403 that names the missing rights.
pub(super) fn gives_no_more_than_it_has(
    server: &ApiServer,
    write: Write<'_>,
    request: &Request,
) -> Result<(), Status> {
    let Some(object) = write.object.filter(|_| write.kind.group == RBAC) else { return Ok(()) };
    let user = request.as_user();
    let access = Access {
        verb: write.operation.to_ascii_lowercase(),
        namespace: metadata_text(object, "namespace").to_owned(),
        group: write.kind.group.clone(),
        resource: write.kind.plural.clone(),
        name: metadata_text(object, "name").to_owned(),
        ..Access::default()
    };
    authz::escalation(server, &user, &access, object, write.live)
}
