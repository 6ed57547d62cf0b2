//! The client whose message a handler handles, and what it may do in a channel.

use std::collections::HashSet;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pondwire::error::PondError;
use pondwire::payload::OwnedPayload;
use pondwire::protocol::Recipients;
use pondwire::room::Seat;
use pondwire::{Frame, Payload};
use sha1_smol::Sha1;

use crate::channel::{
    Assigns, CLASSES, MemberToken, OpenChannel, Untracked, UserId, deflates, prepare,
};
use crate::content::{Content, UNLIMITED};
use crate::memory::UserMemory;

/// The largest presence in bytes. Small, because every member's presence is sent to every member.
const MAX_PRESENCE: usize = 4096;

/// The most bytes of a user's assigns.
const MAX_ASSIGNS: usize = 64 << 10;

/// A value that is borrowed while a plain handler runs, and owned by an asynchronous one.
pub(crate) enum Held<'a, T> {
    Borrowed(&'a T),
    Owned(T),
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Self::Borrowed(value) => value,
            Self::Owned(value) => value,
        }
    }
}

impl<T: Clone> Held<'_, T> {
    pub(crate) fn into_owned(self) -> Held<'static, T> {
        Held::Owned(match self {
            Self::Borrowed(value) => value.clone(),
            Self::Owned(value) => value,
        })
    }
}

/// A payload that is borrowed while a plain handler runs, and owned by an asynchronous one.
pub(crate) enum HeldPayload<'a> {
    Borrowed(Payload<'a>),
    Owned(OwnedPayload),
}

impl HeldPayload<'_> {
    #[inline]
    pub(crate) const fn view(&self) -> Payload<'_> {
        match self {
            Self::Borrowed(payload) => *payload,
            Self::Owned(payload) => payload.view(),
        }
    }

    pub(crate) fn into_owned(self) -> HeldPayload<'static> {
        HeldPayload::Owned(match self {
            Self::Borrowed(payload) => payload.into(),
            Self::Owned(payload) => payload,
        })
    }
}

/// The id of the user of a connection: one that others cannot find the connection's secret id from, and that a client
/// which comes back can prove to have had by that secret, on any node.
pub(crate) fn user_id_of(connection_id: &str) -> UserId {
    let mut hash = Sha1::new();
    hash.update(b"pondwire user ");
    hash.update(connection_id.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.digest().bytes()[..16]);
    // As a name-based UUID's.
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-").into()
}

/// A connected client, as its session and the handlers of its messages share it.
pub(crate) struct Caller {
    pub(crate) id: UserId,
    pub(crate) connection_id: Arc<str>,
    pub(crate) seat: Seat,
    /// What the endpoint's handler accepted the connection with.
    pub(crate) assigns: Assigns,
    /// Counts these.
    _memory: UserMemory,
    /// The work that the client has caused since it was last taken, in the units of [`budget`](crate::budget).
    work: AtomicUsize,
    /// The bytes that the client has not sent but must pay for.
    bytes: AtomicUsize,
}

/// Adds without a locked instruction. Only asynchronous handlers that run on after their end can do so at the same
/// time as another, and then one of the two counts may be lost.
fn add(counter: &AtomicUsize, count: usize) {
    counter.store(counter.load(Ordering::Relaxed).saturating_add(count), Ordering::Relaxed);
}

fn take(counter: &AtomicUsize) -> usize {
    let count = counter.load(Ordering::Relaxed);
    if count != 0 {
        counter.store(0, Ordering::Relaxed);
    }
    count
}

impl Caller {
    pub(crate) const fn new(
        id: UserId,
        connection_id: Arc<str>,
        seat: Seat,
        assigns: Assigns,
        memory: UserMemory,
    ) -> Self {
        let (work, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { id, connection_id, seat, assigns, _memory: memory, work, bytes }
    }

    #[inline]
    pub(crate) fn charge_work(&self, work: usize) {
        add(&self.work, work);
    }

    /// Charges bytes as if the client had sent them.
    pub(crate) fn charge_bytes(&self, bytes: usize) {
        add(&self.bytes, bytes);
        add(&self.work, bytes);
    }

    pub(crate) fn take_work(&self) -> usize {
        take(&self.work)
    }

    pub(crate) fn take_bytes(&self) -> usize {
        take(&self.bytes)
    }

    /// Sends a frame that belongs to no channel, or to one that the user is not a member of.
    pub(crate) fn reply(&self, frame: Frame) {
        self.charge_work(prepare(&frame, deflates(&self.seat)));
        self.seat.push(frame);
    }
}

/// A place in a channel.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) channel: Arc<OpenChannel>,
    pub(crate) token: MemberToken,
}

impl Place {
    /// Sends a frame to the member: after what the channel was sent before, or without an order once the user is
    /// no member any more.
    pub(crate) fn answer(&self, caller: &Caller, frame: Frame) {
        if self.token.is_member() {
            caller.charge_work(self.token.answer(frame));
        } else {
            caller.reply(frame);
        }
    }
}

/// A client in a channel that it is a member of.
#[derive(Clone, Copy)]
pub(crate) struct Actor<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) place: &'a Place,
}

impl Actor<'_> {
    pub(crate) fn reply(
        self,
        event: &str,
        request_id: &str,
        content: impl Content,
    ) -> Result<(), PondError> {
        let name = self.place.channel.name();
        let frame = content.with(|payload| Frame::reply(name, event, request_id, payload))?;
        self.place.answer(self.caller, frame);
        Ok(())
    }

    #[inline]
    pub(crate) fn send(
        self,
        event: &str,
        content: impl Content,
        recipients: &Recipients<'_>,
    ) -> Result<(), PondError> {
        let Self { caller, place } = self;
        let send =
            |payload: Payload<'_>| place.channel.send(&caller.id, event, payload, recipients);
        caller.charge_work(content.with(send)?);
        Ok(())
    }

    pub(crate) fn track(
        self,
        content: impl Content,
        must_be_present: bool,
    ) -> Result<(), PondError> {
        let channel = &self.place.channel;
        let tracked = content.with(|presence| {
            if presence.as_str().len() > MAX_PRESENCE {
                let name = channel.name();
                return Err(PondError::bad_request(name, "payload: Expected a smaller object"));
            }
            let mut member = channel.member(&self.caller.id).ok_or_else(|| self.no_member())?;
            if must_be_present && !member.is_present() {
                return Err(self.untracked(Untracked::NotTracked));
            }
            member.track(presence).map_err(|why| self.untracked(why))
        })?;
        self.caller.charge_work(channel.presence_work());
        tracked
    }

    pub(crate) fn untrack(self) -> Result<(), PondError> {
        let channel = &self.place.channel;
        let mut member = channel.member(&self.caller.id).ok_or_else(|| self.no_member())?;
        member.untrack().map_err(|why| self.untracked(why))?;
        self.caller.charge_work(channel.presence_work());
        Ok(())
    }

    fn untracked(self, why: Untracked) -> PondError {
        let name = self.place.channel.name();
        match why {
            Untracked::NoMember => self.no_member(),
            Untracked::NotTracked => PondError::bad_request(name, "Not tracked"),
            Untracked::ListTooLong => PondError::bad_request(name, "Too many users are present"),
            Untracked::NoMemory => PondError::unavailable(name, "No memory for this presence"),
        }
    }

    fn no_member(self) -> PondError {
        PondError::not_found(self.place.channel.name(), "Channel not joined")
    }

    pub(crate) fn assign(self, content: impl Content, is_whole: bool) -> Result<(), PondError> {
        let set = |payload: Payload<'_>| {
            self.place.channel.set_assigns(&self.caller.id, |old| match is_whole {
                true => owned(payload),
                false => merged(old, payload),
            })
        };
        if content.with(set)?? { Ok(()) } else { Err(self.no_member()) }
    }

    pub(crate) fn set_class(self, class: u32) -> Result<(), PondError> {
        let class = checked_class(class)?;
        let mut member =
            self.place.channel.member(&self.caller.id).ok_or_else(|| self.no_member())?;
        member.set_class(class);
        Ok(())
    }

    pub(crate) fn evict(self, user: &str, reason: &str) -> bool {
        let evicted = self.place.channel.evict(user, reason);
        self.caller.charge_work(self.place.channel.presence_work());
        evicted
    }
}

/// # Errors
/// There is no such class: code 500.
pub(crate) fn checked_class(class: u32) -> Result<u32, PondError> {
    let error = || PondError::internal("", format!("class {class}: expected 0 to {}", CLASSES - 1));
    Some(class).filter(|class| *class < CLASSES).ok_or_else(error)
}

/// Assigns of these members.
///
/// # Errors
/// They are larger than [`MAX_ASSIGNS`]: code 400.
pub(crate) fn owned(payload: Payload<'_>) -> Result<Assigns, PondError> {
    if payload.as_str().len() > MAX_ASSIGNS {
        return Err(PondError::bad_request("", "assigns: Expected a smaller object"));
    }
    Ok(payload.members().next().is_some().then(|| Arc::new(payload.into())))
}

/// The members of `old` with those of `new` added or set. A client may have chosen the keys, so each is found by its
/// hash.
///
/// # Errors
/// As [`owned`].
pub(crate) fn merged(old: &Assigns, new: Payload<'_>) -> Result<Assigns, PondError> {
    let fits = new.as_str().len() <= MAX_ASSIGNS;
    let Some(old) = old.as_ref().filter(|_| fits) else { return owned(new) };
    let set: HashSet<_> = new.members().map(|(key, _)| key).collect();
    let kept = old.view().members().filter(|(key, _)| !set.contains(key));
    let mut json = String::from("{");
    for (key, value) in kept.chain(new.members()) {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&serde_json::Value::from(&*key).to_string());
        json.push(':');
        json.push_str(value.raw());
    }
    json.push('}');
    owned(Payload::from_json_with(&json, UNLIMITED).expect("members of objects make an object"))
}

/// The frame by which a client hears that its message could not be carried out.
pub(crate) fn failure(channel: &str, request_id: &str, error: PondError) -> Frame {
    match error.code() {
        400 => Frame::refuse(request_id, 400, error.message()),
        404 => Frame::not_found(channel, request_id, error.message()),
        _ if error.channel_name().is_empty() => {
            Frame::error(&error.in_channel(channel), request_id)
        }
        _ => Frame::error(&error, request_id),
    }
}

#[cfg(test)]
mod tests {
    use pondwire::Payload;

    use super::{merged, owned, user_id_of};

    #[test]
    fn a_user_id_is_made_of_the_connections() {
        let [one, two] = ["c-1", "c-2"].map(user_id_of);
        assert!(one == user_id_of("c-1") && one != two);
        // The start of what `sha1sum` says, with the version and the variant of a UUID.
        assert_eq!(&*one, "65767f7e-53c2-5caa-b5b1-1cea5d3e98d8");
    }

    #[test]
    fn assigns_are_merged_without_a_change_of_their_values() {
        let json = |text| Payload::from_json(text).unwrap();
        let old = owned(json(r#"{"a":1,"b\n":[12345678901234567890123],"c":"\ud800"}"#)).unwrap();
        let both = merged(&old, json(r#"{"a":{"x":1.10},"d":null}"#)).unwrap().unwrap();
        let text = r#"{"b\n":[12345678901234567890123],"c":"\ud800","a":{"x":1.10},"d":null}"#;
        assert_eq!(both.view().as_str(), text);
        assert_eq!(
            merged(&old, Payload::EMPTY).unwrap().unwrap().view().get("a").unwrap().as_i64(),
            Some(1)
        );
        assert!(merged(&None, Payload::EMPTY).unwrap().is_none());
        assert!(owned(json("{ }")).unwrap().is_none());
    }

    #[test]
    fn assigns_are_bounded_however_they_grow() {
        let text = |first: usize, count: usize| {
            let members = (first..first + count).map(|key| format!("\"{key:05}\":1"));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        };
        let add = |old, text: &str| merged(old, Payload::from_json(text).unwrap());
        let half = add(&None, &text(0, 3000)).unwrap();
        let all = add(&half, &text(3000, 3000)).unwrap();
        assert_eq!(all.as_ref().unwrap().view().members().count(), 6000);
        for refused in [text(0, 8000), text(6000, 3000)] {
            assert_eq!(add(&all, &refused).unwrap_err().code(), 400);
        }
        assert_eq!(add(&None, &text(0, 8000)).unwrap_err().code(), 400);
        // The same keys again take no more space.
        assert_eq!(add(&all, &text(0, 6000)).unwrap(), all);
    }
}
