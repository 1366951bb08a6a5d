//! The metrics of the process (`process_*`).

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Counter, MetricFamily};
use std::fs;

/// The name of the metric that the library counts in whole seconds.
const CPU_SECONDS: &str = "process_cpu_seconds_total";
/// The unit of the times in `/proc/self/stat`, per second: `USER_HZ` in the kernel's ABI, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;
/// The places of `utime` and `stime` behind the name of the program (proc_pid_stat(5), fields 14 and 15).
const TIMES: std::ops::Range<usize> = 11..13;

/// The library's collector, with fractions of seconds in the CPU time.
pub(super) struct ProcessMetrics(ProcessCollector);

impl ProcessMetrics {
    pub fn new() -> ProcessMetrics {
        ProcessMetrics(ProcessCollector::for_self())
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.0.collect();
        let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat)) else {
            return families;
        };
        for metric in families.iter_mut().filter(|one| one.name() == CPU_SECONDS).flat_map(MetricFamily::mut_metric) {
            let mut counter = Counter::default();
            counter.set_value(seconds);
            metric.set_counter(counter);
        }
        families
    }
}

/// The CPU time in a `/proc/PID/stat`, in seconds. The name of the program is in parentheses, and may contain some.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let ticks: Vec<u64> = fields.get(TIMES)?.iter().map(|field| field.parse().ok()).collect::<Option<_>>()?;
    Some(ticks.iter().sum::<u64>() as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::cpu_seconds;

    #[test]
    fn cpu_time_has_fractions() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 123 45 0 0 20 0 9 0 100 1000 50";
        assert_eq!(cpu_seconds(stat), Some(1.68));
        assert_eq!(cpu_seconds("7 (a) S 1"), None);
        assert!(cpu_seconds(&std::fs::read_to_string("/proc/self/stat").unwrap()).is_some());
    }
}
