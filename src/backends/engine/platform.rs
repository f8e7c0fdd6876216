//! Owns which machine this is, as far as packages care.

/// A machine that packages are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    MacosArm64,
    MacosX86_64,
    LinuxX86_64,
    LinuxArm64,
    Other,
}

impl Platform {
    pub fn current() -> Platform {
        match (std::env::consts::OS, std::env::consts::ARCH) {
            ("macos", "aarch64") => Platform::MacosArm64,
            ("macos", "x86_64") => Platform::MacosX86_64,
            ("linux", "x86_64") => Platform::LinuxX86_64,
            ("linux", "aarch64") => Platform::LinuxArm64,
            _ => Platform::Other,
        }
    }

    pub fn is_macos(self) -> bool {
        matches!(self, Platform::MacosArm64 | Platform::MacosX86_64)
    }

    pub fn is_linux(self) -> bool {
        matches!(self, Platform::LinuxX86_64 | Platform::LinuxArm64)
    }

    /// For messages.
    pub fn name(self) -> String {
        match self {
            Platform::MacosArm64 => "macOS on Apple silicon".to_owned(),
            Platform::MacosX86_64 => "macOS on Intel".to_owned(),
            Platform::LinuxX86_64 => "Linux on x86-64".to_owned(),
            Platform::LinuxArm64 => "Linux on ARM64".to_owned(),
            Platform::Other => format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }

    /// How a Python or uv is installed by hand, for messages.
    pub fn install_hint(self) -> &'static str {
        if self.is_macos() {
            "`brew install uv` or `brew install python@3.12`"
        } else {
            "`apt install python3 python3-venv` where that is 3.11 or 3.12, or uv from its own site"
        }
    }
}
