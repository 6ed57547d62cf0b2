//! The application of the example server: a chat whose events show what handlers can do. The tests of the crate run
//! it, too.
//!
//! Its endpoint is `/api/socket`, and its channels are `/chat/:id`; a join with `{"deny":true}` is declined, one with
//! `{"assigns":{…}}` sets the user's assigns, and one with `{"last":true}` is followed by the channel's last
//! broadcast. The channels `/kept/:id` send every event to all members, and keep the last broadcasts of a minute for
//! clients that come back.
//!
//! | event | what the server does |
//! |---|---|
//! | `echo` | sends it back to its sender |
//! | `track`, `update`, `untrack` | set, change and end the sender's presence |
//! | `assign` | sets the sender's assigns |
//! | `users` | answers with everybody's assigns and presence |
//! | `evict` with `{"id":…,"reason":…}` | removes a user from the channel |
//! | `simulate` with `{"viewers":1000,"slow":true}` | adds members that the server simulates |
//! | `trace` | sends the payload to all members as `say`, and answers how long each step of that took |
//! | `to-others` | sends it to all members but the sender |
//! | `to-some` with `{"ids":[…]}` | sends it to these users, at most 1,024 |
//! | any other | sends it to all members, the sender included |
//!
//! With `--public`, `evict` and `simulate` are refused: here nobody is asked who they are.

mod simulation;
mod trace;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pondwire::Payload;
use pondwire::error::PondError;
use pondwire_server::{Event, Join, Json, PondServer};

use simulation::{MOST, Simulated, Simulation};

/// The largest assigns that a client may set, in bytes.
const MAX_ASSIGNS: usize = 4096;

/// The most recipient ids that one event may name: each is looked up separately.
const MAX_RECIPIENTS: usize = 1024;

/// The work of a message in bytes, for which each simulated viewer counts.
const VIEWER: usize = 1024;

/// The crowd of each user that has one, and the channel that it is in.
type Crowds = Arc<Mutex<HashMap<String, (String, Simulation)>>>;

/// The application, in which every member may do everything.
pub(crate) fn demo() -> PondServer {
    pond(true)
}

/// The application without `evict` and `simulate`, which are refused with 403.
pub(crate) fn public() -> PondServer {
    pond(false)
}

fn pond(may_all: bool) -> PondServer {
    let (crowds, simulated) = (Crowds::default(), Simulated::default());
    let leaving = Arc::clone(&crowds);
    let counted = simulated.clone();
    let mut pond = PondServer::new();
    pond.gauge("simulated_viewers", "members simulated by the server", move || counted.members());
    let endpoint = pond.endpoint("/api/socket", |connect| connect.accept());
    endpoint
        .channel("/kept/:id", |join| join.accept())
        .on("*", |event| event.broadcast(event.name(), event.payload()))
        .history(200, 256 << 10, Duration::from_secs(60))
        .id_in_payload("id");
    endpoint
        .channel("/chat/:id", join)
        .on("echo", |event| event.reply(event.payload()))
        .on("track", |event| event.track(event.payload()))
        .on("update", |event| event.update(event.payload()))
        .on("untrack", |event| event.untrack())
        .on("assign", |event| event.set_assigns(small(event.payload(), "payload")?))
        .on("users", |event| event.reply(Json(event.users())))
        .on("evict", move |event| permitted(may_all).and_then(|()| evict(event)))
        .on("trace", trace::trace)
        .on("to-others", |event| event.broadcast_from(event.name(), event.payload()))
        .on("to-some", to_some)
        .on("*", |event| event.broadcast(event.name(), event.payload()))
        .on_async("simulate", move |event| {
            let permitted = permitted(may_all);
            if permitted.is_ok() {
                simulate(&Arc::new(event), &crowds, &simulated);
            }
            std::future::ready(permitted)
        })
        .on_leave(move |leave| {
            let mut crowds = leaving.lock().unwrap_or_else(PoisonError::into_inner);
            if crowds.get(leave.user_id()).is_some_and(|(name, _)| name == leave.channel_name()) {
                crowds.remove(leave.user_id());
            }
        });
    pond
}

fn permitted(may_all: bool) -> Result<(), PondError> {
    if may_all { Ok(()) } else { Err(PondError::forbidden("", "Not on this server")) }
}

fn join(join: &Join<'_>) -> Result<(), PondError> {
    let payload = join.payload();
    if is_set(payload, "deny") {
        join.decline(403, "Join declined");
        return Ok(());
    }
    let assigns = payload.get("assigns").filter(|assigns| !assigns.is_null());
    let assigns = Payload::from_json(assigns.map_or("{}", |assigns| assigns.raw()));
    let assigns = assigns.map_err(|_| too_large("assigns"))?;
    join.accept_with(small(assigns, "assigns")?)?;
    if is_set(payload, "last") { join.catch_up() } else { Ok(()) }
}

/// Evicts the user with the payload's `id`, or the sender if the payload has no `id`.
fn evict(event: &Event<'_>) -> Result<(), PondError> {
    let payload = event.payload();
    let reason = payload.get("reason").and_then(|reason| reason.as_str()).unwrap_or_default();
    match payload.get("id") {
        None => event.evict(event.user_id(), &reason),
        Some(id) => event.evict(&id.as_str().unwrap_or_default(), &reason),
    }
}

/// Sends an event to the users that it names. Reads at most one id more than it may name.
fn to_some(event: &Event<'_>) -> Result<(), PondError> {
    let ids = event.payload().get("ids").into_iter().flat_map(|ids| ids.elements());
    if ids.clone().nth(MAX_RECIPIENTS).is_some() {
        let text = format!("payload.ids: Expected at most {MAX_RECIPIENTS} ids");
        return Err(PondError::bad_request(event.channel_name(), text));
    }
    event.broadcast_to(ids.filter_map(|id| id.as_str()), event.name(), event.payload())
}

/// Replaces the sender's crowd by a new one of `viewers` members, with slow readers if `slow` is set.
fn simulate(event: &Arc<Event<'static>>, crowds: &Crowds, simulated: &Simulated) {
    let viewers = event.payload().get("viewers").and_then(|viewers| viewers.as_u64());
    let viewers = viewers.map_or(0, |viewers| viewers.min(MOST as u64) as usize);
    let slow = is_set(event.payload(), "slow");
    event.charge(viewers * VIEWER);
    let (user, channel) = (event.user_id().to_owned(), event.channel_name().to_owned());
    let mut crowds = crowds.lock().unwrap_or_else(PoisonError::into_inner);
    // The old crowd leaves even if the new one is refused.
    crowds.remove(&user);
    match Simulation::start(simulated, event, viewers, slow) {
        Some(simulation) => drop(crowds.insert(user, (channel, simulation))),
        None => event.refuse(429, "Too many viewers"),
    }
}

/// Returns `true` if the payload has this key with a value other than `null` and `false`.
fn is_set(payload: Payload<'_>, key: &str) -> bool {
    let value = payload.get(key);
    value.is_some_and(|value| !value.is_null() && value.as_bool() != Some(false))
}

fn small<'a>(payload: Payload<'a>, what: &str) -> Result<Payload<'a>, PondError> {
    if payload.as_str().len() <= MAX_ASSIGNS { Ok(payload) } else { Err(too_large(what)) }
}

fn too_large(what: &str) -> PondError {
    PondError::bad_request("", format!("{what}: Expected a smaller object"))
}
