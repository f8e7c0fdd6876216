//! What plugins say of themselves.

use mlx_gateway::outward::{Destination, Network};
use mlx_gateway::tools::Manifest;

use crate::harness::fuzz;

const PLUGIN: &str = "name = \"a\"\nversion = \"1.0.0\"\ndescription = \"d\"\nwasm = \"a.wasm\"\n[permissions]\nhttp = [\"https://x.example:8443\"]\nallow_private = [\"10.0.0.0/8\"]\nsecrets = { \"https://x.example\" = { header = \"authorization\", env = \"T\" } }\n[limits]\nmemory = \"64MiB\"\ncpu_ms = 10\n";

#[test]
fn what_plugins_say_of_themselves_is_read_or_refused() {
    fuzz(&[PLUGIN.as_bytes(), b"https://x.example:8443", b"10.0.0.0/8"], |bytes, _| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        drop(Manifest::parse(text));
        if let Ok(destination) = Destination::parse(text) {
            assert_eq!(Destination::parse(&destination.to_string()), Ok(destination));
        }
        if let Ok(network) = Network::parse(text) {
            assert_eq!(Network::parse(&network.to_string()), Ok(network));
        }
    });
}
