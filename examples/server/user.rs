//! What the messages of one client mean: joins, leaves and events, and the answers to them.

use std::sync::Arc;

use ahash::HashMap;
use bytes::Bytes;
use pondwire::{ClientAction, ClientMessage, Frame, Limits, uuid};

use super::Server;
use super::outbox::Outbox;
use super::room::{Member, Room, UserId};

/// How long a channel's name may be, in bytes: it is kept for as long as the channel.
const MAX_NAME: usize = 256;

/// How many channels a connection may be in.
const MAX_CHANNELS: usize = 128;

/// A connected client. Dropping it leaves all its channels.
pub(crate) struct User {
    id: UserId,
    outbox: Outbox,
    server: Arc<Server>,
    /// The channels it joined, by name. It may have been evicted since: the room knows.
    joined: HashMap<String, Arc<Room>>,
}

impl User {
    /// A new user, greeted by `CONNECT`: some clients send nothing before it.
    pub(crate) fn connect(server: Arc<Server>, outbox: Outbox) -> Self {
        let id = UserId::from(&*uuid());
        outbox.send(Frame::connect(&uuid(), &id, &id));
        Self { id, outbox, server, joined: HashMap::default() }
    }

    /// Does what a received frame asks for. A bad frame is answered and does no harm.
    pub(crate) fn receive(&mut self, frame: &Bytes) {
        let message = match ClientMessage::parse(frame) {
            Ok(message) => message,
            Err(error) => return self.outbox.send(Frame::invalid_message(&error)),
        };
        // The codec lets empty names pass, as all implementations do; a server has no use for them.
        if message.request_id().is_empty() {
            return self.outbox.send(Frame::refuse(
                &uuid(),
                400,
                "requestId: Expected a non-empty string",
            ));
        }
        if message.event().is_empty() {
            return self.refuse(&message, "event: Expected a non-empty string");
        }
        if message.channel_name().is_empty() {
            return self.refuse(&message, "channelName: Expected a non-empty string");
        }
        if message.channel_name().len() > MAX_NAME {
            return self.refuse(&message, "channelName: Expected a shorter string");
        }
        match message.action() {
            ClientAction::JoinChannel => self.join(&message),
            ClientAction::LeaveChannel => self.leave(&message),
            ClientAction::Broadcast => self.event(&message, frame),
        }
    }

    /// Refuses a message that the connection's limit kept from being read.
    pub(crate) fn refuse_oversize(&self) {
        self.outbox.send(Frame::invalid_message(&Limits::default().too_large()));
    }

    fn refuse(&self, message: &ClientMessage<'_>, text: &str) {
        self.outbox.send(Frame::refuse(message.request_id(), 400, text));
    }

    fn join(&mut self, message: &ClientMessage<'_>) {
        let (channel, request_id) = (message.channel_name(), message.request_id());
        let decline = |code, text| {
            self.outbox.send(Frame::unauthorized(channel, request_id, code, text));
        };
        if !is_chat(channel) {
            return decline(404, "No such channel");
        }
        if self.joined.len() >= MAX_CHANNELS && !self.joined.contains_key(channel) {
            return decline(429, "Too many channels");
        }
        let deny = message.payload().get("deny");
        if deny.is_some_and(|deny| !deny.is_null() && deny.as_bool() != Some(false)) {
            return decline(403, "Join declined");
        }
        let room = self.server.rooms.join(channel, &self.id, &self.outbox, request_id);
        self.joined.insert(channel.to_owned(), room);
    }

    /// Is acknowledged in any case: for the client the channel is closed already.
    fn leave(&mut self, message: &ClientMessage<'_>) {
        let (channel, request_id) = (message.channel_name(), message.request_id());
        if let Some(room) = self.joined.remove(channel) {
            self.leave_room(&room);
        }
        self.outbox.send(Frame::exit_acknowledge(channel, request_id));
    }

    fn leave_room(&self, room: &Arc<Room>) {
        if let Some(member) = room.member(&self.id) {
            member.leave();
            self.server.rooms.close_if_empty(room);
        }
    }

    fn event(&self, message: &ClientMessage<'_>, frame: &Bytes) {
        let (channel, request_id) = (message.channel_name(), message.request_id());
        let room = self.joined.get(channel);
        let Some((room, mut member)) = room.and_then(|room| Some((room, room.member(&self.id)?)))
        else {
            return self.outbox.send(Frame::not_found(channel, request_id, "Channel not joined"));
        };
        match message.event() {
            "echo" => {
                self.outbox.send(Frame::reply(channel, "echo", request_id, message.payload()));
            }
            "track" => self.track(member, frame),
            "update" | "untrack" if !member.is_present() => self.refuse(message, "Not tracked"),
            "update" => self.track(member, frame),
            "untrack" => member.untrack(),
            "evict" => self.evict(room, member, message),
            event => {
                member.broadcast(&Frame::broadcast(channel, event, &uuid(), message.payload()));
            }
        }
    }

    /// A second `track` is an `update`. The presence is kept as the text it was sent in, in
    /// memory of its own: the received bytes are a part of the connection's read buffer.
    fn track(&self, mut member: Member<'_>, frame: &Bytes) {
        match ClientMessage::parse_owned(frame.clone(), Limits::default()) {
            Ok(message) => member.track(message.detach()),
            Err(error) => self.outbox.send(Frame::invalid_message(&error)),
        }
    }

    /// Evicts the user with the payload's `id`, or the sender when there is none.
    fn evict(&self, room: &Arc<Room>, mut member: Member<'_>, message: &ClientMessage<'_>) {
        let payload = message.payload();
        let reason = payload.get("reason").and_then(|reason| reason.as_str()).unwrap_or_default();
        let evicted = match payload.get("id") {
            None => member.evict(&self.id, &reason),
            Some(id) => id.as_str().is_some_and(|id| member.evict(&id, &reason)),
        };
        // Releases the room, which must not be locked when the table of rooms is.
        drop(member);
        if evicted {
            self.server.rooms.close_if_empty(room);
        } else {
            let (channel, request_id) = (message.channel_name(), message.request_id());
            self.outbox.send(Frame::not_found(channel, request_id, "No such user"));
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        for (_, room) in std::mem::take(&mut self.joined) {
            self.leave_room(&room);
        }
    }
}

/// Whether this is a `/chat/:id`.
fn is_chat(channel: &str) -> bool {
    channel.strip_prefix("/chat/").is_some_and(|id| !id.is_empty() && !id.contains('/'))
}
