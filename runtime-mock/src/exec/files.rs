//! The files of a container: [`Files`].

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use orlop_core::runtime::MountSource;

use super::Place;

/// How much all the files may take that commands have written, in bytes.
const WRITTEN_MAX: usize = 1 << 20;

/// What commands have written into a container, over what it came with.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// By absolute path; `None`: removed.
    written: BTreeMap<String, Option<Bytes>>,
    directories: BTreeSet<String>,
}

/// The files of a container as commands see them.
pub(super) struct View<'a> {
    came_with: BTreeMap<String, Bytes>,
    /// Where directories are mounted.
    mounted: Vec<String>,
    read_only: Vec<String>,
    files: &'a mut Files,
}

/// Directories that are there although nothing is in them.
const EMPTY: [&str; 7] = ["/", "/bin", "/home", "/proc", "/root", "/tmp", "/var"];

impl<'a> View<'a> {
    pub(super) fn new(place: &Place<'_>, files: &'a mut Files) -> View<'a> {
        let sandbox = place.sandbox;
        let mut came_with = BTreeMap::new();
        let mut put = |path: &str, text: String| came_with.insert(path.to_owned(), Bytes::from(text));
        put("/etc/hostname", format!("{}\n", sandbox.hostname));
        let mut hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
        for address in &sandbox.addresses {
            hosts.push_str(&format!("{address}\t{}\n", sandbox.hostname));
        }
        put("/etc/hosts", hosts);
        let dns = &sandbox.dns;
        let mut resolv: String = dns.servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        if !dns.searches.is_empty() {
            let searches: Vec<&str> = dns.searches.iter().map(|name| name.as_str()).collect();
            resolv = format!("search {}\n{resolv}", searches.join(" "));
        }
        put("/etc/resolv.conf", resolv);
        put("/etc/os-release", "NAME=\"Orlop mock\"\nID=orlop-mock\nPRETTY_NAME=\"Orlop mock\"\n".to_owned());
        let (mut mounted, mut read_only) = (Vec::new(), Vec::new());
        for mount in &place.container.mounts {
            let root = absolute("/", &mount.path);
            let mut is_file = false;
            if let MountSource::Files(given) = &mount.source {
                for (path, bytes) in given {
                    is_file |= path.is_empty();
                    came_with.insert(absolute(&root, path), bytes.clone());
                }
            }
            if !is_file {
                mounted.push(root.clone());
            }
            if mount.read_only {
                read_only.push(root);
            }
        }
        View { came_with, mounted, read_only, files }
    }

    pub(super) fn read(&self, path: &str) -> Result<Bytes, &'static str> {
        match self.files.written.get(path) {
            Some(Some(bytes)) => return Ok(bytes.clone()),
            Some(None) => {}
            None => {
                if let Some(bytes) = self.came_with.get(path) {
                    return Ok(bytes.clone());
                }
            }
        }
        if path == "/dev/null" {
            return Ok(Bytes::new());
        }
        Err(if self.is_directory(path) { "Is a directory" } else { "No such file or directory" })
    }

    pub(super) fn write(&mut self, path: &str, bytes: Bytes) -> Result<(), &'static str> {
        if path == "/dev/null" {
            return Ok(());
        }
        if self.is_read_only(path) {
            return Err("Read-only file system");
        }
        if self.is_directory(path) {
            return Err("Is a directory");
        }
        if !self.is_directory(parent(path)) {
            return Err("No such file or directory");
        }
        let others = self.files.written.iter().filter(|(name, _)| *name != path);
        let taken: usize =
            others.map(|(name, bytes)| name.len() + bytes.as_ref().map_or(0, Bytes::len)).sum();
        if taken + path.len() + bytes.len() > WRITTEN_MAX {
            return Err("No space left on device");
        }
        self.files.written.insert(path.to_owned(), Some(bytes));
        Ok(())
    }

    pub(super) fn make_directory(&mut self, path: &str) -> Result<(), &'static str> {
        if self.is_read_only(path) {
            return Err("Read-only file system");
        }
        if self.files.directories.len() >= 10_000 {
            return Err("No space left on device");
        }
        let mut at = path;
        while !self.is_directory(at) {
            self.files.directories.insert(at.to_owned());
            at = parent(at);
        }
        Ok(())
    }

    /// Removes a file, or a directory with all that is in it. Answers whether there was anything.
    pub(super) fn remove(&mut self, path: &str) -> Result<bool, &'static str> {
        if self.is_read_only(path) {
            return Err("Read-only file system");
        }
        let below = format!("{}/", path.trim_end_matches('/'));
        let gone: Vec<String> = self
            .paths()
            .filter(|name| *name == path || name.starts_with(&below))
            .map(str::to_owned)
            .collect();
        let before = self.files.directories.len();
        self.files.directories.retain(|name| name != path && !name.starts_with(&below));
        let any = !gone.is_empty() || self.files.directories.len() < before;
        for name in gone {
            if self.came_with.contains_key(&name) {
                self.files.written.insert(name, None);
            } else {
                self.files.written.remove(&name);
            }
        }
        Ok(any)
    }

    /// The paths of all files, each once, in order.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        let written = self.files.written.iter().filter(|(_, bytes)| bytes.is_some()).map(|(path, _)| path);
        let rest = self.came_with.keys().filter(|path| !self.files.written.contains_key(*path));
        written.chain(rest).map(String::as_str).collect::<BTreeSet<_>>().into_iter()
    }

    pub(super) fn is_directory(&self, path: &str) -> bool {
        let below = format!("{}/", path.trim_end_matches('/'));
        EMPTY.contains(&path)
            || self.files.directories.contains(path)
            || self.mounted.iter().any(|root| root == path || root.starts_with(&below))
            || self.paths().any(|name| name.starts_with(&below))
    }

    /// The names in a directory.
    pub(super) fn list(&self, path: &str) -> BTreeSet<String> {
        let below = format!("{}/", path.trim_end_matches('/'));
        let directories = self.files.directories.iter().map(String::as_str);
        let mounted = self.mounted.iter().map(String::as_str);
        let all = self.paths().chain(directories).chain(mounted).chain(EMPTY);
        let inside = all.filter_map(|name| name.strip_prefix(&below));
        inside
            .filter_map(|rest| rest.split('/').next())
            .filter(|n| !n.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn is_read_only(&self, path: &str) -> bool {
        self.read_only.iter().any(|root| path == root || path.starts_with(&format!("{root}/")))
    }
}

/// A path as it is from `/`, without `.` and `..`.
pub(super) fn absolute(from: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{from}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

pub(super) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}
