//! A page of figures as monitoring reads it: what was counted, and gauges as they stand now.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeMetric as _;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;

/// The media type of OpenMetrics' text form.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

/// One figure with its labels.
pub type Sample = (Labels, f64);

/// Figures as they stand now, put together for one look.
#[derive(Default)]
pub struct Page {
    registry: Registry,
}

impl Page {
    /// A figure that goes up and down. Without samples it is left out.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in samples {
            family.get_or_create(&labels).set(value);
        }
        if !family.is_empty() {
            self.registry.register(name, help, family);
        }
    }

    /// A figure that only grows; its name gets the suffix `_total`.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in samples {
            family.get_or_create(&labels).inc_by(value);
        }
        if !family.is_empty() {
            self.registry.register(name, help, family);
        }
    }

    /// The whole in OpenMetrics' text form.
    pub fn text(&self, metrics: &Metrics) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &metrics.0.registry)?;
        encode_registry(&mut text, &self.registry)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}
