//! Owns the sets of packages an engine is installed from: locks with a hash for every file, part
//! of the program. `scripts/lock-engine.sh` makes them.

use super::digest::{hex_sha256, short};
use super::error::EngineError;
use super::platform::Platform;
use crate::config::ModelType;

/// A set of packages, pinned with hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Which set it is; each has its own current version.
    pub set: &'static str,
    /// A requirements file for pip and uv.
    pub text: &'static str,
    /// Stands in for PyTorch where the set leaves that out.
    pub torch_shim: bool,
}

const LINUX_TEXT: Lock = Lock { set: "text", text: include_str!("locks/linux-text.txt"), torch_shim: true };
const MACOS_FULL: Lock = Lock { set: "full", text: include_str!("locks/macos-full.txt"), torch_shim: false };
const MACOS_MULTIMODAL: Lock =
    Lock { set: "multimodal", text: include_str!("locks/macos-multimodal.txt"), torch_shim: false };

/// Which lock serves which model type here.
#[derive(Debug, Clone)]
pub struct Locks {
    platform: Platform,
    macos: [Lock; 2],
    linux: Lock,
}

impl Locks {
    /// The locks that are part of this program.
    pub fn shipped(platform: Platform) -> Locks {
        Locks { platform, macos: [MACOS_FULL, MACOS_MULTIMODAL], linux: LINUX_TEXT }
    }

    /// The set to install for models of a type.
    pub fn for_type(&self, model_type: ModelType) -> Result<&Lock, EngineError> {
        let [full, multimodal] = &self.macos;
        match (self.platform, model_type) {
            (Platform::MacosArm64, ModelType::Multimodal) => Ok(multimodal),
            (Platform::MacosArm64, _) => Ok(full),
            (Platform::LinuxX86_64 | Platform::LinuxArm64, ModelType::Lm | ModelType::Embeddings) => {
                Ok(&self.linux)
            }
            (Platform::LinuxX86_64 | Platform::LinuxArm64, other) => Err(EngineError::TypeNeedsMacos(other)),
            (other, _) => Err(EngineError::Platform { engine: "mlx-openai-server", platform: other.name() }),
        }
    }

    /// Every set there is for this machine, the ordinary one first.
    pub fn all(&self) -> Vec<&Lock> {
        match self.platform {
            Platform::MacosArm64 => self.macos.iter().collect(),
            Platform::LinuxX86_64 | Platform::LinuxArm64 => vec![&self.linux],
            Platform::MacosX86_64 | Platform::Other => Vec::new(),
        }
    }

    /// For tests: another lock in place of the ordinary one.
    #[cfg(test)]
    pub(super) fn with_lm(mut self, lock: Lock) -> Locks {
        self.macos[0] = lock.clone();
        self.linux = lock;
        self
    }
}

impl Lock {
    /// The engine's version in this set.
    pub fn version(&self) -> &str {
        self.text
            .lines()
            .find_map(|line| line.strip_prefix("mlx-openai-server=="))
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or("0")
    }

    /// SHA-256 of all that decides what is installed, in hex.
    pub fn digest(&self) -> String {
        let shim = if self.torch_shim { super::venv::TORCH_SHIM } else { "" };
        hex_sha256(&[self.text.as_bytes(), shim.as_bytes()])
    }

    /// The folder name of an installation: version and the digest's beginning.
    pub fn id(&self) -> String {
        format!("{}-{}", self.version(), short(&self.digest()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lock_pins_every_package_with_a_hash_and_names_no_host() {
        for lock in [LINUX_TEXT, MACOS_FULL, MACOS_MULTIMODAL] {
            let packages = lock.text.lines().filter(|line| !line.starts_with(' ')).count();
            let pinned = lock.text.lines().filter(|line| line.contains("==")).count();
            assert!(packages > 50);
            assert_eq!(packages, pinned, "{}", lock.set);
            for (line, next) in lock.text.lines().zip(lock.text.lines().skip(1)) {
                assert!(!line.contains("==") || next.contains("--hash=sha256:"), "{line}");
            }
            assert!(!lock.text.contains("://"), "{}", lock.set);
        }
    }

    #[test]
    fn multimodal_models_get_a_version_that_answers() {
        let locks = Locks::shipped(Platform::MacosArm64);
        assert_eq!(locks.for_type(ModelType::Lm).unwrap().version(), "1.8.1");
        assert_eq!(locks.for_type(ModelType::Multimodal).unwrap().version(), "1.7.1");
        assert_eq!(locks.for_type(ModelType::Whisper).unwrap().set, "full");
    }

    #[test]
    fn linux_has_the_slim_set_for_text_and_its_embeddings_only() {
        let locks = Locks::shipped(Platform::LinuxArm64);
        let slim = locks.for_type(ModelType::Lm).unwrap();
        assert_eq!(locks.for_type(ModelType::Embeddings).unwrap(), slim);
        assert!(slim.torch_shim && !slim.text.contains("\ntorch=="));
        let error = locks.for_type(ModelType::Whisper).unwrap_err().to_string();
        assert!(error.contains("whisper need macOS"), "{error}");
    }

    #[test]
    fn an_intel_mac_is_told_that_mlx_does_not_run_there() {
        let error = Locks::shipped(Platform::MacosX86_64).for_type(ModelType::Lm).unwrap_err();
        assert!(error.to_string().contains("macOS on Intel"), "{error}");
    }

    #[test]
    fn an_installation_is_named_by_version_and_digest() {
        let id = LINUX_TEXT.id();
        assert!(id.starts_with("1.8.1-") && id.len() == "1.8.1-".len() + 8, "{id}");
        assert_ne!(LINUX_TEXT.digest(), Lock { torch_shim: false, ..LINUX_TEXT }.digest());
    }
}
