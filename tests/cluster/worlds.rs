//! The two worlds: the same script leaves the same objects on the sandbox and on the test bed.

use super::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[];
