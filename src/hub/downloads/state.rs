//! The life of a download as pure transitions: (status, order) -> status. Knows no task and no file.
//!
//! | status    | start   | pause   | cancel    |
//! |-----------|---------|---------|-----------|
//! | queued    | same    | paused  | cancelled |
//! | running   | same    | paused  | cancelled |
//! | paused    | queued  | same    | cancelled |
//! | failed    | queued  | refused | cancelled |
//! | cancelled | queued  | refused | same      |
//! | completed | queued  | refused | refused   |
//!
//! `start` is what resume, retry and another request for the same model come to.

use serde::Serialize;

/// How a download stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Waits for its turn, or for the gateway to start again.
    Queued,
    Running,
    Paused,
    Completed,
    Failed,
    Cancelled,
}

/// What somebody asks of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Start,
    Pause,
    Cancel,
}

impl Status {
    /// Every state.
    pub const ALL: [Status; 6] = [
        Status::Queued,
        Status::Running,
        Status::Paused,
        Status::Completed,
        Status::Failed,
        Status::Cancelled,
    ];

    /// As the store and the API write it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }

    /// The state of that name; `None` for any other.
    pub fn from_name(name: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.name() == name)
    }

    /// A task is at work on it, or will be.
    pub fn is_active(self) -> bool {
        matches!(self, Status::Queued | Status::Running)
    }

    /// Nothing more comes of it by itself.
    pub fn is_over(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Cancelled)
    }

    /// What the order makes of it; `None`: that cannot be.
    pub fn after(self, order: Order) -> Option<Status> {
        match (self, order) {
            (Status::Queued | Status::Running, Order::Start) => Some(self),
            (_, Order::Start) => Some(Status::Queued),
            (Status::Queued | Status::Running | Status::Paused, Order::Pause) => Some(Status::Paused),
            (_, Order::Pause) => None,
            (Status::Completed, Order::Cancel) => None,
            (_, Order::Cancel) => Some(Status::Cancelled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_above_holds() {
        use Status::{Cancelled, Completed, Failed, Paused, Queued, Running};
        let table = [
            (Queued, [Some(Queued), Some(Paused), Some(Cancelled)]),
            (Running, [Some(Running), Some(Paused), Some(Cancelled)]),
            (Paused, [Some(Queued), Some(Paused), Some(Cancelled)]),
            (Failed, [Some(Queued), None, Some(Cancelled)]),
            (Cancelled, [Some(Queued), None, Some(Cancelled)]),
            (Completed, [Some(Queued), None, None]),
        ];
        for (status, after) in table {
            let orders = [Order::Start, Order::Pause, Order::Cancel];
            assert_eq!(orders.map(|order| status.after(order)), after, "{status:?}");
            assert_eq!(Status::from_name(status.name()), Some(status));
        }
    }
}
