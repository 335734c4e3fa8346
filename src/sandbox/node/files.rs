//! The file system of a container as far as somebody looks into it: a few files of its image's kind, its volumes, and what
//! is written to it while it runs.
//!
//! Volumes of ConfigMaps, Secrets and projections are read from the API each time; `emptyDir` volumes live as long as their
//! pod and are shared by its containers. Images are never pulled: their own files are not there.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// Bytes that one tree may hold.
const MAX_BYTES: usize = 64 << 20;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Directory { mode: u32 },
    File { mode: u32, bytes: Bytes, seconds: u64 },
}

/// Entries by their paths, `etc/hosts`; the root is none.
#[derive(Debug, Default)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
    n_bytes: usize,
}

impl Tree {
    /// Puts a file, and the directories above it.
    pub(super) fn put(&mut self, path: &str, mode: u32, bytes: Bytes, seconds: u64) -> bool {
        let path = path.trim_matches('/');
        let before = match self.entries.get(path) {
            Some(Entry::File { bytes, .. }) => bytes.len(),
            Some(Entry::Directory { .. }) => return false,
            None => 0,
        };
        let n_bytes = self.n_bytes - before + bytes.len();
        if n_bytes > MAX_BYTES {
            return false;
        }
        self.n_bytes = n_bytes;
        if let Some((above, _)) = path.rsplit_once('/') {
            self.put_directory(above);
        }
        self.entries.insert(path.to_owned(), Entry::File { mode, bytes, seconds });
        true
    }

    pub(super) fn put_directory(&mut self, path: &str) {
        let path = path.trim_matches('/');
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends.filter(|end| *end > 0) {
            self.entries.entry(path[..end].to_owned()).or_insert(Entry::Directory { mode: 0o755 });
        }
    }
}

/// A tree that is shared.
pub type SharedTree = Arc<Mutex<Tree>>;

/// Why a file operation failed, in the words of the C library.
pub type Refusal = &'static str;

/// The trees of a container under one root.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// By the path they are mounted at, `etc/config`; the container's own is at the empty one.
    pub(super) mounts: BTreeMap<String, Mount>,
}

/// A tree at its place.
#[derive(Clone, Debug)]
pub(super) struct Mount {
    pub(super) tree: SharedTree,
    pub(super) read_only: bool,
}

impl Files {
    /// The tree that a path belongs to, and the path in it.
    fn place<'a>(&self, path: &'a str) -> Option<(&Mount, &'a str)> {
        let mut found = None;
        for (at, mount) in &self.mounts {
            if at.is_empty() {
                found = found.or(Some((mount, path)));
            } else if let Some(rest) = path.strip_prefix(at.as_str())
                && (rest.is_empty() || rest.starts_with('/'))
            {
                // Deeper mounts come later in the order of their names.
                found = Some((mount, rest.trim_start_matches('/')));
            }
        }
        found
    }

    /// What stands at an absolute path.
    pub fn entry(&self, path: &str) -> Option<Entry> {
        let path = normal(path);
        if path.is_empty() {
            return Some(Entry::Directory { mode: 0o755 });
        }
        let (mount, inside) = self.place(&path)?;
        if inside.is_empty() {
            // A volume's `subPath` is a tree of one file that has no name.
            let tree = mount.tree.lock();
            return Some(tree.entries.get("").cloned().unwrap_or(Entry::Directory { mode: 0o755 }));
        }
        let found = mount.tree.lock().entries.get(inside).cloned();
        // The way to a mount is there, too.
        let leads = || self.mounts.keys().any(|at| at.starts_with(&format!("{path}/")));
        found.or_else(|| leads().then_some(Entry::Directory { mode: 0o755 }))
    }

    /// The content of a file.
    ///
    /// # Errors
    /// There is none, or it is a directory.
    pub fn read(&self, path: &str) -> Result<Bytes, Refusal> {
        match self.entry(path) {
            Some(Entry::File { bytes, .. }) => Ok(bytes),
            Some(Entry::Directory { .. }) => Err("Is a directory"),
            None => Err("No such file or directory"),
        }
    }

    /// The names in a directory, in order.
    ///
    /// # Errors
    /// There is none, or it is a file.
    pub fn names(&self, path: &str) -> Result<Vec<String>, Refusal> {
        match self.entry(path) {
            Some(Entry::Directory { .. }) => {}
            Some(Entry::File { .. }) => return Err("Not a directory"),
            None => return Err("No such file or directory"),
        }
        let path = normal(path);
        let mut names = std::collections::BTreeSet::new();
        let mut add = |below: &str, key: &str| {
            let rest = match below {
                "" => Some(key),
                below => key.strip_prefix(below).and_then(|rest| rest.strip_prefix('/')),
            };
            if let Some(first) = rest.and_then(|rest| rest.split('/').next())
                && !first.is_empty()
            {
                names.insert(first.to_owned());
            }
        };
        if let Some((mount, inside)) = self.place(&path) {
            for key in mount.tree.lock().entries.keys() {
                add(inside, key);
            }
        }
        for at in self.mounts.keys() {
            add(&path, at);
        }
        Ok(names.into_iter().collect())
    }

    /// Writes a file whole; its directory must be there.
    ///
    /// # Errors
    /// The directory is not there, the place cannot be written to, or is full.
    pub fn write(&self, path: &str, mode: u32, bytes: Bytes, seconds: u64) -> Result<(), Refusal> {
        let path = normal(path);
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        match self.entry(above) {
            Some(Entry::Directory { .. }) => {}
            Some(Entry::File { .. }) => return Err("Not a directory"),
            None => return Err("No such file or directory"),
        }
        if matches!(self.entry(&path), Some(Entry::Directory { .. })) {
            return Err("Is a directory");
        }
        let (mount, inside) = self.place(&path).ok_or("No such file or directory")?;
        if mount.read_only {
            return Err("Read-only file system");
        }
        let put = mount.tree.lock().put(inside, mode, bytes, seconds);
        if put { Ok(()) } else { Err("No space left on device") }
    }

    /// Makes a directory, and with `parents` those above it.
    ///
    /// # Errors
    /// It is there already, the one above is not, or the place cannot be written to.
    pub fn make_directory(&self, path: &str, parents: bool) -> Result<(), Refusal> {
        let path = normal(path);
        match self.entry(&path) {
            Some(Entry::Directory { .. }) if parents => return Ok(()),
            Some(_) => return Err("File exists"),
            None => {}
        }
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        if !parents && !matches!(self.entry(above), Some(Entry::Directory { .. })) {
            return Err("No such file or directory");
        }
        let (mount, inside) = self.place(&path).ok_or("No such file or directory")?;
        if mount.read_only {
            return Err("Read-only file system");
        }
        mount.tree.lock().put_directory(inside);
        Ok(())
    }

    /// Removes a file, and with `whole` a directory and what is in it.
    ///
    /// # Errors
    /// There is none, it is a directory, or the place cannot be written to.
    pub fn remove(&self, path: &str, whole: bool) -> Result<(), Refusal> {
        let path = normal(path);
        match self.entry(&path) {
            None => return Err("No such file or directory"),
            Some(Entry::Directory { .. }) if !whole => return Err("Is a directory"),
            Some(_) => {}
        }
        let (mount, inside) = self.place(&path).ok_or("No such file or directory")?;
        if mount.read_only {
            return Err("Read-only file system");
        }
        let mut tree = mount.tree.lock();
        let below = format!("{inside}/");
        tree.entries.retain(|key, _| key != inside && !key.starts_with(&below));
        tree.n_bytes = tree.entries.values().map(length).sum();
        Ok(())
    }

    /// All files and directories at and below a path, each with its own path, in order.
    pub fn walk(&self, path: &str) -> Vec<(String, Entry)> {
        let Some(entry) = self.entry(path) else { return Vec::new() };
        let path = format!("/{}", normal(path));
        let mut found = vec![(path.clone(), entry)];
        for name in self.names(&path).unwrap_or_default() {
            found.extend(self.walk(&format!("{}/{name}", path.trim_end_matches('/'))));
        }
        found
    }
}

fn length(entry: &Entry) -> usize {
    match entry {
        Entry::File { bytes, .. } => bytes.len(),
        Entry::Directory { .. } => 0,
    }
}

/// A path without `.`, `..`, doubled and leading slashes.
pub(super) fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
