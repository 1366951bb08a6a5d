//! Metrics of the configuration: reloads, their results, and the active configuration.

use super::registrar::{Registrar, to_i64};
use super::table;
use crate::config::RestartRequired;
use crate::telemetry::{Label, ReloadResult};
use parking_lot::Mutex;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};
use std::time::{SystemTime, UNIX_EPOCH};
use strum::VariantArray;

/// The metrics of the configuration.
pub(super) struct ConfigMetrics {
    reloads: IntCounterVec,
    successful: IntGauge,
    success_time: IntGauge,
    info: IntGaugeVec,
    /// The hash in `info`.
    shown: Mutex<Option<String>>,
    waiting: IntGaugeVec,
}

impl ConfigMetrics {
    pub fn new(registrar: &Registrar) -> Result<ConfigMetrics, prometheus::Error> {
        let metrics = ConfigMetrics {
            reloads: registrar.add(&table::CONFIG_RELOADS)?,
            successful: registrar.add(&table::CONFIG_RELOAD_SUCCESSFUL)?,
            success_time: registrar.add(&table::CONFIG_RELOAD_TIME)?,
            info: registrar.add(&table::CONFIG_INFO)?,
            shown: Mutex::default(),
            waiting: registrar.add(&table::CONFIG_RESTART_NEEDED)?,
        };
        for result in ReloadResult::VARIANTS {
            metrics.reloads.with_label_values(&[result.name()]);
        }
        metrics.set_restart_required(&[]);
        Ok(metrics)
    }

    pub fn reload(&self, result: ReloadResult) {
        self.reloads.with_label_values(&[result.name()]).inc();
    }

    /// The configuration with this hash is active, and was read last.
    pub fn activate(&self, hash: &str) {
        self.info.with_label_values(&[hash]).set(1);
        if let Some(last) = self.shown.lock().replace(hash.to_owned()).filter(|last| last != hash) {
            // An error means that it was removed before.
            let _ = self.info.remove_label_values(&[&last]);
        }
        self.successful.set(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.success_time.set(to_i64(now.as_secs()));
    }

    pub fn reject(&self) {
        self.successful.set(0);
    }

    /// Sets which options need a restart.
    pub fn set_restart_required(&self, waiting: &[RestartRequired]) {
        for option in RestartRequired::VARIANTS {
            self.waiting.with_label_values(&[option.name()]).set(i64::from(waiting.contains(option)));
        }
    }
}
