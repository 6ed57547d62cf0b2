//! When a channel's others are asked, and how long what is known of them is in doubt.

use std::time::{Duration, Instant};

/// How soon a node answers in one channel again, whoever asks.
const ANSWER_AGAIN: Duration = Duration::from_millis(100);

/// What is to be said and asked, the more the later it stands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    /// Ask.
    Ask,
    /// Ask, and forget the users that joined right after an eviction and that no node names.
    Verify,
    /// Ask, and forget whom nobody names.
    Doubt,
    /// That, after the others were told whom this node has.
    Resync,
}

/// How long things take in every channel.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// What others have to answer, and what a channel rests after a question.
    pub(super) answer_within: Duration,
    /// The longest wait for a question that does not come back.
    pub(super) longest: Duration,
}

/// A channel's questions, one at a time: at most one in [`Pace::answer_within`] and none while one is
/// on its way or its answers are, however much is wished.
pub(super) struct Asking {
    wish: Option<(Wish, Instant)>,
    /// No wish is granted before.
    rests_until: Option<Instant>,
    /// Until it comes back: what is older comes before it.
    question: Option<Question>,
    /// How long the next question may take to come back.
    patience: Duration,
    /// When those are forgotten whom nobody has named.
    doubt_until: Option<Instant>,
    answered: Option<Instant>,
    /// When an answer is owed.
    answer_at: Option<Instant>,
    /// When this channel is looked at, as the timers have it.
    pub(super) timer: Option<Instant>,
}

struct Question {
    id: String,
    wish: Wish,
    until: Instant,
}

/// What time has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) forget: bool,
    pub(super) answer: bool,
    /// To be asked; see [`Asking::asked`].
    pub(super) ask: Option<Wish>,
}

impl Asking {
    pub(super) const fn new() -> Self {
        Self {
            wish: None,
            rests_until: None,
            question: None,
            patience: Duration::ZERO,
            doubt_until: None,
            answered: None,
            answer_at: None,
            timer: None,
        }
    }

    pub(super) fn wish(&mut self, wish: Wish, now: Instant) {
        let (known, at) = self.wish.unwrap_or((wish, now));
        self.wish = Some((known.max(wish), at.min(now)));
    }

    /// A question was sent.
    pub(super) fn asked(&mut self, id: String, wish: Wish, now: Instant, pace: Pace) {
        self.patience = self.patience.max(pace.answer_within);
        self.question = Some(Question { id, wish, until: now + self.patience });
        self.rests_until = Some(now + pace.answer_within);
        self.wish = None;
    }

    /// A message of this node came back. If it was the question, its kind: the users that it is about
    /// are in doubt from now on.
    pub(super) fn came_back(&mut self, message_id: &str, now: Instant, pace: Pace) -> Option<Wish> {
        let question = self.question.take_if(|question| question.id == message_id)?;
        self.patience = Duration::ZERO;
        if question.wish > Wish::Ask {
            // Whoever was in doubt already is so for as long as the others.
            self.doubt_until = Some(now + pace.answer_within);
        }
        Some(question.wish)
    }

    /// Somebody asks. Whether to answer at once; else it is owed.
    pub(super) fn was_asked(&mut self, now: Instant) -> bool {
        let at = self.answered.map_or(now, |last| last + ANSWER_AGAIN);
        if at <= now {
            self.answered(now);
            return true;
        }
        self.answer_at.get_or_insert(at);
        false
    }

    pub(super) const fn answered(&mut self, now: Instant) {
        self.answered = Some(now);
        self.answer_at = None;
    }

    /// When there is something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        let open = self.question.as_ref().map(|question| question.until);
        let open = [open, self.doubt_until].into_iter().flatten().min();
        let wished = self.wish.map(|(_, at)| self.rests_until.map_or(at, |rests| rests.max(at)));
        [open.or(wished), self.answer_at].into_iter().flatten().min()
    }

    /// Takes what is due.
    pub(super) fn take_due(&mut self, now: Instant, pace: Pace) -> Due {
        let mut due = Due::default();
        if self.doubt_until.take_if(|until| *until <= now).is_some() {
            due.forget = true;
        }
        if let Some(lost) = self.question.take_if(|question| question.until <= now) {
            // So it was lost, or there is no bus: the next one is given more time.
            self.patience = self.patience.saturating_mul(2).min(pace.longest);
            self.wish(lost.wish.min(Wish::Doubt), now);
        }
        let is_busy = self.question.is_some() || self.doubt_until.is_some();
        let rests = self.rests_until.is_some_and(|until| until > now);
        if !is_busy && !rests {
            due.ask = self.wish.take().map(|(wish, _)| wish);
        }
        due.answer = self.answer_at.is_some_and(|at| at <= now) || due.ask == Some(Wish::Resync);
        if due.answer {
            self.answered(now);
        }
        due
    }
}
