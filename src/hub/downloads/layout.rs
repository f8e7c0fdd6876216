//! The places of one model in the Hugging Face cache, and the links that make a snapshot of its blobs.
//! Blocks; knows no network.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::hub::files::RepoFile;
use crate::models::hub_cache::{MAIN, repo_name};

/// A model's folders in the cache.
#[derive(Debug, Clone)]
pub struct Layout {
    repo: PathBuf,
    locks: PathBuf,
}

impl Layout {
    /// The places of `model` in the cache at that path; nothing is made.
    pub fn new(cache: &Path, model: &str) -> Layout {
        let name = repo_name(model);
        Layout { repo: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    /// Makes the folders for blobs and locks.
    #[expect(
        clippy::disallowed_methods,
        reason = "other programs share the model cache, so the umask decides"
    )]
    pub fn make(&self) -> io::Result<()> {
        for dir in [self.repo.join("blobs"), self.locks.clone()] {
            std::fs::create_dir_all(dir)?;
        }
        Ok(())
    }

    /// A whole file, by its etag.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.repo.join("blobs").join(etag)
    }

    /// A file that is still being fetched.
    pub fn incomplete(&self, etag: &str) -> PathBuf {
        self.repo.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// What a process holds while it fetches the file.
    pub fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    /// The folder of links that make up a commit.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.repo.join("snapshots").join(commit)
    }

    /// Bytes of the file that are on this machine, named or not.
    pub fn present(&self, file: &RepoFile) -> u64 {
        let length = |path: PathBuf| std::fs::metadata(path).map(|meta| meta.len()).ok();
        let blob = length(self.blob(file.digest.name())).filter(|bytes| *bytes == file.size);
        blob.or_else(|| length(self.incomplete(file.digest.name()))).unwrap_or(0).min(file.size)
    }

    /// Whether the whole file is on this machine.
    pub fn has(&self, file: &RepoFile) -> bool {
        std::fs::metadata(self.blob(file.digest.name())).is_ok_and(|meta| meta.len() == file.size)
    }

    /// Links every file into the snapshot of `commit`; then the branch is at it, and not before: what
    /// looks for the model finds the old snapshot or a whole new one.
    #[expect(
        clippy::disallowed_methods,
        reason = "other programs share the model cache, so the umask decides"
    )]
    pub fn publish(&self, commit: &str, files: &[RepoFile]) -> io::Result<()> {
        let snapshot = self.snapshot(commit);
        for file in files {
            let link = snapshot.join(&file.path);
            if let Some(folder) = link.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let up = "../".repeat(file.path.split('/').count() + 1);
            replace_link(&link, Path::new(&format!("{up}blobs/{}", file.digest.name())))?;
        }
        let refs = self.repo.join("refs");
        std::fs::create_dir_all(&refs)?;
        let mut new = tempfile::NamedTempFile::new_in(&refs)?;
        io::Write::write_all(&mut new, commit.as_bytes())?;
        new.persist(refs.join(MAIN)).map_err(|error| error.error)?;
        Ok(())
    }

    /// Removes what was fetched and no snapshot needs; the whole folder where there is none.
    pub fn discard(&self) -> io::Result<()> {
        let linked = self.linked()?;
        if linked.is_empty() {
            return self.remove();
        }
        for blob in std::fs::read_dir(self.repo.join("blobs"))? {
            let blob = blob?;
            if !linked.contains(blob.file_name().to_string_lossy().as_ref()) {
                remove_file(&blob.path())?;
            }
        }
        Ok(())
    }

    /// Removes the model.
    pub fn remove(&self) -> io::Result<()> {
        for dir in [&self.repo, &self.locks] {
            match std::fs::remove_dir_all(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Names of the blobs that snapshots link to.
    fn linked(&self) -> io::Result<HashSet<String>> {
        let mut found = HashSet::new();
        let mut folders = vec![self.repo.join("snapshots")];
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if let Ok(target) = std::fs::read_link(entry.path()) {
                    found.extend(target.file_name().map(|name| name.to_string_lossy().into_owned()));
                }
            }
        }
        Ok(found)
    }
}

fn replace_link(link: &Path, target: &Path) -> io::Result<()> {
    if std::fs::read_link(link).is_ok_and(|at| at == target) {
        return Ok(());
    }
    remove_file(link)?;
    symlink(target, link)
}

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::files::Digest;
    use crate::models::hub_cache::cached_snapshot;

    fn file(path: &str, name: &str) -> RepoFile {
        RepoFile { path: path.into(), size: 2, digest: Digest::Sha256(name.into()) }
    }

    fn cache() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), "org/m");
        layout.make().unwrap();
        for name in ["aa", "bb", "cc"] {
            std::fs::write(layout.blob(name), "{}").unwrap();
        }
        (dir, layout)
    }

    #[test]
    fn a_published_snapshot_is_found_and_its_links_lead_to_the_blobs() {
        let (dir, layout) = cache();
        let files = [file("config.json", "aa"), file("sub/dir/model.safetensors", "bb"), file("m.npz", "cc")];
        layout.publish("c0ffee", &files).unwrap();
        let snapshot = cached_snapshot(dir.path(), "org/m").unwrap();
        assert_eq!(std::fs::read_to_string(snapshot.join("sub/dir/model.safetensors")).unwrap(), "{}");
        assert_eq!(std::fs::read_link(snapshot.join("config.json")).unwrap(), Path::new("../../blobs/aa"));
        layout.publish("c0ffee", &files).unwrap();
    }

    #[test]
    fn what_is_discarded_leaves_what_a_snapshot_needs() {
        let (_dir, layout) = cache();
        layout.publish("c0ffee", &[file("config.json", "aa")]).unwrap();
        std::fs::write(layout.incomplete("dd"), "x").unwrap();
        layout.discard().unwrap();
        assert!(layout.blob("aa").exists());
        assert!(!layout.blob("bb").exists() && !layout.incomplete("dd").exists());
    }

    #[test]
    fn a_model_of_which_nothing_is_whole_leaves_no_folder() {
        let (dir, layout) = cache();
        layout.discard().unwrap();
        layout.discard().unwrap();
        assert!(!dir.path().join("models--org--m").exists());
    }
}
