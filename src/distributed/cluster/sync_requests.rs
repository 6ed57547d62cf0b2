//! Synchronising a channel's users with the other nodes: when a node sends a `STATE_REQUEST`, and how
//! sure it is of each user that other nodes have reported.
//!
//! # A channel's requests: [`StateSync`]
//!
//! A bus delivers a node its own messages. When a request comes back (its *echo*), everything that
//! other nodes sent before it has arrived, and everything that arrives later may be an answer to it.
//!
//! ```text
//!        mark               heartbeat              due, not resting
//! Idle ─────────► Marked ───────────► Requested ─────────────────────► In flight
//!  ▲ ▲                                 ▲  ▲    │ longer timeout          │ │ │
//!  │ │                                 │  └────┴─────── no echo in time ─┘ │ │
//!  │ └─────────────────────────────────┼────────── echo of a Query ────────┘ │
//!  │                                   │                                     │ echo of another kind:
//!  │ deadline, all were confirmed      │ deadline: drop the unconfirmed      ▼ mark users unconfirmed
//!  └───────────────────────────────────┴──────────────────────────────── Confirming
//! ```
//!
//! | state | event | next state | action |
//! |---|---|---|---|
//! | any | the known users may be wrong: [`mark`](StateSync::mark), [`mark_verify`](StateSync::mark_verify), [`add_requester`](StateSync::add_requester) | Marked | |
//! | any | refused for lack of room, or a silent node may have been listed: [`mark_retry`](StateSync::mark_retry) | Marked, [`expire_after`](SyncTiming::expire_after) from the next heartbeat | |
//! | Marked | heartbeat | Requested | |
//! | any | messages were lost: [`request`](StateSync::request) | Requested | |
//! | Requested | [`service`](StateSync::service), unless In flight, Confirming or resting | In flight | send a `STATE_REQUEST`; before a [`Resync`](SyncKind::Resync), a `STATE_RESPONSE` |
//! | any | the topic was subscribed to: [`sent`](StateSync::sent) | In flight | send a `STATE_REQUEST` at once |
//! | In flight | echo of a [`Query`](SyncKind::Query) | Idle or Requested | |
//! | In flight | echo of another kind | Confirming, for [`answer_within`](SyncTiming::answer_within) | users become [`Unconfirmed`](Standing::Unconfirmed) |
//! | In flight | no echo in time | Requested, with twice the timeout | |
//! | Confirming | deadline | Idle or Requested | drop the users that are still unconfirmed; if there were any, request a Query |
//!
//! Requests of several kinds become one, of the highest kind. A channel rests for `answer_within` after
//! each request. (When a topic is subscribed to again during Confirming, the channel is In flight and
//! Confirming at once: the earlier deadline holds for the users that were unconfirmed before, unless the
//! echo comes first and sets a later one.)
//!
//! # A user of another node: [`Evidence`]
//!
//! | standing | event | next standing |
//! |---|---|---|
//! | none | the node reports the user | Confirmed |
//! | Confirmed | it joined within `answer_within` of its eviction | Provisional |
//! | Provisional | echo of a [`VerifyProvisional`](SyncKind::VerifyProvisional) | Unconfirmed |
//! | Confirmed, Provisional | echo of a [`ConfirmAll`](SyncKind::ConfirmAll) or a Resync | Unconfirmed |
//! | Unconfirmed | the node reports the user | Confirmed |
//! | Unconfirmed | deadline of Confirming | dropped |
//!
//! Independently of its standing, a user is *secondhand* while its node has only listed it in a
//! `STATE_RESPONSE`: JavaScript nodes also list users of other nodes. Any other message of that node
//! about the user ends that.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::nodes::NodeIndex;

/// The shortest time between two answers of a node in one channel, whichever node asks.
const ANSWER_INTERVAL: Duration = Duration::from_millis(100);

/// The request to send, and the users to drop; later variants include the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SyncKind {
    /// A request; no user is dropped.
    Query,
    /// A request; drop the provisional users that no node confirms.
    VerifyProvisional,
    /// A request; drop all users that no node confirms.
    ConfirmAll,
    /// The same, after sending this node's users to the others.
    Resync,
}

/// The times that hold for every channel.
#[derive(Clone, Copy)]
pub(super) struct SyncTiming {
    /// The time that other nodes have to answer, and that a channel rests after a request.
    pub(super) answer_within: Duration,
    /// The time after which a silent node counts as dead.
    pub(super) expire_after: Duration,
}

impl SyncTiming {
    /// The longest time to wait for an echo.
    fn longest(self) -> Duration {
        self.expire_after.max(self.answer_within)
    }
}

/// The requests and answers of one channel; see the [module](self).
pub(super) struct StateSync {
    /// Marked for a [`Query`](SyncKind::Query) at the next heartbeat.
    marked: bool,
    /// Marked for a [`VerifyProvisional`](SyncKind::VerifyProvisional) at the next heartbeat.
    verify_marked: bool,
    /// Marked for a query [`expire_after`](SyncTiming::expire_after) from the next heartbeat.
    retry_marked: bool,
    retry_at: Option<Instant>,
    /// Nodes that sent a request since the last heartbeat: each has users here.
    requesters: BTreeSet<NodeIndex>,
    requested: Option<(SyncKind, Instant)>,
    /// The time before which no request is sent.
    rests_until: Option<Instant>,
    in_flight: Option<InFlight>,
    /// The time that the next request waits for its echo.
    echo_timeout: Duration,
    /// The time at which the unconfirmed users are dropped.
    confirming_until: Option<Instant>,
    answered_at: Option<Instant>,
    /// The time at which the next answer is due, if one is.
    answer_at: Option<Instant>,
    /// The time at which this channel must be serviced, as recorded in the timers of
    /// [channels](super::channels).
    pub(super) timer: Option<Instant>,
}

struct InFlight {
    message_id: String,
    kind: SyncKind,
    until: Instant,
}

/// The work that is due in a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DueWork {
    /// Drop the unconfirmed users.
    pub(super) drop_unconfirmed: bool,
    /// Send this node's users.
    pub(super) answer: bool,
    /// Send a request, and call [`StateSync::sent`].
    pub(super) request: Option<SyncKind>,
}

impl StateSync {
    pub(super) const fn new() -> Self {
        Self {
            marked: false,
            verify_marked: false,
            retry_marked: false,
            retry_at: None,
            requesters: BTreeSet::new(),
            requested: None,
            rests_until: None,
            in_flight: None,
            echo_timeout: Duration::ZERO,
            confirming_until: None,
            answered_at: None,
            answer_at: None,
            timer: None,
        }
    }

    /// Marks the channel because its known users may be wrong: query it with the next heartbeat.
    pub(super) const fn mark(&mut self) {
        self.marked = true;
    }

    /// Marks the channel because a user became provisional: verify with the next heartbeat.
    pub(super) const fn mark_verify(&mut self) {
        self.verify_marked = true;
    }

    /// Marks the channel for one more query, at a time when a node that stays silent counts as dead
    /// and there may be room.
    pub(super) const fn mark_retry(&mut self) {
        self.retry_marked = true;
    }

    /// A node asked for this channel's users, so it has users here itself.
    pub(super) fn add_requester(&mut self, node: NodeIndex) {
        self.requesters.insert(node);
    }

    /// The nodes that asked since the last heartbeat.
    pub(super) fn take_requesters(&mut self) -> BTreeSet<NodeIndex> {
        std::mem::take(&mut self.requesters)
    }

    /// Turns marks into a request, so that a channel makes at most one between two heartbeats.
    /// `query` asks for one without a mark.
    pub(super) fn on_heartbeat(&mut self, query: bool, now: Instant, timing: SyncTiming) {
        let retry = self.retry_at.take_if(|at| *at <= now).is_some();
        let marked = std::mem::take(&mut self.marked);
        if std::mem::take(&mut self.verify_marked) {
            self.request(SyncKind::VerifyProvisional, now);
        } else if marked || retry || query {
            self.request(SyncKind::Query, now);
        }
        if std::mem::take(&mut self.retry_marked) {
            self.retry_at.get_or_insert(now + timing.expire_after);
        }
    }

    /// Requests a synchronisation as soon as the channel is free.
    pub(super) fn request(&mut self, kind: SyncKind, now: Instant) {
        let (known, at) = self.requested.unwrap_or((kind, now));
        self.requested = Some((known.max(kind), at.min(now)));
    }

    /// A request was sent in a message of this id.
    pub(super) fn sent(
        &mut self,
        message_id: String,
        kind: SyncKind,
        now: Instant,
        timing: SyncTiming,
    ) {
        self.echo_timeout = self.echo_timeout.max(timing.answer_within);
        self.in_flight = Some(InFlight { message_id, kind, until: now + self.echo_timeout });
        self.rests_until = Some(now + timing.answer_within);
        self.requested = None;
    }

    /// A message of this node came back. If it was the request in flight, returns its kind: the users
    /// that the kind concerns are unconfirmed from now on.
    pub(super) fn echoed(
        &mut self,
        message_id: &str,
        now: Instant,
        timing: SyncTiming,
    ) -> Option<SyncKind> {
        let request = self.in_flight.take_if(|request| request.message_id == message_id)?;
        self.echo_timeout = Duration::ZERO;
        if request.kind > SyncKind::Query {
            // A user that was unconfirmed already gets the later deadline too.
            self.confirming_until = Some(now + timing.answer_within);
            self.verify_marked = false;
        }
        Some(request.kind)
    }

    /// A node asks for this node's users. Returns whether to answer at once; else an answer is due
    /// later.
    pub(super) fn answer_now(&mut self, now: Instant) -> bool {
        let at = self.answered_at.map_or(now, |last| last + ANSWER_INTERVAL);
        if at <= now {
            self.answered(now);
            return true;
        }
        self.answer_at.get_or_insert(at);
        false
    }

    const fn answered(&mut self, now: Instant) {
        self.answered_at = Some(now);
        self.answer_at = None;
    }

    /// The time at which the channel must be serviced next.
    pub(super) fn next(&self) -> Option<Instant> {
        let in_flight = self.in_flight.as_ref().map(|request| request.until);
        let busy_until = [in_flight, self.confirming_until].into_iter().flatten().min();
        let requested =
            self.requested.map(|(_, at)| self.rests_until.map_or(at, |end| end.max(at)));
        [busy_until.or(requested), self.answer_at].into_iter().flatten().min()
    }

    /// Takes the work that is due.
    pub(super) fn service(&mut self, now: Instant, timing: SyncTiming) -> DueWork {
        let mut due = DueWork {
            drop_unconfirmed: self.confirming_until.take_if(|until| *until <= now).is_some(),
            ..DueWork::default()
        };
        if let Some(lost) = self.in_flight.take_if(|request| request.until <= now) {
            // The request was lost, or there is no bus: the next one waits longer.
            self.echo_timeout = self.echo_timeout.saturating_mul(2).min(timing.longest());
            self.request(lost.kind.min(SyncKind::ConfirmAll), now);
        }
        let is_busy = self.in_flight.is_some() || self.confirming_until.is_some();
        let rests = self.rests_until.is_some_and(|until| until > now);
        if !is_busy && !rests {
            due.request = self.requested.take().map(|(kind, _)| kind);
        }
        due.answer =
            self.answer_at.is_some_and(|at| at <= now) || due.request == Some(SyncKind::Resync);
        if due.answer {
            self.answered(now);
        }
        due
    }
}

/// Whether a user of another node is believed to be there; see the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Confirmed,
    /// The user joined so soon after its eviction that its node may not have known of that yet.
    Provisional,
    /// Not reported since the last synchronisation began.
    Unconfirmed,
}

/// The evidence for a user: its standing, and the change that reported it last.
pub(super) struct Evidence {
    standing: Standing,
    /// Known only from lists of users, which in JavaScript include other nodes' users.
    secondhand: bool,
    /// The number of the change that reported the user last; a list counts as one change.
    change: u64,
}

impl Evidence {
    pub(super) const fn new(secondhand: bool, change: u64) -> Self {
        Self { standing: Standing::Confirmed, secondhand, change }
    }

    /// The user's node reported it again.
    pub(super) fn renew(&mut self, secondhand: bool, change: u64) {
        if self.standing == Standing::Unconfirmed {
            self.standing = Standing::Confirmed;
        }
        self.secondhand &= secondhand;
        self.change = change;
    }

    pub(super) const fn set_provisional(&mut self) {
        self.standing = Standing::Provisional;
    }

    /// A request of `kind` came back: messages that arrive from now on are newer.
    pub(super) fn mark_unconfirmed(&mut self, kind: SyncKind) {
        self.standing = match (kind, self.standing) {
            (SyncKind::Query, standing) => standing,
            (SyncKind::VerifyProvisional, Standing::Confirmed) => Standing::Confirmed,
            _ => Standing::Unconfirmed,
        };
    }

    pub(super) fn is_unconfirmed(&self) -> bool {
        self.standing == Standing::Unconfirmed
    }

    pub(super) const fn is_secondhand(&self) -> bool {
        self.secondhand
    }

    /// Orders the nodes that have one user: the highest counts. Firsthand knowledge comes before
    /// secondhand, then the latest change.
    pub(super) const fn rank(&self) -> (bool, u64) {
        (!self.secondhand, self.change)
    }

    /// Whether the user was not reported after that change.
    pub(super) const fn is_older_than(&self, change: u64) -> bool {
        self.change <= change
    }
}

#[cfg(test)]
mod tests {
    use super::{Evidence, SyncKind};

    #[test]
    fn a_standing_changes_as_the_table_says() {
        use SyncKind::{ConfirmAll, Query, Resync, VerifyProvisional};
        let is_unconfirmed_after = |provisional: bool, kind| {
            let mut evidence = Evidence::new(true, 1);
            if provisional {
                evidence.set_provisional();
            }
            evidence.mark_unconfirmed(kind);
            let unconfirmed = evidence.is_unconfirmed();
            evidence.renew(true, 2);
            assert!(!evidence.is_unconfirmed() && evidence.is_secondhand());
            unconfirmed
        };
        for (kind, confirmed, provisional) in [
            (Query, false, false),
            (VerifyProvisional, false, true),
            (ConfirmAll, true, true),
            (Resync, true, true),
        ] {
            assert_eq!(is_unconfirmed_after(false, kind), confirmed, "{kind:?}");
            assert_eq!(is_unconfirmed_after(true, kind), provisional, "{kind:?}");
        }
    }

    #[test]
    fn firsthand_knowledge_outranks_later_lists() {
        let (mut firsthand, listed) = (Evidence::new(true, 1), Evidence::new(true, 3));
        assert!(firsthand.rank() < listed.rank());
        firsthand.renew(false, 2);
        assert!(firsthand.rank() > listed.rank() && !firsthand.is_secondhand());
        firsthand.renew(true, 4);
        assert!(!firsthand.is_secondhand() && firsthand.is_older_than(4));
        assert!(!firsthand.is_older_than(3));
    }
}
