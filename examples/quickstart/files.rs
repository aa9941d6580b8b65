//! The files below a folder, and what is to be known of one.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

/// What is computed for a file, and cached.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) bytes: u64,
    /// Line feeds, as `wc -l` counts.
    pub(crate) lines: u64,
    /// Runs of anything but ASCII white space.
    pub(crate) words: u64,
    /// XXH3 of the contents.
    pub(crate) digest: u64,
}

/// Reads the file once, a piece at a time.
pub(crate) fn summarise(path: &Path) -> io::Result<Summary> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; 64 << 10];
    let (mut summary, mut digest, mut in_word) = (Summary::default(), Xxh3Default::new(), false);
    loop {
        let length = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let piece = &piece[..length];
        digest.update(piece);
        summary.bytes += length as u64;
        for byte in piece {
            summary.lines += u64::from(*byte == b'\n');
            let blank = byte.is_ascii_whitespace();
            summary.words += u64::from(!blank && !in_word);
            in_word = !blank;
        }
    }
    summary.digest = digest.digest();
    Ok(summary)
}

/// A file to summarise.
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    /// What it is called in the cache.
    pub(crate) key: String,
}

/// What lies below a folder.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<Target>,
    pub(crate) links: usize,
    /// Devices, sockets, pipes.
    pub(crate) special: usize,
    /// Folders that could not be read, and why.
    pub(crate) unreadable: Vec<(PathBuf, io::Error)>,
}

impl Tree {
    /// Walks `root`. Folders whose name is in `left_out` are passed over. `seen` is told how many files there are so far.
    ///
    /// # Errors
    /// If `root` itself is no folder or cannot be read.
    pub(crate) fn below(root: &Path, left_out: &[&str], mut seen: impl FnMut(usize)) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            match tree.enter(root, &folder, left_out, &mut folders) {
                Ok(()) => seen(tree.files.len()),
                Err(error) if folder == root => return Err(error),
                Err(error) => tree.unreadable.push((folder, error)),
            }
        }
        Ok(tree)
    }

    fn enter(&mut self, root: &Path, folder: &Path, left_out: &[&str], folders: &mut Vec<PathBuf>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // The entry's own kind: a link is a link, whatever it points at.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if !left_out.iter().any(|name| entry.file_name() == *name) {
                    folders.push(entry.path());
                }
            } else if kind.is_file() {
                let path = entry.path();
                let key = key(path.strip_prefix(root).unwrap_or(&path));
                self.files.push(Target { path, key });
            } else if kind.is_symlink() {
                self.links += 1;
            } else {
                self.special += 1;
            }
        }
        Ok(())
    }
}

/// A key of its own for every path, also for one that is not UTF-8.
fn key(path: &Path) -> String {
    match path.to_str() {
        Some(text) => format!("file:{text}"),
        None => format!("file-bytes:{}", path.as_os_str().as_encoded_bytes().escape_ascii()),
    }
}
