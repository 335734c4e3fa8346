//! Asks again and again until the answer is the expected one, a number of times in a row.

use std::time::Duration;

use super::client::Client;
use super::error::HttpError;
use super::expect::Expectation;
use super::request::Request;
use super::response::Response;

/// The first pause; each further one is twice as long, up to the interval.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How to probe.
#[derive(Clone, Debug)]
pub struct ProbeOptions {
    pub expectation: Expectation,
    /// How many answers in a row must be as expected.
    pub consecutive: u32,
    /// The longest pause between two attempts.
    pub interval: Duration,
    /// The limit of the whole probe; the request's own limits one attempt.
    pub timeout: Duration,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            expectation: Expectation::default(),
            consecutive: 1,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(60),
        }
    }
}

/// How a probe ended well.
#[derive(Debug)]
pub struct Probed {
    /// The last outcome; an error when a failure was expected.
    pub outcome: Result<Response, HttpError>,
    pub attempts: u32,
    pub waited: Duration,
}

/// Probes until the expectation holds. `watch` is told why it does not yet.
///
/// # Errors
/// `NotAsExpected` with the last reason; wrong arguments at once.
pub async fn probe(
    client: &Client,
    request: &Request,
    options: &ProbeOptions,
    watch: &(dyn Fn(&str) + Sync),
) -> Result<Probed, HttpError> {
    let clock = &client.clock;
    let began = clock.monotonic();
    let waited = || clock.monotonic().saturating_sub(began);
    let (mut attempts, mut good) = (0, 0);
    let mut pause = FIRST_PAUSE.min(options.interval);
    loop {
        let mut attempt = request.clone();
        let left = options.timeout.saturating_sub(waited());
        attempt.timeout = request.timeout.min(left);
        attempts += 1;
        let outcome = client.send(&attempt).await;
        if let Err(error) = &outcome
            && error.failure().is_none()
        {
            return Err(error.clone());
        }
        let last = match options.expectation.defect(&outcome) {
            None => {
                good += 1;
                if good >= options.consecutive.max(1) {
                    return Ok(Probed { outcome, attempts, waited: waited() });
                }
                pause = options.interval;
                format!("{good} of {} answers in a row were as expected", options.consecutive)
            }
            Some(defect) => {
                good = 0;
                defect
            }
        };
        watch(&last);
        if waited() + pause >= options.timeout {
            let url = request.url.to_string();
            return Err(HttpError::NotAsExpected { url, waited: waited(), attempts, last });
        }
        clock.sleep(pause).await;
        pause = (pause * 2).min(options.interval);
    }
}
