//! The figures for Prometheus.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::figures::{Figures, SourceFigures};
use super::gallery::{Exhibit, Gallery};
use crate::receiver::{BOUNDS, Retired, Spread, is_day};

/// What is written, and what it is.
pub(super) struct Written {
    pub(super) text: String,
    pub(super) media: &'static str,
}

/// Writes all metrics, as OpenMetrics where that is understood.
pub(super) fn write(gallery: &Arc<Gallery>, open_metrics: bool) -> Result<Written, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Look(gallery.clone())));
    let mut written = String::new();
    if open_metrics {
        text::encode(&mut written, &registry)?;
        let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        return Ok(Written { text: written, media });
    }
    prometheus_text::encode(&mut written, &registry)?;
    Ok(Written { text: written, media: "text/plain; version=0.0.4; charset=utf-8" })
}

#[derive(Debug)]
struct Look(Arc<Gallery>);

/// Sources that share a label are added up: those of different days, where each has a store of its own.
struct Row {
    figures: SourceFigures,
    spread: Spread,
}

type Rows = BTreeMap<String, Row>;

/// A metric of each source: its name, what it is, and its value.
type Counter = (&'static str, &'static str, fn(&SourceFigures) -> u64);
type Gauge = (&'static str, &'static str, fn(&SourceFigures) -> Option<f64>);

const COUNTERS: [Counter; 6] = [
    ("framelane_frames_stored", "Frames that came over the link and were stored", |of| of.sent),
    ("framelane_bytes_stored", "Bytes of the frames that were stored", |of| of.bytes),
    ("framelane_frames_stored_before", "Frames that came and were stored before", |of| {
        of.stored_before
    }),
    ("framelane_frames_repaired", "Frames stored that forward repair made whole", |of| of.repaired),
    ("framelane_frames_refused", "Frames refused; a sender may have sent them again", |of| {
        of.refused
    }),
    ("framelane_frames_dropped", "Frames that senders declared dropped", |of| of.dropped),
];

const GAUGES: [Gauge; 8] = [
    ("framelane_frames_held", "Frames of the source that are in the store now", |of| {
        of.held.map(|n| n as f64)
    }),
    (
        "framelane_frames_missing",
        "Frames that will not come and were not declared dropped, as senders said",
        |of| Some(of.missing as f64),
    ),
    ("framelane_frames_pending", "Frames that senders have and that are not settled", |of| {
        of.pending.map(|n| n as f64)
    }),
    ("framelane_lag_seconds", "Age of the oldest frame that is not settled", |of| of.lag_s),
    ("framelane_rtt_seconds", "Round trip to the sender", |of| of.rtt_ms.map(|ms| ms / 1e3)),
    ("framelane_loss_ratio", "Packets lost of those sent in the last seconds", |of| of.loss),
    ("framelane_repair_ratio", "Bytes of forward repair of the bytes sent lately", |of| of.repair),
    ("framelane_newest_stored_timestamp_seconds", "When the newest frame was stored", |of| {
        of.newest.as_ref().map(|newest| newest.stored_unix_ns as f64 / 1e9)
    }),
];

impl Collector for Look {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gallery = &self.0;
        let mut figures = Figures::of(gallery, 0);
        let rows = rows(gallery, std::mem::take(&mut figures.sources));
        for (name, help, value) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (source, row) in &rows {
                let label = [("source", source.as_str())];
                let mut one = family.encode_family(&label)?;
                one.encode_counter::<NoLabelSet, _, u64>(&value(&row.figures), None)?;
            }
        }
        for (name, help, value) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (source, row) in &rows {
                let Some(value) = value(&row.figures) else { continue };
                let label = [("source", source.as_str())];
                family.encode_family(&label)?.encode_gauge(&value)?;
            }
        }
        latencies(&mut encoder, &rows)?;
        let truth = |is: bool| f64::from(u8::from(is));
        let (disk, keep) = (figures.disk, figures.keep);
        for (name, help, value) in [
            ("framelane_ready", "Whether frames are taken", Some(truth(figures.ready))),
            ("framelane_sessions", "Open sessions", Some(figures.sessions as f64)),
            ("framelane_viewers", "Pages and streams that look", Some(figures.viewers as f64)),
            (
                "framelane_disk_free_bytes",
                "Room on the disk that frames are stored on",
                disk.map(|disk| disk.free_bytes as f64),
            ),
            (
                "framelane_disk_size_bytes",
                "All that the receiver may use of that disk",
                disk.map(|disk| disk.total_bytes as f64),
            ),
            (
                "framelane_disk_nearly_full",
                "Whether less is free than is warned of",
                disk.map(|disk| truth(disk.nearly_full)),
            ),
            (
                "framelane_keep_over_bytes",
                "By how much the store is over the limit that it is to keep",
                keep.map(|keep| keep.over_bytes as f64),
            ),
            (
                "framelane_keep_slowed",
                "Whether storing is slowed down to the pace at which old frames are removed",
                keep.map(|keep| truth(keep.slowed)),
            ),
        ] {
            let Some(value) = value else { continue };
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        if let Some(keep) = keep {
            let (name, help) = (
                "framelane_keep_slowed_seconds",
                "How long batches of frames have waited for old ones to be removed",
            );
            let mut one = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            one.encode_counter::<NoLabelSet, _, u64>(&keep.slowed_s, None)?;
        }
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let help = "The receiver's version";
        encoder
            .encode_descriptor("framelane_build_info", help, None, MetricType::Gauge)?
            .encode_family(&version)?
            .encode_gauge(&1.0)
    }
}

fn latencies(encoder: &mut DescriptorEncoder<'_>, rows: &Rows) -> Result<(), fmt::Error> {
    let (name, help) = ("framelane_latency_seconds", "Capture to stored");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (source, row) in rows {
        let counts = row.spread.counts;
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let label = [("source", source.as_str())];
        let count = counts.iter().sum();
        family.encode_family(&label)?.encode_histogram::<NoLabelSet>(
            row.spread.sum,
            count,
            &buckets,
            None,
        )?;
    }
    Ok(())
}

fn rows(gallery: &Gallery, figures: Vec<SourceFigures>) -> Rows {
    let spreads: BTreeMap<String, Spread> = gallery
        .exhibits()
        .into_iter()
        .map(|Exhibit { id, panel }| (id, panel.look().spread))
        .collect();
    let mut rows = Rows::new();
    for figures in figures {
        let spread = spreads.get(&figures.id).copied().unwrap_or_default();
        let label = label(&figures.id, gallery.shown.by_day);
        match rows.get_mut(&label) {
            Some(row) => row.add(&figures, &spread),
            None => {
                rows.insert(label, Row { figures, spread });
            }
        }
    }
    // A sum of several days goes on where the oldest is not shown any more.
    for retired in gallery.shown.board.retired().iter().filter(|_| gallery.shown.by_day) {
        let label = label(&gallery.id_of(&retired.place, &retired.source), true);
        rows.get_mut(&label).into_iter().for_each(|row| row.remember(retired));
    }
    rows
}

impl Row {
    fn remember(&mut self, retired: &Retired) {
        let (all, gone) = (&mut self.figures, &retired.counts);
        for (sum, more) in [
            (&mut all.sent, gone.stored),
            (&mut all.bytes, gone.bytes),
            (&mut all.stored_before, gone.before),
            (&mut all.repaired, gone.repaired),
            (&mut all.refused, gone.refused),
            (&mut all.dropped, gone.dropped),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.spread.add(&retired.spread);
    }

    fn add(&mut self, other: &SourceFigures, spread: &Spread) {
        let all = &mut self.figures;
        // Some of them are what senders say.
        for (sum, more) in [
            (&mut all.sent, other.sent),
            (&mut all.bytes, other.bytes),
            (&mut all.stored_before, other.stored_before),
            (&mut all.repaired, other.repaired),
            (&mut all.refused, other.refused),
            (&mut all.dropped, other.dropped),
            (&mut all.missing, other.missing),
        ] {
            *sum = sum.saturating_add(more);
        }
        // What is known: one day that cannot be counted takes no other away.
        all.held = all.held.into_iter().chain(other.held).reduce(u64::saturating_add);
        all.pending = all.pending.into_iter().chain(other.pending).reduce(u64::saturating_add);
        all.lag_s = all.lag_s.into_iter().chain(other.lag_s).reduce(f64::max);
        all.rtt_ms = all.rtt_ms.or(other.rtt_ms);
        all.loss = all.loss.or(other.loss);
        all.repair = all.repair.or(other.repair);
        let stored = |of: &SourceFigures| of.newest.as_ref().map(|newest| newest.stored_unix_ns);
        if stored(other) > stored(all) {
            all.newest.clone_from(&other.newest);
        }
        self.spread.add(spread);
    }
}

/// What a source is called. A day in it would make another label each day.
fn label(id: &str, by_day: bool) -> String {
    if !by_day {
        return id.to_owned();
    }
    let parts = id.split('/').filter(|part| !is_day(part));
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_no_label() {
        assert_eq!(label("cam1/2026-11-30/visible", true), "cam1/visible");
        assert_eq!(label("cam1/2026-11-30/visible", false), "cam1/2026-11-30/visible");
        assert_eq!(label("2026-11-3x/visible", true), "2026-11-3x/visible");
    }
}
