//! Requests at a fixed rate, whatever the server does, and what became of them.
//!
//! Open loop: each request has the time at which it is due, and its latency counts from then, also when it could not be
//! sent in time because earlier ones were still out. A server that stalls therefore shows in the percentiles instead of
//! slowing the measurement down ("coordinated omission").

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::client::Client;
use super::connect::Channel;
use super::error::{HttpError, Phase};
use super::request::Request;
use crate::base::clock::timeout;

/// More requests than this in one run are refused: their latencies are kept one by one.
const MAX_REQUESTS: f64 = 10_000_000.0;

/// How much load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Requests per second.
    pub rate: f64,
    pub duration: Duration,
    /// How many requests may be out at a time, each on a connection that is kept open.
    pub concurrency: usize,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub sent: u64,
    pub answered: u64,
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer, by reason.
    pub lost: BTreeMap<&'static str, u64>,
    /// One example of each reason.
    pub reasons: BTreeMap<&'static str, String>,
    /// Of the answered ones, sorted.
    pub latencies: Vec<Duration>,
    /// How far behind its due time the latest request was sent: more than a little says that `concurrency` is too low.
    pub lag: Duration,
    pub elapsed: Duration,
    /// Connections that were opened.
    pub connections: u64,
}

impl Report {
    /// The latency that a share of the answered requests did not exceed, 0 to 1 (nearest rank).
    pub fn percentile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among fewer than 2^53 latencies"
        )]
        let rank = (share.clamp(0.0, 1.0) * self.latencies.len() as f64).ceil() as usize;
        self.latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// How many requests got no answer.
    pub fn losses(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// One request that is over.
struct Done {
    due: Duration,
    ended: Duration,
    outcome: Result<u16, HttpError>,
    opened: bool,
    channel: Option<Channel>,
}

/// Sends the load.
///
/// # Errors
/// Wrong arguments only; what a server does is in the report.
pub async fn load(
    client: &Client,
    request: &Request,
    options: &LoadOptions,
) -> Result<Report, HttpError> {
    let bad = |what, value: String, reason: &str| {
        Err(HttpError::BadOption { what, value, reason: reason.to_owned() })
    };
    if !options.rate.is_finite() || options.rate <= 0.0 {
        return bad("a rate", options.rate.to_string(), "it is more than 0 requests per second");
    }
    let planned = (options.rate * options.duration.as_secs_f64()).round();
    if planned < 1.0 {
        return bad(
            "a duration",
            crate::base::duration::human(options.duration),
            "not one request is due in it",
        );
    }
    if planned > MAX_REQUESTS {
        return bad(
            "a rate",
            options.rate.to_string(),
            "that would be more than 10 million requests",
        );
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 10 million")]
    let planned = planned as u64;
    let clock = &client.clock;
    let began = clock.monotonic();
    let now = || clock.monotonic().saturating_sub(began);
    let due_at = |number: u64| {
        #[expect(clippy::cast_precision_loss, reason = "at most 10 million")]
        Duration::from_secs_f64(number as f64 / options.rate)
    };

    let mut report = Report::default();
    let mut idle: Vec<Channel> = Vec::new();
    let mut out = FuturesUnordered::new();
    let mut next = 0;
    while next < planned || !out.is_empty() {
        let due = due_at(next);
        if next < planned && due <= now() && out.len() < options.concurrency.max(1) {
            report.lag = report.lag.max(now().saturating_sub(due));
            out.push(one(client, request, due, idle.pop(), began));
            report.sent += 1;
            next += 1;
            continue;
        }
        let full = next >= planned || out.len() >= options.concurrency.max(1);
        tokio::select! {
            biased;
            Some(done) = out.next() => {
                let mut done: Done = done;
                idle.extend(done.channel.take());
                record(&mut report, done)?;
            }
            () = clock.pause(due.saturating_sub(now())), if !full => {}
        }
    }
    report.elapsed = now();
    report.latencies.sort_unstable();
    Ok(report)
}

async fn one(
    client: &Client,
    request: &Request,
    due: Duration,
    channel: Option<Channel>,
    began: Duration,
) -> Done {
    let kept = channel.is_some();
    let mut result = attempt(client, request, channel).await;
    // A server may close a connection that it kept just as the next request goes out; that request was not answered and
    // is sent once more, on a new connection, as every client with a pool does.
    let stale = matches!(
        &result.0,
        Err(HttpError::EmptyReply { .. } | HttpError::Reset { phase: Phase::Reply, .. })
    );
    if kept && stale {
        result = attempt(client, request, None).await;
    }
    let (outcome, channel, opened) = result;
    let ended = client.clock.monotonic().saturating_sub(began);
    Done { due, ended, outcome, opened, channel }
}

async fn attempt(
    client: &Client,
    request: &Request,
    channel: Option<Channel>,
) -> (Result<u16, HttpError>, Option<Channel>, bool) {
    let opened = channel.is_none();
    let mut channel = match channel {
        Some(channel) => channel,
        None => match client.open(request).await {
            Ok(channel) => channel,
            Err(error) => return (Err(error), None, false),
        },
    };
    let mut phase = Phase::Reply;
    let peer = channel.peer.clone();
    let work = client.exchange(request, &mut channel, &mut phase);
    match timeout(&*client.clock, request.timeout, work).await {
        Ok(Ok(response)) => (Ok(response.status.as_u16()), Some(channel), opened),
        Ok(Err(error)) => (Err(error), None, opened),
        Err(_) => (Err(HttpError::Timeout { peer, phase, after: request.timeout }), None, opened),
    }
}

fn record(report: &mut Report, done: Done) -> Result<(), HttpError> {
    report.connections += u64::from(done.opened);
    match done.outcome {
        Ok(status) => {
            report.answered += 1;
            *report.statuses.entry(status).or_default() += 1;
            report.latencies.push(done.ended.saturating_sub(done.due));
        }
        Err(error) => {
            let Some(failure) = error.failure() else { return Err(error) };
            *report.lost.entry(failure.name()).or_default() += 1;
            report.reasons.entry(failure.name()).or_insert_with(|| error.to_string());
        }
    }
    Ok(())
}
