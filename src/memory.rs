//! The memory budget: how much memory the process uses for its clients, and how much it may use.
//!
//! Use is counted, not measured: every byte is reserved before it is allocated, so that the gateway sheds load before
//! the system kills the process. The resident memory is measured as well, periodically, for what is not counted.

mod sweep;

pub use sweep::Sweep;

use crate::config::memory_for_clients;
use crate::telemetry::{Label, MemoryKind, Shed};
use enum_map::EnumMap;
use std::fs::{self, File};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Use of the budget at which the level is high, in percent.
const HIGH_PERCENT: usize = 60;
/// The thresholds of the levels high, full and exceeded in percent: of the budget, and (`RESIDENT_PERCENT`) of the
/// limit for resident memory.
const COUNTED_PERCENT: [usize; 3] = [HIGH_PERCENT, 100, 115];
/// Resident memory is shed down to this percentage of the limit.
const RESIDENT_TARGET_PERCENT: usize = 70;
const RESIDENT_PERCENT: [usize; 3] = [80, 90, 95];

/// How close the process is to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// No action.
    Normal,
    /// Clients that do not read are disconnected.
    High,
    /// Only what every connection is guaranteed is still accepted.
    Full,
    /// Nothing is accepted.
    Exceeded,
}

/// The memory budget of the process.
#[derive(Debug)]
pub struct Memory {
    limit: AtomicUsize,
    budget: AtomicUsize,
    /// Bytes reserved for the cache instead of clients.
    other_bytes: usize,
    reserved: AtomicUsize,
    kinds: EnumMap<MemoryKind, AtomicUsize>,
    shed: EnumMap<Shed, AtomicU64>,
    /// Resident memory, in bytes.
    resident: AtomicUsize,
    wait_for_pressure: Notify,
}

/// The values for metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryReading {
    /// The memory limit of the process, in bytes.
    pub limit: usize,
    /// The budget for clients, in bytes.
    pub budget: usize,
    /// Bytes in use, by kind.
    pub reserved: Vec<(&'static str, usize)>,
    /// What was shed, by kind.
    pub shed: Vec<(&'static str, u64)>,
}

impl Memory {
    /// For a process with this limit in bytes (`None`: the system's), of which `other_bytes` are reserved for the
    /// cache.
    pub fn new(limit: Option<usize>, other_bytes: usize) -> Arc<Memory> {
        let memory = Memory {
            limit: AtomicUsize::new(0),
            budget: AtomicUsize::new(0),
            other_bytes,
            reserved: AtomicUsize::new(0),
            kinds: Default::default(),
            shed: Default::default(),
            resident: AtomicUsize::new(0),
            wait_for_pressure: Notify::new(),
        };
        memory.set_limit(limit);
        Arc::new(memory)
    }

    /// Sets the limit in bytes; `None` means the system's.
    pub fn set_limit(&self, limit: Option<usize>) {
        let limit = limit.unwrap_or_else(system_limit);
        self.limit.store(limit, Ordering::Relaxed);
        self.budget.store(memory_for_clients(limit, self.other_bytes), Ordering::Relaxed);
    }

    /// The memory limit of the process, in bytes.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// How close the process is to its limit.
    pub fn level(&self) -> Level {
        self.counted_level().max(self.resident_level())
    }

    /// The level by counted bytes alone: a sweep may return resident memory.
    pub fn counted_level(&self) -> Level {
        level(self.reserved.load(Ordering::Relaxed), self.budget.load(Ordering::Relaxed), COUNTED_PERCENT)
    }

    /// How many bytes to shed for the level to become normal.
    pub fn excess(&self) -> usize {
        let counted = self.reserved.load(Ordering::Relaxed).saturating_sub(self.budget.load(Ordering::Relaxed) / 2);
        let resident =
            self.resident.load(Ordering::Relaxed).saturating_sub(self.limit() / 100 * RESIDENT_TARGET_PERCENT);
        counted.max(resident)
    }

    /// Completes when the level is above normal.
    pub async fn wait_for_pressure(&self) {
        loop {
            let wait_for_pressure = self.wait_for_pressure.notified();
            if self.level() > Level::Normal {
                return;
            }
            wait_for_pressure.await;
        }
    }

    /// Bytes in use for clients.
    pub fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Measures the resident memory.
    pub fn measure(&self) {
        self.resident.store(resident().unwrap_or(0), Ordering::Relaxed);
        if self.resident_level() > Level::Normal {
            self.wait_for_pressure.notify_one();
        }
    }

    /// Resident memory may be free memory that the allocator keeps, so it never counts as exceeded.
    fn resident_level(&self) -> Level {
        level(self.resident.load(Ordering::Relaxed), self.limit(), RESIDENT_PERCENT).min(Level::Full)
    }

    /// Counts something that was shed.
    pub fn count_shed(&self, what: Shed) {
        self.shed[what].fetch_add(1, Ordering::Relaxed);
    }

    /// The values for metrics.
    pub fn read(&self) -> MemoryReading {
        MemoryReading {
            limit: self.limit(),
            budget: self.budget.load(Ordering::Relaxed),
            reserved: self.kinds.iter().map(|(kind, bytes)| (kind.name(), bytes.load(Ordering::Relaxed))).collect(),
            shed: self.shed.iter().map(|(what, count)| (what.name(), count.load(Ordering::Relaxed))).collect(),
        }
    }

    fn add(&self, kind: MemoryKind, bytes: usize) {
        self.kinds[kind].fetch_add(bytes, Ordering::Relaxed);
        let before = self.reserved.fetch_add(bytes, Ordering::Relaxed);
        let wait_for_pressure = self.budget.load(Ordering::Relaxed) / 100 * HIGH_PERCENT;
        if before < wait_for_pressure && before + bytes >= wait_for_pressure {
            self.wait_for_pressure.notify_one();
        }
    }

    fn subtract(&self, kind: MemoryKind, bytes: usize) {
        self.kinds[kind].fetch_sub(bytes, Ordering::Relaxed);
        self.reserved.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A reservation in the memory budget, until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    memory: Arc<Memory>,
    kind: MemoryKind,
    bytes: usize,
}

impl Reservation {
    /// Reserves bytes.
    pub fn new(memory: &Arc<Memory>, kind: MemoryKind, bytes: usize) -> Reservation {
        memory.add(kind, bytes);
        Reservation { memory: memory.clone(), kind, bytes }
    }

    /// The reserved bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the number of reserved bytes.
    pub fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.memory.add(self.kind, bytes - self.bytes);
        } else {
            self.memory.subtract(self.kind, self.bytes - bytes);
        }
        self.bytes = bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.subtract(self.kind, self.bytes);
    }
}

fn level(reserved: usize, most: usize, [wait_for_pressure, full, over]: [usize; 3]) -> Level {
    let share = most / 100;
    if reserved >= share * over {
        Level::Exceeded
    } else if reserved >= share * full {
        Level::Full
    } else if reserved >= share * wait_for_pressure {
        Level::High
    } else {
        Level::Normal
    }
}

/// The memory that the system allows: the limit of the control group, or three quarters of the machine's memory.
pub fn system_limit() -> usize {
    let machine = meminfo().unwrap_or(usize::MAX);
    match cgroup_limit() {
        Some(limit) if limit < machine => limit,
        _ => machine / 4 * 3,
    }
}

/// The lowest limit of the process's control groups, version 1 or 2, in bytes.
fn cgroup_limit() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        match controllers {
            "" => cgroup_limits("/sys/fs/cgroup", path, "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                cgroup_limits("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
            }
            _ => Vec::new(),
        }
    });
    limits.min()
}

/// The limits of a group and its ancestors. In a container its own group is the visible root.
fn cgroup_limits(root: &str, path: &str, file: &str) -> Vec<usize> {
    let above = |path: &str| path.rfind('/').map(|at| path.get(..at).unwrap_or_default().to_owned());
    let paths = std::iter::successors(Some(path.trim_end_matches('/').to_owned()), |path| above(path));
    paths.filter_map(|path| fs::read_to_string(format!("{root}{path}/{file}")).ok()?.trim().parse().ok()).collect()
}

/// The machine's memory, in bytes.
fn meminfo() -> Option<usize> {
    read_kilobytes("/proc/meminfo", "MemTotal:")
}

/// The resident memory of the process, in bytes.
fn resident() -> Option<usize> {
    read_kilobytes("/proc/self/status", "VmRSS:")
}

fn read_kilobytes(file: &str, name: &str) -> Option<usize> {
    // In one call of the system: this is read ten times a second, and a growing buffer takes eight.
    let mut bytes = [0; 4096];
    let length = File::open(file).ok()?.read(&mut bytes).ok()?;
    let text = str::from_utf8(bytes.get(..length)?).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches(" kB").parse::<usize>().ok().map(|read_kilobytes| read_kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        BASE_MEMORY as BASE, MIN_CLIENT_MEMORY as LEAST, max_cached_for_limit, memory_for_clients as budget,
    };

    /// The smallest budget for clients.
    const ALL: usize = LEAST;

    #[test]
    fn held_memory_determines_the_level() {
        let memory = Memory::new(Some(BASE), 0);
        assert_eq!(memory.level(), Level::Normal);
        let mut reserved = Reservation::new(&memory, MemoryKind::Requests, ALL / 2);
        assert_eq!((memory.level(), memory.excess()), (Level::Normal, 0));
        reserved.set(ALL / 10 * 7);
        assert_eq!(memory.level(), Level::High);
        assert_eq!(memory.excess(), ALL / 10 * 7 - ALL / 2);
        let more = Reservation::new(&memory, MemoryKind::Responses, ALL / 2);
        assert_eq!(memory.level(), Level::Exceeded);
        reserved.set(ALL / 2);
        assert_eq!(memory.level(), Level::Full);
        let shown = memory.read().reserved;
        assert!(shown.contains(&("requests", ALL / 2)) && shown.contains(&("responses", ALL / 2)), "{shown:?}");
        drop((reserved, more));
        assert_eq!(memory.level(), Level::Normal);
        assert!(memory.read().reserved.iter().all(|(_, bytes)| *bytes == 0));
    }

    #[test]
    fn the_budget_is_what_the_limit_leaves() {
        assert_eq!(budget(40 << 20, 0), LEAST, "never less");
        for limit in [64 << 20, 256 << 20, 4 << 30] {
            let room = max_cached_for_limit(limit);
            assert_eq!(budget(limit, room + (4 << 20)), LEAST);
            assert!(budget(limit, room) >= LEAST && budget(limit, room - (4 << 20)) > LEAST, "{limit}: {room}");
        }
        assert_eq!(max_cached_for_limit(40 << 20), 0);
        let budget = budget(256 << 20, 64 << 20);
        assert!((85 << 20..95 << 20).contains(&budget), "{budget}");
        let memory = Memory::new(Some(256 << 20), 64 << 20);
        assert_eq!(memory.read().budget, budget);
        memory.set_limit(Some(1 << 30));
        assert!(memory.read().budget > budget && memory.limit() == 1 << 30);
    }

    #[test]
    fn the_system_has_a_limit() {
        assert!((1 << 20..usize::MAX).contains(&Memory::new(None, 0).limit()));
    }

    #[tokio::test]
    async fn watchers_are_notified_of_memory_pressure() {
        let memory = Memory::new(Some(BASE), 0);
        let wait_for_pressure = memory.wait_for_pressure();
        tokio::pin!(wait_for_pressure);
        assert!(tokio::time::timeout(std::time::Duration::ZERO, &mut wait_for_pressure).await.is_err());
        let _held = Reservation::new(&memory, MemoryKind::Responses, ALL);
        wait_for_pressure.await;
    }
}
