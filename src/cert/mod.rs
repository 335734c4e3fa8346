//! Certificates of the platform: authorities, leaves, requests, verdicts, rotation.
//!
//! Pure: the time and the serial number are arguments, nothing here reads a clock, and only `files` touches a disk.
//! Reading order: `key` (private keys), `name` (what a certificate is for), `credential` (a certificate with its chain
//! and key), `issue` (making them), `facts` (reading them), `verify` and `renewal` (judging them), `rotation` (changing the
//! authority without an outage), `kubernetes` (as a Secret), `files` (as files).

pub mod credential;
pub mod error;
pub mod facts;
pub mod files;
pub mod issue;
pub mod key;
pub mod kubernetes;
pub mod name;
pub mod pem;
pub mod renewal;
pub mod rotation;
pub mod verify;

pub use credential::Credential;
pub use error::CertError;
pub use facts::Facts;
