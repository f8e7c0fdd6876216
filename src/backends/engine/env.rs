//! Owns the environment of children: built from nothing, never inherited, so that the gateway's
//! keys and tokens stay with the gateway. Pure.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::models::hub_cache;

/// Variables by name.
pub type Vars = BTreeMap<OsString, OsString>;

/// What every child gets of the gateway's own environment: where things are and how text is
/// encoded, nothing that could be a secret.
const PASSED: &[&str] = &[
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "HF_HOME",
    "HF_HUB_CACHE",
    "XDG_CACHE_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
];

/// What only installers get too: the way to the package index.
const PASSED_TO_INSTALLERS: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "CURL_CA_BUNDLE",
    "NETRC",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "PIP_CACHE_DIR",
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_CONFIG_FILE",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_INDEX_URL",
    "PIP_NO_INDEX",
    "PIP_PROXY",
    "PIP_RETRIES",
    "PIP_TRUSTED_HOST",
    "UV_CACHE_DIR",
    "UV_CONFIG_FILE",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_HTTP_TIMEOUT",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_INSECURE_HOST",
    "UV_KEYRING_PROVIDER",
    "UV_NATIVE_TLS",
    "UV_NO_INDEX",
    "UV_OFFLINE",
    "UV_PYTHON_INSTALL_DIR",
    "UV_PYTHON_INSTALL_MIRROR",
    "UV_SYSTEM_CERTS",
];

/// What only servers that fetch their model themselves get too.
const PASSED_TO_DOWNLOADS: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HF_TOKEN_PATH",
];

/// Where programs are when the gateway was started without a PATH worth the name (by launchd).
const USUAL_PATH: &str = "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// The environment of a model server.
#[derive(Debug, Clone)]
pub struct ServerEnv<'a> {
    /// Stands in front of PATH.
    pub bin_dir: Option<&'a Path>,
    pub temporary_dir: &'a Path,
    /// The model is here; nothing may be fetched.
    pub offline: bool,
    pub hub_endpoint: Option<&'a str>,
    pub is_linux: bool,
    /// The profile's own `env`, which wins.
    pub profile: &'a BTreeMap<String, String>,
}

/// Builds the complete environment of a model server.
pub fn server(host: &Vars, wanted: &ServerEnv<'_>) -> Vars {
    let mut vars = base(host, wanted.bin_dir);
    set(&mut vars, "TMPDIR", wanted.temporary_dir);
    // Its standard output is block-buffered otherwise, and the log would be empty until it ends.
    set(&mut vars, "PYTHONUNBUFFERED", "1");
    set(&mut vars, "NO_COLOR", "1");
    set(&mut vars, "HF_HUB_DISABLE_TELEMETRY", "1");
    set(&mut vars, "TOKENIZERS_PARALLELISM", "false");
    if wanted.is_linux {
        // MLX would call g++ at run time: seconds more on the first request.
        set(&mut vars, "MLX_DISABLE_COMPILE", "1");
    }
    if wanted.offline {
        set(&mut vars, "HF_HUB_OFFLINE", "1");
    } else {
        pass(&mut vars, host, PASSED_TO_DOWNLOADS);
        if let Some(endpoint) = wanted.hub_endpoint {
            set(&mut vars, "HF_ENDPOINT", endpoint);
        }
    }
    for (name, value) in wanted.profile {
        set(&mut vars, name, value);
    }
    vars
}

/// The environment of pip, uv and `python -m venv`.
pub fn installer(host: &Vars, index_url: Option<&str>) -> Vars {
    let mut vars = base(host, None);
    pass(&mut vars, host, PASSED_TO_INSTALLERS);
    pass(&mut vars, host, &["TMPDIR"]);
    if let Some(url) = index_url {
        set(&mut vars, "PIP_INDEX_URL", url);
        set(&mut vars, "UV_DEFAULT_INDEX", url);
    }
    for (name, value) in [
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
        ("PIP_NO_INPUT", "1"),
        ("PYTHONUNBUFFERED", "1"),
        ("UV_NO_PROGRESS", "1"),
        ("NO_COLOR", "1"),
    ] {
        set(&mut vars, name, value);
    }
    vars
}

/// Where the Hugging Face libraries keep what they fetched; the profile's own variables win.
pub fn hub_cache(host: &Vars, profile: &BTreeMap<String, String>) -> Option<PathBuf> {
    hub_cache::location(|name| {
        profile.get(name).map(OsString::from).or_else(|| host.get(OsStr::new(name)).cloned())
    })
}

fn base(host: &Vars, bin_dir: Option<&Path>) -> Vars {
    let mut vars = Vars::new();
    pass(&mut vars, host, PASSED);
    let inherited = host.get(OsStr::new("PATH")).filter(|path| !path.is_empty());
    let mut path = bin_dir.map(|dir| dir.as_os_str().to_owned()).unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    if let Some(inherited) = inherited {
        path.push(inherited);
        path.push(":");
    }
    path.push(USUAL_PATH);
    vars.insert("PATH".into(), path);
    if !["LANG", "LC_ALL", "LC_CTYPE"].iter().any(|name| vars.contains_key(OsStr::new(name))) {
        // Without one, Python would print ASCII and fail on a model's other characters.
        set(&mut vars, "LANG", "C.UTF-8");
    }
    vars
}

fn pass(vars: &mut Vars, host: &Vars, names: &[&str]) {
    for name in names {
        if let Some(value) = host.get(OsStr::new(name)) {
            vars.insert((*name).into(), value.clone());
        }
    }
}

fn set(vars: &mut Vars, name: &str, value: impl Into<OsString>) {
    vars.insert(name.into(), value.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Vars {
        [
            ("PATH", "/usr/bin"),
            ("HOME", "/home/me"),
            ("HF_TOKEN", "secret"),
            ("MLX_GATEWAY_API_KEY", "secret"),
            ("MLX_MANAGER_API_KEY", "secret"),
            ("OPENAI_API_KEY", "secret"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("PYTHONPATH", "/elsewhere"),
            ("PYTHONHOME", "/elsewhere"),
            ("LD_PRELOAD", "/elsewhere.so"),
            ("DYLD_INSERT_LIBRARIES", "/elsewhere.dylib"),
            ("VIRTUAL_ENV", "/elsewhere"),
            ("PIP_TARGET", "/elsewhere"),
            ("PIP_INDEX_URL", "http://mirror/simple"),
            ("HTTPS_PROXY", "http://proxy"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into()
    }

    fn names(vars: &Vars) -> Vec<&str> {
        vars.keys().filter_map(|name| name.to_str()).collect()
    }

    fn wanted(profile: &BTreeMap<String, String>) -> ServerEnv<'_> {
        ServerEnv {
            bin_dir: Some(Path::new("/venv/bin")),
            temporary_dir: Path::new("/run/tmp"),
            offline: true,
            hub_endpoint: None,
            is_linux: true,
            profile,
        }
    }

    #[test]
    fn a_server_gets_exactly_what_it_needs() {
        let vars = server(&host(), &wanted(&BTreeMap::new()));
        let expected = [
            "HF_HUB_DISABLE_TELEMETRY",
            "HF_HUB_OFFLINE",
            "HOME",
            "LANG",
            "MLX_DISABLE_COMPILE",
            "NO_COLOR",
            "PATH",
            "PYTHONUNBUFFERED",
            "TMPDIR",
            "TOKENIZERS_PARALLELISM",
        ];
        assert_eq!(names(&vars), expected);
        assert!(vars[OsStr::new("PATH")].to_string_lossy().starts_with("/venv/bin:/usr/bin:"));
    }

    #[test]
    fn no_secret_reaches_any_child() {
        for vars in [
            server(&host(), &ServerEnv { offline: false, ..wanted(&BTreeMap::new()) }),
            installer(&host(), None),
        ] {
            assert!(vars.values().all(|value| value != "secret"), "{vars:?}");
            assert!(vars.values().all(|value| !value.to_string_lossy().contains("elsewhere")));
        }
    }

    #[test]
    fn the_profile_has_the_last_word() {
        let profile = [("NO_COLOR", "0"), ("MY_SWITCH", "on")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let vars = server(&host(), &wanted(&profile));
        assert_eq!(vars[OsStr::new("NO_COLOR")], "0");
        assert_eq!(vars[OsStr::new("MY_SWITCH")], "on");
    }

    #[test]
    fn compiling_is_off_on_linux_only() {
        let vars = server(&host(), &ServerEnv { is_linux: false, ..wanted(&BTreeMap::new()) });
        assert!(!vars.contains_key(OsStr::new("MLX_DISABLE_COMPILE")));
    }

    #[test]
    fn installers_use_the_configured_index_over_the_environments() {
        let own = installer(&host(), None);
        assert_eq!(own[OsStr::new("PIP_INDEX_URL")], "http://mirror/simple");
        let configured = installer(&host(), Some("http://other/simple"));
        assert_eq!(configured[OsStr::new("PIP_INDEX_URL")], "http://other/simple");
        assert_eq!(configured[OsStr::new("UV_DEFAULT_INDEX")], "http://other/simple");
    }

    #[test]
    fn the_hub_cache_follows_the_libraries_own_order() {
        let none = BTreeMap::new();
        let mut host = host();
        let cache = |host: &Vars, profile: &BTreeMap<String, String>| hub_cache(host, profile).unwrap();
        assert_eq!(cache(&host, &none), Path::new("/home/me/.cache/huggingface/hub"));
        host.insert("HF_HOME".into(), "/hf".into());
        assert_eq!(cache(&host, &none), Path::new("/hf/hub"));
        let profile = [("HF_HUB_CACHE".to_owned(), "/own".to_owned())].into();
        assert_eq!(cache(&host, &profile), Path::new("/own"));
    }
}
