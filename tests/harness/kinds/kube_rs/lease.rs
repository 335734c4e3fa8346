//! Leader election by a Lease, with the rules of client-go's `leaderelection`: whoever sees that the record has not changed
//! for its whole duration, by its own clock, takes it; the object's version decides between two that try at once.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

pub(super) const NAME: &str = "teams-controller";
const DURATION: Duration = Duration::from_secs(3);
pub(super) const RENEW_DEADLINE: Duration = Duration::from_secs(2);
pub(super) const RETRY: Duration = Duration::from_millis(400);

pub(super) struct Elector {
    api: Api<Lease>,
    identity: String,
    /// The last record that was seen, and since when it has been the same.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Elector {
    pub(super) fn new(client: Client, namespace: &str, identity: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), identity: identity.to_owned(), seen: None }
    }

    /// Takes or renews the Lease; `false` while somebody else holds it, or took it first.
    pub(super) async fn try_once(&mut self) -> kube::Result<bool> {
        let now = MicroTime(Timestamp::now());
        let mut record = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        };
        let Some(mut lease) = self.api.get_opt(NAME).await? else {
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(record) };
            let written = self.api.create(&PostParams::default(), &lease).await;
            return self.won(written);
        };
        let old = lease.spec.clone().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != old) {
            self.seen = Some((old.clone(), Instant::now()));
        }
        let holder = old.holder_identity.as_deref().unwrap_or_default();
        let mine = holder == self.identity;
        let fresh = self.seen.as_ref().is_some_and(|(_, since)| since.elapsed() < DURATION);
        if !holder.is_empty() && !mine && fresh {
            return Ok(false);
        }
        let transitions = old.lease_transitions.unwrap_or(0);
        record.lease_transitions = Some(if mine { transitions } else { transitions + 1 });
        if mine {
            record.acquire_time = old.acquire_time;
        }
        lease.spec = Some(record);
        let written = self.api.replace(NAME, &PostParams::default(), &lease).await;
        self.won(written)
    }

    /// Gives the Lease up, so that the next one need not wait.
    pub(super) async fn release(&mut self) -> kube::Result<()> {
        let mut lease = self.api.get(NAME).await?;
        let old = lease.spec.take().unwrap_or_default();
        if old.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return Ok(());
        }
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            ..old
        });
        self.api.replace(NAME, &PostParams::default(), &lease).await.map(drop)
    }

    fn won(&mut self, written: kube::Result<Lease>) -> kube::Result<bool> {
        match written {
            Ok(lease) => {
                self.seen = Some((lease.spec.unwrap_or_default(), Instant::now()));
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }
}
