//! The session of one client: carries out its messages and answers them, whichever transport they arrive
//! over.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use pondwire::protocol::Recipients;
use pondwire::room::Seat;
use pondwire::{ClientAction, ClientMessage, Frame, Limits, Payload, ValidationError, uuid};
use tokio::time::sleep;

use crate::budget;
use crate::channel::{Channel, Joined, Member, MemberToken, UserId, deflates, prepare};
use crate::channels::Channels;
use crate::keepalive::Liveness;
use crate::metrics::{Counted, Metrics};
use crate::options::Options;
use crate::rate_limit::{Decision, Rate, RateLimiter};
use crate::simulation::{MOST, Simulation, Simulations};

/// The largest presence, and the largest assigns, in bytes. Small, because every member's presence is sent
/// to every member.
const MAX_PRESENCE: usize = 4096;

/// The most recipient ids that one event may name: each is looked up separately.
const MAX_RECIPIENTS: usize = 1024;

/// The limits of each session; see [`Options`].
struct SessionLimits {
    message_rate: Option<Rate>,
    byte_rate: Option<Rate>,
    channels: usize,
    message: Limits,
    name_bytes: usize,
    presence_bytes: usize,
}

/// The most answers, and their bytes, that may wait for the writer when a client's next message is received.
const MOST_ANSWERS: (usize, usize) = (64, 1 << 20);

/// Opens sessions, and holds the parts of the server that they share.
pub(crate) struct Sessions {
    channels: Arc<Channels>,
    metrics: Arc<Metrics>,
    simulations: Arc<Simulations>,
    limits: SessionLimits,
    /// Hashes channel names.
    names: RandomState,
}

impl Sessions {
    pub(crate) fn new(
        channels: Arc<Channels>,
        metrics: Arc<Metrics>,
        simulations: Arc<Simulations>,
        options: &Options,
    ) -> Self {
        let limits = SessionLimits {
            message_rate: options.message_rate,
            byte_rate: options.byte_rate,
            channels: options.channels,
            message: options.limits,
            name_bytes: options.name_bytes,
            presence_bytes: options.presence_bytes,
        };
        Self { channels, metrics, simulations, limits, names: RandomState::new() }
    }

    /// Opens a session for a new user, whose connection has this seat.
    pub(crate) fn open(self: &Arc<Self>, seat: Seat) -> Session {
        let SessionLimits { message_rate, byte_rate, .. } = self.limits;
        Session {
            id: UserId::from(&*uuid()),
            connection_id: Arc::from(&*uuid()),
            seat,
            shared: Arc::clone(self),
            joined: JoinedChannels::default(),
            simulation: None,
            rate_limiter: RateLimiter::new(message_rate, byte_rate, Instant::now()),
            work: 0,
            answers: Cell::new(0),
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
    id: UserId,
    connection_id: Arc<str>,
    seat: Seat,
    shared: Arc<Sessions>,
    joined: JoinedChannels,
    simulation: Option<Simulation>,
    rate_limiter: RateLimiter,
    /// The work that the client's messages have caused since the last [`take_work`](Self::take_work).
    work: usize,
    /// That of answers to them.
    answers: Cell<usize>,
    /// The channel that the last message was sent to, if that is ahead of the writers.
    sent_to: Option<Arc<Channel>>,
    liveness: Arc<Liveness>,
}

/// The channels that a user joined. Each token shows whether the user has been evicted since.
///
/// Most users are in few channels, and have no memory for more. They are found by a hash of the name.
#[derive(Default)]
struct JoinedChannels(Vec<(u64, Arc<Channel>, MemberToken)>);

impl JoinedChannels {
    fn place(&self, name: &str, hash: u64) -> Option<usize> {
        self.0.iter().position(|(other, channel, _)| *other == hash && channel.name() == name)
    }

    fn get(&self, name: &str, hash: u64) -> Option<(&Arc<Channel>, &MemberToken)> {
        let (_, channel, token) = &self.0[self.place(name, hash)?];
        Some((channel, token))
    }

    fn insert(&mut self, hash: u64, channel: Arc<Channel>, token: MemberToken) {
        self.remove(channel.name(), hash);
        self.0.push((hash, channel, token));
    }

    fn remove(&mut self, name: &str, hash: u64) -> Option<Arc<Channel>> {
        let place = self.place(name, hash)?;
        Some(self.0.swap_remove(place).1)
    }
}

impl Session {
    fn joined(&self, name: &str) -> Option<(&Arc<Channel>, &MemberToken)> {
        self.joined.get(name, self.shared.names.hash_one(name))
    }

    /// Sends `CONNECT`: some clients send nothing before it.
    pub(crate) fn greet(&self) {
        self.seat.push(Frame::connect(&uuid(), &self.id, &self.connection_id));
    }

    /// Counts the connection in the metrics until the returned value is dropped.
    pub(crate) fn counted(&self) -> Counted {
        self.shared.metrics.count()
    }

    /// The secret that authenticates this client's requests: 122 random bits, sent to this client only.
    pub(crate) fn connection_id(&self) -> &Arc<str> {
        &self.connection_id
    }

    pub(crate) const fn seat(&self) -> &Seat {
        &self.seat
    }

    pub(crate) fn liveness(&self) -> &Arc<Liveness> {
        &self.liveness
    }

    /// Sends a frame that belongs to no channel, or to one that the user is not a member of.
    fn reply(&self, frame: Frame) {
        self.charge_answer(prepare(&frame, deflates(&self.seat)));
        self.seat.push(frame);
    }

    /// Sends a member an answer.
    fn answer_to(&self, token: &MemberToken, frame: Frame) {
        self.charge_answer(token.answer(frame));
    }

    fn charge_answer(&self, work: usize) {
        self.answers.set(self.answers.get() + work);
    }

    /// Whether the client is ahead of the writers, with what it sent to a channel or is answered.
    pub(crate) fn must_wait(&self) -> bool {
        self.sent_to.is_some() || has_many_answers(&self.seat)
    }

    /// What the session waits for before it receives another message, if it [must](Self::must_wait).
    pub(crate) fn take_wait(&mut self) -> Option<Wait> {
        self.must_wait().then(|| Wait {
            channel: self.sent_to.take(),
            seat: self.seat.clone(),
            liveness: Arc::clone(&self.liveness),
        })
    }

    /// Carries out a received message. A message over the rate limit is answered with 429 instead.
    ///
    /// # Errors
    /// The message is invalid, or the connection must end.
    pub(crate) fn receive(&mut self, frame: &[u8]) -> Result<(), ReceiveError> {
        self.liveness.saw_message();
        self.shared.metrics.received(frame);
        match self.try_acquire(frame.len()) {
            Decision::Granted => {}
            Decision::Refused => {
                self.reply(Frame::refuse(&uuid(), 429, "Too many messages"));
                return Ok(());
            }
            Decision::Exhausted => return Err(ReceiveError::TooMany),
        }
        let limits = self.shared.limits.message;
        let message = ClientMessage::parse_with(frame, limits).map_err(ReceiveError::Malformed)?;
        // Unwind-safe: the locks are not poisoned by a panic, and the session is dropped after one.
        let dispatched = catch_unwind(AssertUnwindSafe(|| self.dispatch(&message)));
        dispatched.map_err(|_| ReceiveError::Panicked)
    }

    /// Charges a message or a control frame of `bytes` bytes to the client's rate limit.
    pub(crate) fn try_acquire(&mut self, bytes: usize) -> Decision {
        self.rate_limiter.try_acquire(bytes, Instant::now)
    }

    /// Returns and resets the work that the client's messages have caused since the last call, not counting
    /// their receipt, in the units of [`Budget`](budget::Budget).
    pub(crate) fn take_work(&mut self) -> usize {
        std::mem::take(&mut self.work) + self.answers.take()
    }

    /// Charges bytes that a message makes the server read or write as if the client had sent them.
    fn charge(&mut self, bytes: usize) {
        self.rate_limiter.charge(bytes);
        self.work += bytes;
    }

    /// Answers an invalid message.
    pub(crate) fn refuse_malformed(&self, error: &ValidationError) {
        self.shared.metrics.malformed(error);
        self.reply(Frame::invalid_message(error));
    }

    fn dispatch(&mut self, message: &ClientMessage<'_>) {
        self.work += budget::MESSAGE;
        // The codec accepts empty names, as all implementations do; this server refuses them.
        if message.request_id().is_empty() {
            return self.reply(Frame::refuse(
                &uuid(),
                400,
                "requestId: Expected a non-empty string",
            ));
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

    fn refuse(&self, message: &ClientMessage<'_>, text: &str) {
        self.answer(message, Frame::refuse(message.request_id(), 400, text));
    }

    /// Answers a message: after what its channel was sent before, if the user is a member.
    fn answer(&self, message: &ClientMessage<'_>, frame: Frame) {
        match self.joined(message.channel_name()) {
            Some((_, token)) if token.is_member() => self.answer_to(token, frame),
            _ => self.reply(frame),
        }
    }

    fn join(&mut self, message: &ClientMessage<'_>) {
        let (channel, request_id) = (message.channel_name(), message.request_id());
        self.joined.0.retain(|(_, _, token)| token.is_member());
        let decline = |code, text| {
            self.reply(Frame::unauthorized(channel, request_id, code, text));
        };
        if !is_chat(channel) {
            return decline(404, "No such channel");
        }
        let most = self.shared.limits.channels;
        if self.joined.0.len() >= most && self.joined(channel).is_none() {
            return decline(429, "Too many channels");
        }
        if is_set(message, "deny") {
            return decline(403, "Join declined");
        }
        let assigns = message.payload().get("assigns");
        let assigns = assigns.filter(|assigns| !assigns.is_null()).map_or("{}", |it| it.raw());
        let Some(assigns) = Payload::from_json(assigns).ok().filter(is_small) else {
            return decline(400, "assigns: Expected a smaller object");
        };
        let channels = &self.shared.channels;
        let (found, joined) = channels.join(channel, &self.id, &self.seat, request_id, assigns);
        let Joined::Member(token) = joined else {
            return channels.close_if_empty(&found);
        };
        if is_set(message, "last") {
            found.catch_up(&token);
        }
        self.sent_to = if_ahead(&found);
        self.joined.insert(self.shared.names.hash_one(channel), found, token);
    }

    /// Leaves a channel. The leave is always acknowledged: the client has already closed the channel.
    fn leave(&mut self, message: &ClientMessage<'_>) {
        let (channel, request_id) = (message.channel_name(), message.request_id());
        let mut last = Some(Frame::exit_acknowledge(channel, request_id));
        if let Some(channel) = self.joined.remove(channel, self.shared.names.hash_one(channel)) {
            last = self.leave_channel(&channel, last);
        }
        if let Some(last) = last {
            self.reply(last);
        }
    }

    /// Leaves a channel, which sends a last frame; returns that frame if the user was not a member.
    fn leave_channel(&mut self, channel: &Arc<Channel>, last: Option<Frame>) -> Option<Frame> {
        let Some(member) = channel.member(&self.id) else { return last };
        if member.is_present() {
            self.work += channel.presence_work();
        }
        member.leave(last);
        self.shared.channels.close_if_empty(channel);
        self.sent_to = if_ahead(channel);
        None
    }

    fn event(&mut self, message: &ClientMessage<'_>) {
        let (name, request_id) = (message.channel_name(), message.request_id());
        let Some((channel, token)) = self.joined(name) else {
            return self.not_joined(message);
        };
        match message.event() {
            _ if !token.is_member() => self.not_joined(message),
            "echo" => {
                self.answer_to(token, Frame::reply(name, "echo", request_id, message.payload()));
            }
            "track" | "update" | "untrack" | "assign" | "users" | "evict" => {
                let (channel, token) = (Arc::clone(channel), token.clone());
                let id = Arc::clone(&self.id);
                match channel.member(&id) {
                    Some(member) => self.change(&channel, &token, member, message),
                    None => self.not_joined(message),
                }
            }
            "simulate" => {
                let (channel, token) = (Arc::clone(channel), token.clone());
                self.simulate(&channel, token, message);
            }
            #[cfg(test)]
            "panic" => panic!("as requested"),
            event => {
                let Some(recipients) = recipients(event, message.payload()) else {
                    let text = format!("payload.ids: Expected at most {MAX_RECIPIENTS} ids");
                    return self.refuse(message, &text);
                };
                self.work += channel.send(&self.id, event, message.payload(), &recipients);
            }
        }
        if let Some((channel, _)) = self.joined(name) {
            self.sent_to = if_ahead(channel);
        }
    }

    /// Replaces the user's crowd by a new one of `viewers` members, with slow readers if `slow` is set.
    fn simulate(
        &mut self,
        channel: &Arc<Channel>,
        token: MemberToken,
        message: &ClientMessage<'_>,
    ) {
        let viewers = message.payload().get("viewers").and_then(|viewers| viewers.as_u64());
        let viewers = viewers.map_or(0, |viewers| viewers.min(MOST as u64) as usize);
        let slow = is_set(message, "slow");
        self.charge(viewers * budget::MESSAGE);
        // The old crowd leaves even if the new one is refused.
        self.simulation = None;
        let started = Simulation::start(&self.shared.simulations, channel, token, viewers, slow);
        if started.is_none() {
            self.answer(message, Frame::refuse(message.request_id(), 429, "Too many viewers"));
        }
        self.simulation = started;
    }

    fn not_joined(&self, message: &ClientMessage<'_>) {
        let (channel, request_id) = (message.channel_name(), message.request_id());
        self.reply(Frame::not_found(channel, request_id, "Channel not joined"));
    }

    /// Carries out an event that reads or changes the state of the channel.
    fn change(
        &mut self,
        channel: &Arc<Channel>,
        token: &MemberToken,
        mut member: Member<'_>,
        message: &ClientMessage<'_>,
    ) {
        match message.event() {
            "evict" => return self.evict(channel, member, message),
            "users" => {
                let users = member.users(message.request_id());
                drop(member);
                self.charge(users.json().len());
                return self.answer_to(token, users);
            }
            "track" | "update" | "assign" if !is_small(&message.payload()) => {
                return self.refuse(message, "payload: Expected a smaller object");
            }
            "assign" => return member.assign(message.payload()),
            "track" | "update" if !self.has_room(&member, message) => {
                return self.refuse(message, "Too many users are present");
            }
            // A second `track` is an `update`.
            "track" => member.track(message.payload()),
            _ if !member.is_present() => return self.refuse(message, "Not tracked"),
            "update" => member.track(message.payload()),
            _ => member.untrack(),
        }
        self.work += channel.presence_work();
    }

    fn has_room(&self, member: &Member<'_>, message: &ClientMessage<'_>) -> bool {
        member.has_room_for(message.payload(), self.shared.limits.presence_bytes)
    }

    /// Evicts the user with the payload's `id`, or the sender if the payload has no `id`.
    fn evict(
        &mut self,
        channel: &Arc<Channel>,
        mut member: Member<'_>,
        message: &ClientMessage<'_>,
    ) {
        let payload = message.payload();
        let reason = payload.get("reason").and_then(|reason| reason.as_str()).unwrap_or_default();
        let evicted = match payload.get("id") {
            None => member.evict(&self.id, &reason),
            Some(id) => id.as_str().is_some_and(|id| member.evict(&id, &reason)),
        };
        // Unlocks the channel: no channel may be locked when the table of channels is.
        drop(member);
        self.work += channel.presence_work();
        if evicted {
            self.shared.channels.close_if_empty(channel);
        } else {
            let (channel, request_id) = (message.channel_name(), message.request_id());
            self.answer(message, Frame::not_found(channel, request_id, "No such user"));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for (_, channel, _) in std::mem::take(&mut self.joined).0 {
            self.leave_channel(&channel, None);
        }
    }
}

/// What a client is ahead of; see [`Session::take_wait`].
pub(crate) struct Wait {
    channel: Option<Arc<Channel>>,
    seat: Seat,
    liveness: Arc<Liveness>,
}

fn if_ahead(channel: &Arc<Channel>) -> Option<Arc<Channel>> {
    channel.is_ahead().then(|| Arc::clone(channel))
}

/// Whether so much waits for the writer that is for this client alone that it must wait, too.
fn has_many_answers(seat: &Seat) -> bool {
    let (frames, bytes) = seat.unread();
    frames > MOST_ANSWERS.0 || bytes > MOST_ANSWERS.1
}

impl Wait {
    /// Waits until the writers have read enough. Cancel-safe.
    pub(crate) async fn over(&self) {
        let is_ahead = || {
            self.channel.as_ref().is_some_and(|channel| channel.is_ahead())
                || has_many_answers(&self.seat)
        };
        while is_ahead() && self.seat.closed().is_none() {
            sleep(Duration::from_millis(1)).await;
            // It is the server that does not read its pongs.
            self.liveness.saw_traffic();
        }
    }
}

/// Returns `true` if the payload has this key with a value other than `null` and `false`.
fn is_set(message: &ClientMessage<'_>, key: &str) -> bool {
    let value = message.payload().get(key);
    value.is_some_and(|value| !value.is_null() && value.as_bool() != Some(false))
}

fn is_small(object: &Payload<'_>) -> bool {
    object.as_str().len() <= MAX_PRESENCE
}

/// The recipients of an event that the server only relays; `None` if it names more than [`MAX_RECIPIENTS`].
/// Reads at most one id more than that.
fn recipients<'a>(event: &str, payload: Payload<'a>) -> Option<Recipients<'a>> {
    match event {
        "to-others" => Some(Recipients::AllExceptSender),
        "to-some" => {
            let ids = payload.get("ids").into_iter().flat_map(|ids| ids.elements());
            if ids.clone().nth(MAX_RECIPIENTS).is_some() {
                return None;
            }
            Some(Recipients::users(ids.filter_map(|id| id.as_str())))
        }
        _ => Some(Recipients::AllUsers),
    }
}

/// Returns `true` for a name of the form `/chat/:id`.
fn is_chat(channel: &str) -> bool {
    channel.strip_prefix("/chat/").is_some_and(|id| !id.is_empty() && !id.contains('/'))
}
