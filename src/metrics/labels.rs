//! Every label of the metrics.

use super::declaration::LabelValues::{Closed, Open};
use super::declaration::MetricLabel;
use crate::config::RestartRequired;
use crate::model::{EditKind, Operation, Reason, Rule};
use crate::policy::Mode;
use crate::telemetry::{
    CacheEvent, CacheStatus, Decision, Direction, DisconnectReason, IntrospectionCache, IntrospectionResult, KeyFetch,
    Label, LabelValue, MemoryKind, Purged, ReloadResult, Reused, RightResult, Shed, StatusClass, StoreFailure,
    StoreOperation, StoreRefusal, TokenCheck, label_values,
};
use strum::VariantArray;

/// The status of a fetch without a response.
pub(super) const FETCH_FAILED: &str = "failed";

pub(super) static UPSTREAM: MetricLabel = MetricLabel {
    name: "upstream",
    meaning: "Name of the upstream in the configuration; empty for requests that no upstream matches.",
    values: Open,
};

pub(super) static GRANT: MetricLabel = MetricLabel {
    name: "grant",
    meaning: "Name of the caller's grant in the configuration; empty for callers without one.",
    values: Open,
};

pub(super) static OPERATION: MetricLabel = MetricLabel {
    name: "operation",
    meaning: "What the request does to sessions and refresh tokens.",
    values: Closed(label_values::<Operation>),
};

pub(super) static DECISION: MetricLabel = MetricLabel {
    name: "decision",
    meaning: "What the gateway did with the request.",
    values: Closed(label_values::<Decision>),
};

pub(super) static CACHE: MetricLabel = MetricLabel {
    name: "cache",
    meaning: "How the cache took part in the request.",
    values: Closed(label_values::<CacheStatus>),
};

pub(super) static STATUS: MetricLabel = MetricLabel {
    name: "status",
    meaning: "Class of the response's status.",
    values: Closed(label_values::<StatusClass>),
};

pub(super) static FETCH_STATUS: MetricLabel = MetricLabel {
    name: "status",
    meaning: "Class of the status of the provider's response.",
    values: Closed(fetch_statuses),
};

fn fetch_statuses() -> Vec<LabelValue> {
    let mut values = label_values::<StatusClass>();
    for value in values.iter_mut().filter(|value| value.name == StatusClass::None.name()) {
        value.meaning =
            "The client left, or its deadline passed, before the provider responded; or a status outside 100 to 599.";
    }
    values.push(LabelValue {
        name: FETCH_FAILED,
        meaning: "The provider did not respond, or its response was unusable.",
        detail: "",
    });
    values
}

pub(super) static UPSTREAM_OUTCOME: MetricLabel = MetricLabel {
    name: "outcome",
    meaning: "Class of the status of the provider's response.",
    values: Closed(fetch_statuses),
};

pub(super) static LISTENER: MetricLabel =
    MetricLabel { name: "listener", meaning: "Name of the listener in the configuration.", values: Open };

pub(super) static RULE: MetricLabel =
    MetricLabel { name: "rule", meaning: "The violated rule of the policy.", values: Closed(label_values::<Rule>) };

pub(super) static MODE: MetricLabel =
    MetricLabel { name: "mode", meaning: "The mode of the policy.", values: Closed(label_values::<Mode>) };

pub(super) static EDIT_KIND: MetricLabel =
    MetricLabel { name: "kind", meaning: "The kind of the edit.", values: Closed(label_values::<EditKind>) };

pub(super) static REJECTION_REASON: MetricLabel = MetricLabel {
    name: "reason",
    meaning: "Why the gateway responds in place of the provider.",
    values: Closed(rejection_reasons),
};

fn rejection_reasons() -> Vec<LabelValue> {
    let value = |reason: &Reason| LabelValue { name: reason.name(), meaning: reason.row().meaning, detail: "" };
    Reason::VARIANTS.iter().map(value).collect()
}

pub(super) static DISCONNECT_REASON: MetricLabel = MetricLabel {
    name: "reason",
    meaning: "Why the gateway closed the connection or reset the request.",
    values: Closed(label_values::<DisconnectReason>),
};

pub(super) static RIGHT_RESULT: MetricLabel = MetricLabel {
    name: "result",
    meaning: "What came of the exclusive right.",
    values: Closed(label_values::<RightResult>),
};

pub(super) static REUSED: MetricLabel = MetricLabel {
    name: "reused",
    meaning: "Whether the connection was used before.",
    values: Closed(label_values::<Reused>),
};

pub(super) static PURGED: MetricLabel =
    MetricLabel { name: "purged", meaning: "What was purged.", values: Closed(label_values::<Purged>) };

pub(super) static EVENT: MetricLabel =
    MetricLabel { name: "event", meaning: "What happened in the cache.", values: Closed(label_values::<CacheEvent>) };

pub(super) static KEY_FETCH: MetricLabel = MetricLabel {
    name: "result",
    meaning: "Result of a fetch of the issuer's keys.",
    values: Closed(label_values::<KeyFetch>),
};

pub(super) static TOKEN_CHECK: MetricLabel = MetricLabel {
    name: "result",
    meaning: "How a valid token was verified.",
    values: Closed(label_values::<TokenCheck>),
};

pub(super) static INTROSPECTION_RESULT: MetricLabel = MetricLabel {
    name: "result",
    meaning: "Result of an introspection.",
    values: Closed(label_values::<IntrospectionResult>),
};

pub(super) static INTROSPECTION_CACHE: MetricLabel = MetricLabel {
    name: "result",
    meaning: "Which cached result was used for an opaque token.",
    values: Closed(label_values::<IntrospectionCache>),
};

pub(super) static RELOAD: MetricLabel = MetricLabel {
    name: "result",
    meaning: "Result of a configuration reload.",
    values: Closed(label_values::<ReloadResult>),
};

pub(super) static HASH: MetricLabel = MetricLabel {
    name: "hash",
    meaning: "SHA-256 hash of the text of the configuration, as printed by `sha256sum`.",
    values: Open,
};

pub(super) static OPTION: MetricLabel = MetricLabel {
    name: "option",
    meaning: "An option of the configuration.",
    values: Closed(label_values::<RestartRequired>),
};

pub(super) static MEMORY_KIND: MetricLabel =
    MetricLabel { name: "kind", meaning: "What memory is held for.", values: Closed(label_values::<MemoryKind>) };

pub(super) static SHED: MetricLabel =
    MetricLabel { name: "shed", meaning: "What was shed.", values: Closed(label_values::<Shed>) };

pub(super) static VERSION: MetricLabel = MetricLabel {
    name: "version",
    meaning: "Version of the gateway, as printed by `sessiongate --version`.",
    values: Open,
};

pub(super) static STEP: MetricLabel = MetricLabel {
    name: "step",
    meaning: "The operation of the store.",
    values: Closed(label_values::<StoreOperation>),
};

pub(super) static STORE_FAILURE: MetricLabel =
    MetricLabel { name: "reason", meaning: "How the store failed.", values: Closed(label_values::<StoreFailure>) };

pub(super) static STORE_REFUSAL: MetricLabel =
    MetricLabel { name: "code", meaning: "The error code of Redis.", values: Closed(label_values::<StoreRefusal>) };

pub(super) static DIRECTION: MetricLabel =
    MetricLabel { name: "direction", meaning: "Where the bytes go.", values: Closed(label_values::<Direction>) };
