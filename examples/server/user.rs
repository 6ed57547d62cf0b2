//! What the messages of one client mean: joins, leaves and events, and the answers to them. It does
//! not know how they come and go.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use ahash::HashMap;
use pondwire::protocol::Recipients;
use pondwire::{
    ClientAction, ClientMessage, Frame, Outbox, OutboxReader, Payload, ValidationError, uuid,
};

use super::Server;
use super::allowance::{Allowance, Verdict};
use super::budget;
use super::channel::{Channel, Member, Seat, UserId, answer};
use super::pulse::Pulse;
use super::simulation::{MOST, Simulation};

/// How large a presence and assigns may be, in bytes: everybody's presence is sent to everybody.
const MAX_PRESENCE: usize = 4096;

/// The most ids that one event may be for: each is looked up on its own.
const MAX_RECIPIENTS: usize = 1024;

/// Why a message was not obeyed.
pub(crate) enum Failure {
    /// It is none, did no harm, and may be [refused](User::refuse_malformed).
    Malformed(ValidationError),
    /// The client goes on and on sending too much.
    TooMany,
    /// What it asked for panicked.
    Panicked,
}

/// A connected client. Dropping it leaves all its channels and ends its outbox, from which what
/// waits there can still be taken.
pub(crate) struct User {
    id: UserId,
    connection_id: Arc<str>,
    outbox: Outbox,
    server: Arc<Server>,
    /// The channels it joined, by name. It may have been evicted since: the seat knows.
    joined: HashMap<String, (Arc<Channel>, Seat)>,
    simulation: Option<Simulation>,
    allowance: Allowance,
    /// What its messages have made the server do since that was [taken](Self::take_work).
    work: usize,
    pulse: Arc<Pulse>,
}

impl User {
    /// A new user. All that it is to be sent comes out of the other end.
    pub(crate) fn connect(server: Arc<Server>) -> (Self, OutboxReader) {
        let options = &server.options;
        let allowance = Allowance::new(options.message_rate, options.byte_rate, Instant::now());
        let (outbox, queue) = Outbox::new(options.waiting);
        let (id, connection_id) = (UserId::from(&*uuid()), Arc::from(&*uuid()));
        let (joined, pulse) = (HashMap::default(), Arc::default());
        let user = Self {
            id,
            connection_id,
            outbox,
            server,
            joined,
            simulation: None,
            allowance,
            work: 0,
            pulse,
        };
        (user, queue)
    }

    /// Sends `CONNECT`: some clients send nothing before it.
    pub(crate) fn greet(&self) {
        self.outbox.reply(Frame::connect(&uuid(), &self.id, &self.connection_id));
    }

    /// Which others may know.
    pub(crate) fn id(&self) -> &UserId {
        &self.id
    }

    /// By which its requests are known to be its own. Nobody is told but the client, and nobody can
    /// guess it: it has 122 random bits.
    pub(crate) fn connection_id(&self) -> &Arc<str> {
        &self.connection_id
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    fn reply(&self, frame: Frame) {
        answer(&self.outbox, frame);
    }

    /// Does what a received frame asks for; one too many is answered so, and nothing else is done.
    ///
    /// # Errors
    /// It is no message, or the connection is to end.
    pub(crate) fn receive(&mut self, frame: &[u8]) -> Result<(), Failure> {
        self.pulse.spoke();
        self.server.metrics.received(frame);
        match self.spend(frame.len()) {
            Verdict::Granted => {}
            Verdict::Refused => {
                self.reply(Frame::refuse(&uuid(), 429, "Too many messages"));
                return Ok(());
            }
            Verdict::Exhausted => return Err(Failure::TooMany),
        }
        let limits = self.server.options.limits;
        let message = ClientMessage::parse_with(frame, limits).map_err(Failure::Malformed)?;
        // No lock is poisoned, and the user is dropped with what it holds.
        let obeyed = catch_unwind(AssertUnwindSafe(|| self.obey(&message)));
        obeyed.map_err(|_| Failure::Panicked)
    }

    /// Takes a message or a control frame of so many bytes from what the client may send.
    pub(crate) fn spend(&mut self, bytes: usize) -> Verdict {
        self.allowance.spend(bytes, Instant::now)
    }

    /// What its messages have made the server do since the last call, in the units of
    /// [`Budget`](budget::Budget), beside being received.
    pub(crate) fn take_work(&mut self) -> usize {
        std::mem::take(&mut self.work)
    }

    /// The client's message makes the server read or write so many bytes beside its own: they count
    /// as if it had sent them.
    fn charge(&mut self, bytes: usize) {
        self.allowance.charge(bytes);
        self.work += bytes;
    }

    /// Answers what was no message.
    pub(crate) fn refuse_malformed(&self, error: &ValidationError) {
        self.server.metrics.malformed(error);
        self.reply(Frame::invalid_message(error));
    }

    fn obey(&mut self, message: &ClientMessage<'_>) {
        self.work += budget::MESSAGE;
        // The codec lets empty names pass, as all implementations do; a server has no use for them.
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
        if message.channel_name().len() > self.server.options.name_bytes {
            return self.refuse(message, "channelName: Expected a shorter string");
        }
        match message.action() {
            ClientAction::JoinChannel => self.join(message),
            ClientAction::LeaveChannel => self.leave(message),
            ClientAction::Broadcast => self.event(message),
        }
    }

    fn refuse(&self, message: &ClientMessage<'_>, text: &str) {
        self.reply(Frame::refuse(message.request_id(), 400, text));
    }

    fn join(&mut self, message: &ClientMessage<'_>) {
        let (channel, request_id) = (message.channel_name(), message.request_id());
        self.joined.retain(|_, (_, seat)| seat.is_taken());
        let decline = |code, text| {
            self.reply(Frame::unauthorized(channel, request_id, code, text));
        };
        if !is_chat(channel) {
            return decline(404, "No such channel");
        }
        let most = self.server.options.channels;
        if self.joined.len() >= most && !self.joined.contains_key(channel) {
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
        let channels = &self.server.channels;
        let joined = channels.join(channel, &self.id, &self.outbox, request_id, assigns);
        if is_set(message, "last") {
            joined.0.catch_up(&self.outbox);
        }
        self.joined.insert(channel.to_owned(), joined);
    }

    /// Is acknowledged in any case: for the client the channel is closed already.
    fn leave(&mut self, message: &ClientMessage<'_>) {
        let (channel, request_id) = (message.channel_name(), message.request_id());
        if let Some((channel, _)) = self.joined.remove(channel) {
            self.leave_channel(&channel);
        }
        self.reply(Frame::exit_acknowledge(channel, request_id));
    }

    fn leave_channel(&mut self, channel: &Arc<Channel>) {
        if let Some(member) = channel.member(&self.id) {
            if member.is_present() {
                self.work += channel.presence_work();
            }
            member.leave();
            self.server.channels.close_if_empty(channel);
        }
    }

    fn event(&mut self, message: &ClientMessage<'_>) {
        let (name, request_id) = (message.channel_name(), message.request_id());
        let Some((channel, seat)) = self.joined.get(name) else {
            return self.not_joined(message);
        };
        match message.event() {
            _ if !seat.is_taken() => self.not_joined(message),
            "echo" => {
                self.reply(Frame::reply(name, "echo", request_id, message.payload()));
            }
            "track" | "update" | "untrack" | "assign" | "users" | "evict" => {
                let channel = Arc::clone(channel);
                let id = Arc::clone(&self.id);
                match channel.member(&id) {
                    Some(member) => self.change(&channel, member, message),
                    None => self.not_joined(message),
                }
            }
            "simulate" => {
                let (channel, seat) = (Arc::clone(channel), seat.clone());
                self.simulate(&channel, seat, message);
            }
            #[cfg(test)]
            "panic" => panic!("as was asked for"),
            event => {
                let Some(receivers) = receivers(event, message.payload()) else {
                    let text = format!("payload.ids: Expected at most {MAX_RECIPIENTS} ids");
                    return self.refuse(message, &text);
                };
                let recipients = channel.send(&self.id, event, message.payload(), &receivers);
                self.work += message.payload().as_str().len() + recipients * budget::PUSH;
            }
        }
    }

    /// Replaces the user's crowd by one of the payload's `viewers`, with slow readers if it says so.
    fn simulate(&mut self, channel: &Arc<Channel>, seat: Seat, message: &ClientMessage<'_>) {
        let viewers = message.payload().get("viewers").and_then(|viewers| viewers.as_u64());
        let viewers = viewers.map_or(0, |viewers| viewers.min(MOST as u64) as usize);
        let slow = is_set(message, "slow");
        let told = self.outbox.clone();
        self.charge(viewers * budget::MESSAGE);
        // The old one goes in any case.
        self.simulation = None;
        let started = Simulation::start(&self.server, channel, seat, viewers, slow, told);
        if started.is_none() {
            self.reply(Frame::refuse(message.request_id(), 429, "Too many viewers"));
        }
        self.simulation = started;
    }

    fn not_joined(&self, message: &ClientMessage<'_>) {
        let (channel, request_id) = (message.channel_name(), message.request_id());
        self.reply(Frame::not_found(channel, request_id, "Channel not joined"));
    }

    /// An event that asks for the state of the channel, or changes it.
    fn change(
        &mut self,
        channel: &Arc<Channel>,
        mut member: Member<'_>,
        message: &ClientMessage<'_>,
    ) {
        match message.event() {
            "evict" => return self.evict(channel, member, message),
            "users" => {
                let users = member.users(message.request_id());
                drop(member);
                self.charge(users.json().len());
                return self.reply(users);
            }
            "track" | "update" | "assign" if !is_small(&message.payload()) => {
                return self.refuse(message, "payload: Expected a smaller object");
            }
            "assign" => return member.assign(message.payload()),
            "track" | "update" if !self.has_room(&member, message) => {
                return self.refuse(message, "Too many are present");
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
        member.has_room_for(message.payload(), self.server.options.presence_bytes)
    }

    /// Evicts the user with the payload's `id`, or the sender when there is none.
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
        // Releases the channel, which must not be locked when the table of channels is.
        drop(member);
        self.work += channel.presence_work();
        if evicted {
            self.server.channels.close_if_empty(channel);
        } else {
            let (channel, request_id) = (message.channel_name(), message.request_id());
            self.reply(Frame::not_found(channel, request_id, "No such user"));
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        for (channel, _) in std::mem::take(&mut self.joined).into_values() {
            self.leave_channel(&channel);
        }
        self.outbox.close();
    }
}

/// Whether the payload has this key, with anything but `null` and `false`.
fn is_set(message: &ClientMessage<'_>, key: &str) -> bool {
    let value = message.payload().get(key);
    value.is_some_and(|value| !value.is_null() && value.as_bool() != Some(false))
}

fn is_small(object: &Payload<'_>) -> bool {
    object.as_str().len() <= MAX_PRESENCE
}

/// The recipients of an event that the server knows nothing else of; `None` when there are more than
/// [`MAX_RECIPIENTS`], of which it looks at no more.
fn receivers<'a>(event: &str, payload: Payload<'a>) -> Option<Recipients<'a>> {
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

/// Whether this is a `/chat/:id`.
fn is_chat(channel: &str) -> bool {
    channel.strip_prefix("/chat/").is_some_and(|id| !id.is_empty() && !id.contains('/'))
}
