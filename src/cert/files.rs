//! Certificates as files: `NAME.crt`, `NAME.key`, `NAME-ca.crt`. The one place of `cert` that touches a disk.
//!
//! A file is complete or as it was: it is written beside its place under a name of its own, created exclusively with its final
//! mode, flushed, and then renamed. Keys are 0600, folders that are made for them 0700.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::credential::Credential;
use super::error::CertError;
use super::issue::Serial;
use super::key::PrivateKey;
use crate::base::secret::Secret;

const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o700;

/// Where a certificate's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

impl Files {
    /// The files of a name in a folder.
    pub fn of(folder: &Path, name: &str) -> Self {
        Self {
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
            ca: folder.join(format!("{name}-ca.crt")),
        }
    }
}

/// Writes what differs; returns whether anything did.
///
/// The key goes first: a certificate whose key is missing is of no use, the reverse is found by `load`.
pub fn save(credential: &Credential, files: &Files) -> Result<bool, CertError> {
    for path in [&files.certificate, &files.key, &files.ca] {
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
    }
    let mut changed = false;
    if let Some(key) = &credential.key {
        changed |= write(&files.key, key.pem().reveal(), KEY_MODE)?;
    }
    changed |= write(&files.certificate, &credential.chain_pem(), CERTIFICATE_MODE)?;
    let own_root = credential.roots.as_slice() == &credential.chain[..1];
    if !credential.roots.is_empty() && !own_root {
        changed |= write(&files.ca, &credential.roots_pem(), CERTIFICATE_MODE)?;
    }
    Ok(changed)
}

/// Reads what `save` wrote. `None` when neither certificate nor key is there.
pub fn load(files: &Files) -> Result<Option<Credential>, CertError> {
    let chain = read(&files.certificate)?;
    let key = read(&files.key)?;
    let chain = match (chain, &key) {
        (Some(chain), _) => chain,
        (None, None) => return Ok(None),
        (None, Some(_)) => {
            return Err(CertError::HalfMissing {
                found: files.key.clone(),
                missing: files.certificate.clone(),
            });
        }
    };
    let key = key.map(|text| PrivateKey::from_pem(&Secret::new(text))).transpose()?;
    let roots = read(&files.ca)?;
    let what = format!("`{}`", files.certificate.display());
    Credential::from_pem(&chain, roots.as_deref(), key, &what).map(Some)
}

fn make_folder(folder: &Path) -> Result<(), CertError> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)
        .map_err(failed("make the folder", folder))
}

fn read(path: &Path) -> Result<Option<String>, CertError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Writes a text that nobody else may read, atomically: mode 0600, whole or not at all. Whether it changed.
///
/// # Errors
/// `File` with the reason of the file system.
pub fn write_private(path: &Path, text: &str) -> Result<bool, CertError> {
    write(path, text, KEY_MODE)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<bool, CertError> {
    let unchanged = fs::read(path).is_ok_and(|found| found == text.as_bytes())
        && fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o777 == mode);
    if unchanged {
        return Ok(false);
    }
    let beside = beside(path)?;
    let written = create(&beside, text, mode)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(failed("write", path));
    if written.is_err() {
        // The error that counts is the one of writing; what is left is removed as well as may be.
        let _ = fs::remove_file(&beside);
    }
    written?;
    // The rename lasts only once its folder is flushed; some file systems cannot, which loses no content.
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(true)
}

fn create(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    // `create_new` is O_EXCL: neither an existing file nor a symbolic link is written through.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn beside(path: &Path) -> Result<PathBuf, CertError> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(Serial::random()?.to_string());
    Ok(path.with_file_name(name))
}

fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> CertError + 'a {
    move |source| CertError::File { action, path: path.to_owned(), source }
}
