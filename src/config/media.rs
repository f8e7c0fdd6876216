//! `[media]`: whether pictures that requests name by URL are fetched, from where, and how large.

use std::time::Duration;

use super::reader::Reader;
use super::tree::Node;
use super::values::{self, Fault};
use crate::outward::Network;

const DEFAULT_MAX_SIZE: u64 = 20 << 20;
const LARGEST_MAX_SIZE: u64 = 1 << 30;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);

/// `[media]`
#[derive(Debug, Clone)]
pub struct Media {
    pub fetch: bool,
    /// Bytes of one picture.
    pub max_size: u64,
    pub timeout: Duration,
    /// Addresses that may be reached although they are private.
    pub allow_private: Vec<Network>,
}

impl Media {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        let timeout = reader.duration("timeout", Duration::from_secs(1)..=LONGEST_TIMEOUT);
        Media {
            fetch: reader.boolean("fetch").unwrap_or(false),
            max_size: reader.bytes("max_size", 1..=LARGEST_MAX_SIZE).unwrap_or(DEFAULT_MAX_SIZE),
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            allow_private: reader.list("allow_private", network).unwrap_or_default(),
        }
    }
}

fn network(node: &Node) -> Result<Network, Fault> {
    Network::parse(values::text(node)?.trim()).map_err(Fault::new)
}
