//! The folders of one run: a place of its own for temporary files and the prompt cache, gone with
//! the run. Knows where things are, not what is in them.

use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

use crate::system::private;

/// Where the runs of this gateway are.
pub fn runs_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("run")
}

/// The log file of a backend.
pub fn log_path(data_dir: &Path, backend: &str) -> PathBuf {
    data_dir.join("logs").join(format!("{}.log", file_name(backend)))
}

/// The folders of one run, readable by this user only.
#[derive(Debug)]
pub struct Instance {
    pub dir: PathBuf,
}

impl Instance {
    pub fn create(data_dir: &Path, backend: &str) -> io::Result<Instance> {
        // The last 48 bits of a v7 id are random.
        let random = Uuid::now_v7().as_u128() & 0xffff_ffff_ffff;
        let name = format!("{}-{random:012x}", file_name(backend));
        let dir = runs_dir(data_dir).join(name);
        for folder in [&dir, &dir.join("tmp"), &dir.join("prompt-cache")] {
            private::create_dir(folder)?;
        }
        Ok(Instance { dir })
    }

    pub fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// Where the run's process is written down.
    pub fn record_path(&self) -> PathBuf {
        record_path(&self.dir)
    }

    pub async fn remove(self) {
        if let Err(error) = tokio::fs::remove_dir_all(&self.dir).await {
            let dir = self.dir.display();
            tracing::warn!(%error, backend.instance_dir = %dir, "The folder of a run cannot be removed");
        }
    }
}

/// The record that belongs to a run's folder.
pub fn record_path(instance_dir: &Path) -> PathBuf {
    instance_dir.with_added_extension("json")
}

/// A backend's id as a file name: never a path, never hidden, and no two alike.
fn file_name(backend: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let kept: String = backend.chars().map(|c| if plain(c) { c } else { '_' }).take(64).collect();
    if kept == backend && !kept.starts_with('.') && !kept.is_empty() {
        return kept;
    }
    let digest = <sha2::Sha256 as sha2::Digest>::digest(backend.as_bytes());
    let suffix: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{suffix}", kept.trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn each_run_has_folders_of_its_own_that_only_this_user_reads() {
        let data = tempfile::tempdir().unwrap();
        let one = Instance::create(data.path(), "qwen").unwrap();
        let two = Instance::create(data.path(), "qwen").unwrap();
        assert_ne!(one.dir, two.dir);
        let mode = std::fs::metadata(one.tmp()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        one.remove().await;
        two.remove().await;
        assert_eq!(std::fs::read_dir(runs_dir(data.path())).unwrap().count(), 0);
    }

    #[test]
    fn no_name_leads_out_of_the_folder_or_to_another_backends_file() {
        assert_eq!(file_name("qwen-3.5_x"), "qwen-3.5_x");
        let odd = ["../x", "a/b", "a_b", "a b", ".hidden", "", "ä", &"x".repeat(200)];
        let names: std::collections::BTreeSet<_> = odd.iter().map(|id| file_name(id)).collect();
        assert_eq!(names.len(), odd.len());
        assert!(names.iter().all(|name| !name.contains('/') && !name.starts_with('.')));
    }
}
