//! What the API server refuses, as a user reads it: one clear error, the right exit code, nothing half-written.

use super::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[];
