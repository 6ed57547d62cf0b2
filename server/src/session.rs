//! The session of one client: carries out its messages and answers them, whichever transport they arrive
//! over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use pondwire::room::Seat;
use pondwire::{ClientAction, ClientMessage, Frame, Limits, ValidationError, uuid};
use smallvec::SmallVec;
use tokio::time::sleep;

use crate::budget;
use crate::caller::{Caller, Place};
use crate::channel::{Hooks, LeaveReason, OpenChannel};
use crate::endpoints::{Admitted, OpenEndpoint};
use crate::handlers::{
    ChannelRoute, Decision, Event, Join, JoinAnswer, JoinRequest, OnEvent, OnJoin, Params, Working,
    caught,
};
use crate::keepalive::Liveness;
use crate::metrics::{Counted, Metrics};
use crate::options::Options;
use crate::rate_limit::{Decision as RateDecision, Rate, RateLimiter};
use crate::trace::{self, Span};
use crate::writers::Backlog;

/// The limits of each session; see [`Options`].
struct SessionLimits {
    message_rate: Option<Rate>,
    byte_rate: Option<Rate>,
    channels: usize,
    message: Limits,
    name_bytes: usize,
}

/// The most milliseconds for which a client waits for the writers' backlog.
const MOST_LOOKS: usize = 100;

/// The most answers, and their bytes, that may wait for the writer when a client's next message is received.
const MOST_ANSWERS: (usize, usize) = (64, 1 << 20);

/// Opens sessions, and holds the parts of the server that they share.
pub(crate) struct Sessions {
    metrics: Arc<Metrics>,
    limits: SessionLimits,
    /// Hashes channel names.
    names: RandomState,
    backlog: Arc<Backlog>,
}

impl Sessions {
    /// Sessions that send less while `backlog` exists.
    pub(crate) fn new(metrics: Arc<Metrics>, options: &Options, backlog: Arc<Backlog>) -> Self {
        let limits = SessionLimits {
            message_rate: options.message_rate,
            byte_rate: options.byte_rate,
            channels: options.channels,
            message: options.limits,
            name_bytes: options.name_bytes,
        };
        Self { metrics, limits, names: RandomState::new(), backlog }
    }

    /// Opens a session for a new user, whose connection has this seat.
    pub(crate) fn open(self: &Arc<Self>, seat: Seat, admitted: Admitted) -> Session {
        let SessionLimits { message_rate, byte_rate, .. } = self.limits;
        let Admitted { endpoint, user_id, connection_id, assigns, memory, span, .. } = admitted;
        span.run(|| trace::event!(DEBUG, "connected"));
        Session {
            span,
            caller: Arc::new(Caller::new(user_id, connection_id, seat, assigns, memory)),
            endpoint,
            shared: Arc::clone(self),
            joined: JoinedChannels::default(),
            joining: None,
            working: None,
            rate_limiter: RateLimiter::new(message_rate, byte_rate, Instant::now()),
            sent_to: None,
            liveness: Arc::default(),
        }
    }
}

/// The reason why a message was not carried out.
pub(crate) enum ReceiveError {
    /// The message is invalid. The connection can continue; see [`Session::refuse_malformed`].
    Malformed(ValidationError),
    /// The client keeps sending beyond its rate limit.
    TooMany,
    /// Carrying out the message panicked.
    Panicked,
}

/// A connected client. Dropping it leaves all its channels; what they were sent before still reaches it.
pub(crate) struct Session {
    caller: Arc<Caller>,
    endpoint: Arc<OpenEndpoint>,
    shared: Arc<Sessions>,
    joined: JoinedChannels,
    /// The join that an asynchronous handler answers.
    joining: Option<(Arc<JoinAnswer>, Arc<ChannelRoute>)>,
    /// The asynchronous handler of the last message, until it is [waited for](Self::take_wait).
    working: Option<Working<()>>,
    rate_limiter: RateLimiter,
    /// The channel that the last message was sent to, if that is ahead of the writers.
    sent_to: Option<Arc<OpenChannel>>,
    liveness: Arc<Liveness>,
    span: Span,
}

/// The channels that a user joined. Each place shows whether the user has been evicted since.
///
/// Most users are in few channels, and have no memory for more. They are found by a hash of the name.
#[derive(Default)]
struct JoinedChannels(SmallVec<[JoinedChannel; 1]>);

struct JoinedChannel {
    hash: u64,
    place: Place,
    route: Arc<ChannelRoute>,
}

impl JoinedChannels {
    fn index(&self, name: &str, hash: u64) -> Option<usize> {
        let is_it = |it: &JoinedChannel| it.hash == hash && it.place.channel.name() == name;
        self.0.iter().position(is_it)
    }

    fn get(&self, name: &str, hash: u64) -> Option<&JoinedChannel> {
        Some(&self.0[self.index(name, hash)?])
    }

    fn insert(&mut self, joined: JoinedChannel) {
        self.remove(joined.place.channel.name(), joined.hash);
        self.0.push(joined);
    }

    fn remove(&mut self, name: &str, hash: u64) -> Option<Place> {
        let index = self.index(name, hash)?;
        Some(self.0.swap_remove(index).place)
    }
}

impl Session {
    fn joined(&self, name: &str) -> Option<&JoinedChannel> {
        self.joined.get(name, self.shared.names.hash_one(name))
    }

    /// Sends `CONNECT`: some clients send nothing before it.
    pub(crate) fn greet(&self) {
        let Caller { id, connection_id, seat, .. } = &*self.caller;
        seat.push(Frame::connect(&uuid(), id, connection_id));
    }

    /// Counts the connection in the metrics until the returned value is dropped.
    pub(crate) fn counted(&self) -> Counted {
        self.shared.metrics.count()
    }

    /// The secret that authenticates this client's requests: 122 random bits, sent to this client only.
    pub(crate) fn connection_id(&self) -> &Arc<str> {
        &self.caller.connection_id
    }

    pub(crate) fn seat(&self) -> &Seat {
        &self.caller.seat
    }

    pub(crate) const fn span(&self) -> &Span {
        &self.span
    }

    pub(crate) fn liveness(&self) -> &Arc<Liveness> {
        &self.liveness
    }

    /// Whether the client's next message must wait: for the handler of the last one, or because the client is
    /// ahead of the writers, with what it sent to a channel or is answered.
    pub(crate) fn must_wait(&self) -> bool {
        self.sent_to.is_some() || self.working.is_some() || has_many_answers(self.seat())
    }

    /// What the session waits for before it receives another message, if it [must](Self::must_wait).
    pub(crate) fn take_wait(&mut self) -> Option<Wait> {
        self.must_wait().then(|| Wait {
            working: self.working.take(),
            channel: self.sent_to.take(),
            seat: self.seat().clone(),
            liveness: Arc::clone(&self.liveness),
            backlog: Arc::clone(&self.shared.backlog),
            span: self.span.clone(),
        })
    }

    /// The channel if a client that has sent to it waits for the writers.
    fn if_ahead(&self, channel: &Arc<OpenChannel>) -> Option<Arc<OpenChannel>> {
        let is_ahead = channel.is_ahead() || has_backlog(channel, &self.shared.backlog);
        is_ahead.then(|| Arc::clone(channel))
    }

    /// Carries out a received message, which was `wire` bytes long as it arrived. A message over the rate limit is
    /// answered with 429 instead.
    ///
    /// # Errors
    /// The message is invalid, or the connection must end.
    pub(crate) fn receive(&mut self, frame: &[u8], wire: usize) -> Result<(), ReceiveError> {
        let span = self.span.clone();
        span.run(|| self.receive_in_span(frame, wire))
    }

    fn receive_in_span(&mut self, frame: &[u8], wire: usize) -> Result<(), ReceiveError> {
        self.settle();
        self.liveness.saw_message();
        self.shared.metrics.received(frame);
        self.rate_limiter.charge(self.caller.take_bytes());
        // Compressed padding is on the wire only.
        match self.try_acquire(frame.len().max(wire)) {
            RateDecision::Granted => {}
            RateDecision::Refused => {
                trace::event!(DEBUG, "too many messages");
                self.caller.reply(Frame::refuse(&uuid(), 429, "Too many messages"));
                return Ok(());
            }
            RateDecision::Exhausted => return Err(ReceiveError::TooMany),
        }
        let limits = self.shared.limits.message;
        let message = ClientMessage::parse_with(frame, limits).map_err(ReceiveError::Malformed)?;
        // Unwind-safe: the locks are not poisoned by a panic, and the session is dropped after one.
        let dispatched = catch_unwind(AssertUnwindSafe(|| self.dispatch(&message)));
        dispatched.map_err(|_| {
            trace::event!(ERROR, "a handler panicked");
            ReceiveError::Panicked
        })
    }

    /// Takes up the place at which an asynchronous handler accepted the client.
    fn settle(&mut self) {
        if let Some((answer, route)) = self.joining.take()
            && let Decision::Accepted(place) = answer.take()
        {
            trace::event!(DEBUG, channel = place.channel.name(), "joined");
            let hash = self.shared.names.hash_one(place.channel.name());
            self.joined.insert(JoinedChannel { hash, place, route });
        }
    }

    /// Charges a message or a control frame of `bytes` bytes to the client's rate limit.
    pub(crate) fn try_acquire(&mut self, bytes: usize) -> RateDecision {
        self.rate_limiter.try_acquire(bytes, Instant::now)
    }

    /// Returns and resets the work that the client's messages have caused since the last call, not counting
    /// their receipt, in the units of [`Budget`](budget::Budget).
    pub(crate) fn take_work(&mut self) -> usize {
        self.caller.take_work()
    }

    /// Answers an invalid message.
    pub(crate) fn refuse_malformed(&self, error: &ValidationError) {
        self.shared.metrics.malformed(error);
        self.span.run(|| trace::event!(DEBUG, %error, "malformed message"));
        self.caller.reply(Frame::invalid_message(error));
    }

    fn dispatch(&mut self, message: &ClientMessage<'_>) {
        self.caller.charge_work(budget::MESSAGE);
        // The codec accepts empty names, as all implementations do; this server refuses them.
        if message.request_id().is_empty() {
            let text = "requestId: Expected a non-empty string";
            return self.caller.reply(Frame::refuse(&uuid(), 400, text));
        }
        if message.event().is_empty() {
            return self.refuse(message, "event: Expected a non-empty string");
        }
        if message.channel_name().is_empty() {
            return self.refuse(message, "channelName: Expected a non-empty string");
        }
        if message.channel_name().len() > self.shared.limits.name_bytes {
            return self.refuse(message, "channelName: Expected a shorter string");
        }
        match message.action() {
            ClientAction::JoinChannel => self.join(message),
            ClientAction::LeaveChannel => self.leave(message),
            ClientAction::Broadcast => self.event(message),
        }
    }

    /// Refuses a message: after what its channel was sent before, if the user is a member.
    fn refuse(&self, message: &ClientMessage<'_>, text: &str) {
        let frame = Frame::refuse(message.request_id(), 400, text);
        match self.joined(message.channel_name()) {
            Some(joined) => joined.place.answer(&self.caller, frame),
            None => self.caller.reply(frame),
        }
    }

    fn join(&mut self, message: &ClientMessage<'_>) {
        let (channel, request_id) = (message.channel_name(), message.request_id());
        self.joined.0.retain(|joined| joined.place.token.is_member());
        let decline = |code, text| {
            self.caller.reply(Frame::unauthorized(channel, request_id, code, text));
        };
        let (caller, endpoint) = (Arc::clone(&self.caller), Arc::clone(&self.endpoint));
        let OpenEndpoint { route, channels } = &*endpoint;
        let mut found = None;
        let mut routes = route.channels.iter();
        let Some(route) = routes.find(|route| {
            found = route.matches(channel);
            found.is_some()
        }) else {
            return decline(404, "No such channel");
        };
        let most = self.shared.limits.channels;
        if self.joined.0.len() >= most && self.joined(channel).is_none() {
            return decline(429, "Too many channels");
        }
        let answer = Arc::new(JoinAnswer::default());
        // Taken up in any case, also if the handler panics.
        self.joining = Some((Arc::clone(&answer), Arc::clone(route)));
        let hooks = Arc::clone(route) as Arc<dyn Hooks>;
        let join = Join::new(
            JoinRequest { caller: &caller, channels, hooks, params: Params::of(&found) },
            message,
            Arc::clone(&answer),
        );
        let answerer = join.answerer();
        let span = Span::handler(channel, "join");
        match &route.on_join {
            OnJoin::Plain(handler) => {
                answerer.finish(span.run(|| handler(&join)));
                self.sent_to = answer.channel().and_then(|channel| self.if_ahead(&channel));
                self.settle();
            }
            OnJoin::Async(handler) => {
                let working = handler(join.into_owned());
                let working = async move { answerer.finish(working.await) };
                self.working = Some(span.wrap(Box::pin(working)));
            }
        }
    }

    /// Leaves a channel. The leave is always acknowledged: the client has already closed the channel.
    fn leave(&mut self, message: &ClientMessage<'_>) {
        let (channel, request_id) = (message.channel_name(), message.request_id());
        let last = Frame::exit_acknowledge(channel, request_id);
        let has_left = match self.joined.remove(channel, self.shared.names.hash_one(channel)) {
            Some(place) => self.leave_channel(&place, Some(last.clone()), LeaveReason::Left),
            None => false,
        };
        if !has_left {
            self.caller.reply(last);
        }
    }

    /// Leaves a channel, which sends a last frame; `false` if the user was not a member.
    fn leave_channel(&mut self, place: &Place, last: Option<Frame>, reason: LeaveReason) -> bool {
        let (caller, channel) = (&self.caller, &place.channel);
        if channel.member(&caller.id).is_some_and(|member| member.is_present()) {
            caller.charge_work(channel.presence_work());
        }
        let has_left = channel.remove(&caller.id, last, reason);
        self.sent_to = self.if_ahead(channel);
        has_left
    }

    fn event(&mut self, message: &ClientMessage<'_>) {
        (self.sent_to, self.working) = self.handle(message);
    }

    /// Calls an event's handler. Returns the channel if that is ahead of the writers now, or will be looked at once
    /// the asynchronous handler, which is returned too, has ended.
    fn handle(
        &self,
        message: &ClientMessage<'_>,
    ) -> (Option<Arc<OpenChannel>>, Option<Working<()>>) {
        let (name, request_id) = (message.channel_name(), message.request_id());
        let joined = self.joined(name).filter(|joined| joined.place.token.is_member());
        let Some(JoinedChannel { place, route, .. }) = joined else {
            self.caller.reply(Frame::not_found(name, request_id, "Channel not joined"));
            return (None, None);
        };
        let mut found = None;
        let Some(handler) = route.handler(message.event(), &mut found) else {
            let text = "No handler for this event";
            place.answer(&self.caller, Frame::not_found(name, request_id, text));
            return (None, None);
        };
        place.channel.note_use();
        let event = Event::new(&self.caller, place, message, Params::of(&found));
        let span = Span::handler(name, message.event());
        match handler {
            OnEvent::Plain(handler) => {
                if let Err(error) = span.run(|| handler(&event)) {
                    event.fail(error);
                }
                (self.if_ahead(&place.channel), None)
            }
            OnEvent::Async(handler) => {
                (Some(Arc::clone(&place.channel)), Some(span.wrap(handler(event.into_owned()))))
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let span = self.span.clone();
        span.run(|| {
            self.settle();
            for joined in std::mem::take(&mut self.joined).0 {
                self.leave_channel(&joined.place, None, LeaveReason::Disconnected);
            }
            trace::event!(DEBUG, "disconnected");
        });
    }
}

/// What a client's next message waits for; see [`Session::take_wait`].
pub(crate) struct Wait {
    working: Option<Working<()>>,
    channel: Option<Arc<OpenChannel>>,
    seat: Seat,
    liveness: Arc<Liveness>,
    backlog: Arc<Backlog>,
    span: Span,
}

/// Whether the writers have not sent all that came before, and the channel adds much to it.
fn has_backlog(channel: &OpenChannel, backlog: &Backlog) -> bool {
    channel.has_large_rounds() && backlog.exists()
}

/// Whether so much waits for the writer that is for this client alone that it must wait, too.
fn has_many_answers(seat: &Seat) -> bool {
    let (frames, bytes) = seat.unread();
    frames > MOST_ANSWERS.0 || bytes > MOST_ANSWERS.1
}

impl Wait {
    /// Waits until the handler has ended, and until the writers have read enough. Dropped before, it ends the handler
    /// where that waits.
    ///
    /// # Errors
    /// The handler panicked.
    pub(crate) async fn over(mut self) -> Result<(), ReceiveError> {
        if let Some(working) = self.working.take() {
            let _busy = self.liveness.busy();
            caught(working).await.map_err(|_| {
                self.span.run(|| trace::event!(ERROR, "a handler panicked"));
                ReceiveError::Panicked
            })?;
        }
        let mut looks = 0;
        let mut is_ahead = || {
            // Others may keep a backlog for as long as they like.
            looks += 1;
            self.channel.as_ref().is_some_and(|channel| {
                channel.is_ahead() || looks < MOST_LOOKS && has_backlog(channel, &self.backlog)
            }) || has_many_answers(&self.seat)
        };
        while is_ahead() && self.seat.closed().is_none() {
            sleep(Duration::from_millis(1)).await;
            // It is the server that does not read its pongs.
            self.liveness.saw_traffic();
        }
        Ok(())
    }
}
