//! The verbs, each a function of the server, a kind and a request.

pub(crate) mod delete;
pub(crate) mod patch;
pub(crate) mod read;
pub(crate) mod watch;
pub(crate) mod write;
