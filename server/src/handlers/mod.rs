//! The application: endpoints, channels, and the handlers of what their users do.

mod connect;
mod event;
mod join;
mod leave;
mod outgoing;

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ahash::HashMap;
use pondwire::cache::ClassFrame;
use pondwire::error::PondError;
use pondwire::protocol::{IncomingConnection, PathMatch, Pattern, PondEvent};
use pondwire::{Frame, OutboxOptions};

pub use connect::Connect;
pub(crate) use connect::{Admission, Answer};
pub use event::Event;
pub(crate) use event::Params;
pub use join::Join;
pub(crate) use join::{Decision, JoinAnswer, JoinRequest};
pub use leave::Leave;
pub use outgoing::{Outgoing, Sent};

use crate::channel::{Departure, History, Hooks, OpenChannel};
use crate::content::Json;
use crate::log;

/// An asynchronous handler at work.
pub(crate) type Working<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The handler of connections.
enum OnConnect {
    Plain(Box<dyn Fn(&Connect<'_>) + Send + Sync>),
    Async(Box<dyn for<'a> Fn(&'a Connect<'_>) -> Deciding<'a> + Send + Sync>),
}

/// An asynchronous handler of a connection, which borrows it.
pub type Deciding<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
type OnLeave = Box<dyn Fn(&Leave<'_>) + Send + Sync>;
type OnOutgoing = Box<dyn Fn(&Outgoing<'_>) -> Sent + Send + Sync>;

type Handled = Result<(), PondError>;

/// The handler of a join.
pub(crate) enum OnJoin {
    Plain(Box<dyn Fn(&Join<'_>) -> Handled + Send + Sync>),
    Async(Box<dyn Fn(Join<'static>) -> Working<Handled> + Send + Sync>),
}

/// The handler of an event.
pub(crate) enum OnEvent {
    Plain(Box<dyn Fn(&Event<'_>) -> Handled + Send + Sync>),
    Async(Box<dyn Fn(Event<'static>) -> Working<()> + Send + Sync>),
}

/// What a handler may return: `()` or `Result<(), PondError>`.
///
/// The client is sent the error. Its channel name may be `""`, as in this crate's examples: the server knows the
/// handler's channel.
pub trait Outcome {
    /// The error, if the handler failed.
    ///
    /// # Errors
    /// The handler's.
    fn into_result(self) -> Result<(), PondError>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), PondError> {
        Ok(())
    }
}

impl<E: Into<PondError>> Outcome for Result<(), E> {
    #[inline]
    fn into_result(self) -> Result<(), PondError> {
        self.map_err(Into::into)
    }
}

/// The endpoints of an application, and the handlers behind them. Nothing runs until
/// [`start`](crate::PondServer::start).
///
/// ```
/// use pondwire::error::PondError;
/// use pondwire_server::{Json, Options, PondServer};
/// use serde_json::json;
///
/// let mut pond = PondServer::new();
/// pond.endpoint("/api/socket", |connect| match connect.cookie("session") {
///     Some(_) => connect.accept(),
///     None => connect.decline(401),
/// })
/// .channel("/chat/:id", |join| {
///     let name = join.payload().get("name").and_then(|name| Some(name.as_str()?.into_owned()));
///     let Some(name) = name else { return Err(PondError::bad_request("", "A name is needed")) };
///     join.accept_with(json!({ "name": name }))?;
///     join.track(json!({ "name": name }))
/// })
/// .on("say", |event| {
///     let assigns = event.assigns();
///     let from = assigns.view().get("name");
///     event.broadcast("say", Json(json!({ "from": from, "text": event.payload().get("text") })))
/// })
/// .on("kick/:user", |event| match event.param("user") {
///     Some(user) => event.evict(user, "kicked"),
///     None => Err(PondError::bad_request("", "No user")),
/// });
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let server = pond.start(Options::default())?;
/// let lobby = server.channel("/chat/lobby").expect("a pattern matches");
/// lobby.broadcast("say", json!({ "from": "the server", "text": "hi" }))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct PondServer {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) gauges: Vec<Gauge>,
}

/// A number of the application in the metrics.
pub(crate) struct Gauge {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) value: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl PondServer {
    /// An application without endpoints.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an endpoint: a path, which may have parameters as a [`Pattern`] does, and the handler that accepts or
    /// declines connections to it.
    pub fn endpoint(
        &mut self,
        path: &str,
        on_connect: impl Fn(&Connect<'_>) + Send + Sync + 'static,
    ) -> &mut Endpoint {
        self.add(path, OnConnect::Plain(Box::new(on_connect)))
    }

    /// [`endpoint`](Self::endpoint) with an asynchronous handler, which borrows the connection. It is dropped where it
    /// waits if it has not ended within [`Times::request`](crate::Times::request); the client is then answered 503.
    ///
    /// ```
    /// # use pondwire_server::PondServer;
    /// # async fn is_session(session: &str) -> bool { session == "7" }
    /// let mut pond = PondServer::new();
    /// pond.endpoint_async("/api/socket", |connect| Box::pin(async move {
    ///     match connect.cookie("session") {
    ///         Some(session) if is_session(session).await => connect.accept(),
    ///         _ => connect.decline(401),
    ///     }
    /// }));
    /// ```
    pub fn endpoint_async(
        &mut self,
        path: &str,
        on_connect: impl for<'a> Fn(&'a Connect<'_>) -> Deciding<'a> + Send + Sync + 'static,
    ) -> &mut Endpoint {
        self.add(path, OnConnect::Async(Box::new(on_connect)))
    }

    fn add(&mut self, path: &str, on_connect: OnConnect) -> &mut Endpoint {
        self.endpoints.push(Endpoint { path: path.to_owned(), on_connect, channels: Vec::new() });
        self.endpoints.last_mut().expect("pushed above")
    }

    /// Adds a number of the application to [`Server::metrics`](crate::Server::metrics), as the gauge
    /// `pondwire_NAME`.
    pub fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> &mut Self {
        let (name, help, value) = (name.to_owned(), help.to_owned(), Box::new(value));
        self.gauges.push(Gauge { name, help, value });
        self
    }
}

impl fmt::Debug for PondServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PondServer").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// A path to connect to, and the channels behind it.
pub struct Endpoint {
    path: String,
    on_connect: OnConnect,
    channels: Vec<ChannelHandlers>,
}

impl Endpoint {
    /// Adds the channels whose names match a [`Pattern`], such as `/chat/:id`, and the handler of joins. If several
    /// patterns match a name, the first one that was added counts.
    ///
    /// A name is written as the pattern is: with a slash at the start if that has one, with one slash between
    /// segments, and with none at the end. So no two spellings are two channels, except with percent-encoding.
    pub fn channel<R: Outcome>(
        &mut self,
        pattern: &str,
        on_join: impl Fn(&Join<'_>) -> R + Send + Sync + 'static,
    ) -> &mut ChannelHandlers {
        self.add(pattern, OnJoin::Plain(Box::new(move |join| on_join(join).into_result())))
    }

    /// [`channel`](Self::channel) with an asynchronous handler of joins; see
    /// [`on_async`](ChannelHandlers::on_async).
    pub fn channel_async<F>(
        &mut self,
        pattern: &str,
        on_join: impl Fn(Join<'static>) -> F + Send + Sync + 'static,
    ) -> &mut ChannelHandlers
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let on_join = move |join| -> Working<_> {
            let working = on_join(join);
            Box::pin(async move { working.await.into_result() })
        };
        self.add(pattern, OnJoin::Async(Box::new(on_join)))
    }

    fn add(&mut self, pattern: &str, on_join: OnJoin) -> &mut ChannelHandlers {
        self.channels.push(ChannelHandlers {
            name: pattern.to_owned(),
            on_join,
            events: Vec::new(),
            on_leave: None,
            on_outgoing: None,
            history: None,
            id_key: None,
        });
        self.channels.last_mut().expect("pushed above")
    }

    /// Has no channel keep more than half of what an outbox may hold: a client that is sent it all at once would be
    /// disconnected for it, again each time that it comes back.
    pub(crate) fn bound_history(&mut self, waiting: &OutboxOptions) {
        for history in self.channels.iter_mut().filter_map(|channel| channel.history.as_mut()) {
            history.frames = history.frames.min(waiting.max_frames / 2);
            history.bytes = history.bytes.min(waiting.max_bytes / 2);
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channels: Vec<_> = self.channels.iter().map(|channel| &channel.name).collect();
        f.debug_struct("Endpoint")
            .field("path", &self.path)
            .field("channels", &channels)
            .finish_non_exhaustive()
    }
}

/// The handlers of the channels of one pattern.
///
/// # Handlers
/// A plain handler is called where the message is received, which allocates nothing and spawns nothing; it must not
/// block. An asynchronous handler owns its context, which costs a few allocations, and is polled by the task of the
/// client's connection: the client's next message waits until it has ended, and it is dropped where it waits if the
/// connection ends. So the messages of one client are handled one after another, in their order.
///
/// # Errors and panics
/// An error that a handler returns is answered to the client whose message it handles:
///
/// | code | a join | an event |
/// |---|---|---|
/// | 400 | `UNAUTHORIZED` with code and text | `ERROR` / `INVALID_MESSAGE` |
/// | 404 | the same | `SYSTEM` / `NOT_FOUND` |
/// | any other | the same | `SYSTEM` / `INTERNAL_ERROR` with code, text, details |
///
/// `INVALID_MESSAGE` comes on the channel `GATEWAY`, `INTERNAL_ERROR` on the channel that the error names, if it names
/// one, and all others on the channel of the message; each has its request id.
///
/// A panic in a handler of a join or an event ends the connection of that client, and no other. In a handler of
/// leaves it is logged, and in one of outgoing broadcasts it is logged and the class is sent nothing.
pub struct ChannelHandlers {
    name: String,
    on_join: OnJoin,
    events: Vec<(EventName, OnEvent)>,
    on_leave: Option<OnLeave>,
    on_outgoing: Option<OnOutgoing>,
    history: Option<History>,
    id_key: Option<String>,
}

/// The events of a handler.
enum EventName {
    Exactly(String),
    Matching(String),
}

impl EventName {
    fn new(text: &str) -> Self {
        if text.contains([':', '*']) {
            Self::Matching(text.to_owned())
        } else {
            Self::Exactly(text.to_owned())
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Exactly(text) | Self::Matching(text) => text,
        }
    }
}

impl ChannelHandlers {
    /// Adds the handler of an event.
    ///
    /// A name without `:` and `*` stands for itself. Any other is a [`Pattern`], such as `message/:kind`; `*` stands
    /// for all events. Names that stand for themselves come first, then patterns in the order in which they were
    /// added. An event without a handler is answered `NOT_FOUND`.
    pub fn on<R: Outcome>(
        &mut self,
        event: &str,
        handler: impl Fn(&Event<'_>) -> R + Send + Sync + 'static,
    ) -> &mut Self {
        let handler = Box::new(move |event: &Event<'_>| handler(event).into_result());
        self.events.push((EventName::new(event), OnEvent::Plain(handler)));
        self
    }

    /// Adds an asynchronous handler of an event, by a name as for [`on`](Self::on).
    pub fn on_async<F>(
        &mut self,
        event: &str,
        handler: impl Fn(Event<'static>) -> F + Send + Sync + 'static,
    ) -> &mut Self
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let handler = move |event: Event<'static>| -> Working<()> {
            let handler = Arc::clone(&handler);
            let fail = event.answerer();
            // Called in the future, so that a panic is the future's.
            Box::pin(async move {
                if let Err(error) = handler(event).await.into_result() {
                    fail(error);
                }
            })
        };
        self.events.push((EventName::new(event), OnEvent::Async(Box::new(handler))));
        self
    }

    /// Adds the handler of a typed event. The handler gets the decoded payload, and what it returns is the reply,
    /// unless that has no content, such as `()`. A payload of another type is answered with 400.
    pub fn on_event<E: PondEvent>(
        &mut self,
        handler: impl Fn(&Event<'_>, E::Payload) -> Result<E::Response, PondError>
        + Send
        + Sync
        + 'static,
    ) -> &mut Self {
        let handler = move |event: &Event<'_>| -> Result<(), PondError> {
            let payload = E::decode_payload(event.payload().as_str()).map_err(|error| {
                PondError::bad_request(event.channel_name(), format!("payload: {error}"))
            })?;
            let response = handler(event, payload)?;
            if size_of::<E::Response>() == 0 { Ok(()) } else { event.reply(Json(response)) }
        };
        let name = EventName::Exactly(E::NAME.to_owned());
        self.events.push((name, OnEvent::Plain(Box::new(handler))));
        self
    }

    /// Sets the handler of leaves. It is called once for each user that is no longer a member, for whatever
    /// reason, by the task that caused the leave: within [`Event::evict`] of a user of this node, for one, before that
    /// returns. The server holds no lock meanwhile, and a handler that evicts should hold none of yours that this one
    /// takes. It must not block; spawn a task for what takes time.
    pub fn on_leave(&mut self, handler: impl Fn(&Leave<'_>) + Send + Sync + 'static) -> &mut Self {
        self.on_leave = Some(Box::new(handler));
        self
    }

    /// Sets the handler of outgoing broadcasts. It decides what each class of members is sent: the broadcast, another
    /// payload, or nothing.
    ///
    /// It is called once for each broadcast and each class that has members here, by the broadcast's sender, and its
    /// result is shared by the class: the cost depends on the classes, not on the members. A member is in class 0
    /// until `set_class` puts it into one of 31; in a game with at most 31 players each may have a class of its own.
    /// Answers, presence and what is sent to a single client do not come here. Without this handler, classes have no
    /// effect and no cost.
    pub fn on_outgoing(
        &mut self,
        handler: impl Fn(&Outgoing<'_>) -> Sent + Send + Sync + 'static,
    ) -> &mut Self {
        self.on_outgoing = Some(Box::new(handler));
        self
    }

    /// Keeps the last broadcasts of each of these channels for clients that come back: at most `broadcasts` of them,
    /// at most `bytes` with their frame heads and 8 for each user that one is for, and none older than `age`. By default
    /// nothing is kept.
    ///
    /// # What a client does
    /// It joins with a member `resume` in its parameters: `{"after":ID,"connectionId":OLD}`, where `ID` is the request
    /// id of the last broadcast that it saw, and `OLD` the `connectionId` in the `CONNECT` of its last connection. At
    /// its first join both are missing: `"resume":{}`. After the acknowledgement the client gets all that it missed, in
    /// order, each broadcast once; then, before anything else, `SYSTEM` / `RESUME` with the join's request id:
    ///
    /// ```json
    /// {"resume":{"after":"…","connectionId":"…"},"complete":true,"missed":3}
    /// ```
    ///
    /// The client joins with this `resume` the next time, unless it sees another broadcast before. `missed` is the
    /// number of broadcasts that were sent again. If `complete` is `false`, there is a hole: the channel no longer
    /// knows the broadcast, or never knew it, or may have missed some itself, and sends no old ones. The client should
    /// load its state anew.
    ///
    /// Clients that send their parameters again when they reconnect, as those of npm and PyPI do, need two more
    /// lines. In JavaScript, whose client shows no request ids, with [`id_in_payload("id")`](Self::id_in_payload):
    ///
    /// ```js
    /// const params = { resume: {} };
    /// const channel = client.createChannel('/chat/1', params);
    /// channel.onMessage((event, { id, resume }) => Object.assign(params.resume, id ? { after: id } : resume));
    /// ```
    ///
    /// A broadcast has the server's `id`, so a `resume` that another member put into its payload is not read; only one
    /// that comes from a node of another implementation has none.
    ///
    /// # What it gets
    /// The client gets what it would have been sent as a member of its class all the time, also broadcasts to its user
    /// alone while it was away. So it does not get broadcasts that excepted its user or named other users. Each
    /// connection is a user of its own; the `connectionId`, which only the client and the server know, proves that this
    /// user is the one from before; so the handlers' [`payload`](Join::payload) comes without `resume`, and nobody is
    /// shown it by accident. It is the `id` of [`Connect::request`], too: keep that to yourself.
    /// Presence, answers and what [`on_outgoing`](Self::on_outgoing) suppresses are not kept. Anyone who may join may
    /// ask for all that is kept.
    ///
    /// Broadcasts have the same ids on all nodes, and the broadcasts of one node have the same order on all nodes. But
    /// two nodes may see the broadcasts that two other nodes send at the same moment in different orders: a client that
    /// comes back to another node may then miss one of them, or get it again. A node that may have lost broadcasts of
    /// other nodes forgets all that it kept, and so reports a hole. So does one that is not subscribed to the channel
    /// yet, a moment after its first member there, and one that knows that it is cut off from Redis. `complete` does
    /// not cover what no node can know: what another node could not publish (`pondwire_bus_dropped_total` and
    /// `pondwire_bus_unconfirmed_total` there), and a connection to Redis that broke unnoticed, for the clients that
    /// come back before it is noticed.
    ///
    /// # What it costs
    /// A broadcast takes a lock for a moment, and is kept as the frame that members share. A channel that keeps some
    /// stays open for `age` after its last member has left; meanwhile it counts as open in the metrics, and the node
    /// stays subscribed to it. Of more than 10,000 such channels of an endpoint, those that have waited longest are
    /// closed. A channel that keeps none closes with its last member, and then there is a hole.
    /// [`Options::history_bytes`](crate::Options::history_bytes) bounds all channels together: those that keep most
    /// drop their oldest broadcasts first. What a client is sent again counts against its byte rate as if it had sent it.
    /// Handlers of outgoing broadcasts are asked about each class that a member was ever in while the channel is open;
    /// for the first member of a class there is a hole before its join.
    ///
    /// Whatever is given here, no channel keeps more than half of what an outbox may hold
    /// ([`Options::waiting`](crate::Options::waiting)), because a client is sent all of it at once.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use pondwire_server::PondServer;
    /// let mut pond = PondServer::new();
    /// pond.endpoint("/api/socket", |connect| connect.accept())
    ///     .channel("/chat/:id", |join| join.accept())
    ///     .on("say", |event| event.broadcast("say", event.payload()))
    ///     .history(200, 256 << 10, Duration::from_secs(60))
    ///     .id_in_payload("id");
    /// ```
    pub fn history(&mut self, broadcasts: usize, bytes: usize, age: Duration) -> &mut Self {
        self.history = (broadcasts > 0).then_some(History { frames: broadcasts, bytes, age });
        self
    }

    /// Adds to the payload of each broadcast its request id, as a string with this key: for clients that do not show
    /// request ids, but need one to [come back](Self::history). If the payload has a member with this key already, it
    /// is replaced.
    ///
    /// Broadcasts that come from nodes of other implementations have none. Costs a copy and a check of the payload.
    pub fn id_in_payload(&mut self, key: &str) -> &mut Self {
        self.id_key = Some(key.to_owned());
        self
    }
}

impl fmt::Debug for ChannelHandlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events: Vec<_> = self.events.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ChannelHandlers")
            .field("pattern", &self.name)
            .field("events", &events)
            .finish_non_exhaustive()
    }
}

/// An endpoint whose patterns are compiled.
pub(crate) struct Route {
    pub(crate) path: Box<str>,
    pattern: Pattern,
    on_connect: OnConnect,
    pub(crate) channels: Arc<[Arc<ChannelRoute>]>,
}

impl Route {
    /// # Errors
    /// A path or name is no pattern, or an event has two handlers; the text says which.
    pub(crate) fn new(endpoint: Endpoint) -> Result<Self, String> {
        let Endpoint { path, on_connect, channels } = endpoint;
        let pattern = compiled(&path)?;
        let channels = channels.into_iter().map(|channel| ChannelRoute::new(channel).map(Arc::new));
        Ok(Self {
            path: path.into(),
            pattern,
            on_connect,
            channels: channels.collect::<Result<Vec<_>, _>>()?.into(),
        })
    }

    pub(crate) const fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Asks the handler about a connection. A panic is a refusal with 500.
    pub(crate) async fn connect(&self, request: IncomingConnection<'_>) -> Result<Admission, u16> {
        let connect = Connect::new(request);
        match &self.on_connect {
            OnConnect::Plain(handler) => {
                // Unwind-safe: what the handler may have left half done is dropped.
                catch_unwind(AssertUnwindSafe(|| handler(&connect))).map_err(|_| 500_u16)?;
            }
            OnConnect::Async(handler) => {
                caught(Box::pin(async { handler(&connect).await })).await.map_err(|_| 500_u16)?;
            }
        }
        match connect.into_answer() {
            Answer::Accepted(admission) => Ok(admission),
            Answer::Declined(status) => Err(status),
            Answer::Open { .. } => Err(403),
        }
    }
}

/// A handler panicked.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Waits for a handler to end.
///
/// # Errors
/// It panicked. What it may have left half done must be dropped.
pub(crate) async fn caught<T>(
    mut working: Pin<Box<dyn Future<Output = T> + Send + '_>>,
) -> Result<T, Panicked> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| working.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

fn compiled(pattern: &str) -> Result<Pattern, String> {
    Pattern::new(pattern).map_err(|error| format!("`{pattern}`: {error}"))
}

/// The channels of one pattern, and their handlers by event.
pub(crate) struct ChannelRoute {
    pattern: Pattern,
    pub(crate) on_join: OnJoin,
    named: HashMap<Box<str>, OnEvent>,
    patterns: Vec<(Pattern, OnEvent)>,
    /// The handler of all other events.
    any: Option<OnEvent>,
    on_leave: Option<OnLeave>,
    on_outgoing: Option<OnOutgoing>,
    history: Option<History>,
    id_key: Option<String>,
}

impl ChannelRoute {
    fn new(handlers: ChannelHandlers) -> Result<Self, String> {
        let ChannelHandlers { name, on_join, events, on_leave, on_outgoing, history, id_key } =
            handlers;
        let mut named = HashMap::default();
        let (mut patterns, mut any) = (Vec::new(), None);
        for (event, handler) in events {
            let text = event.as_str();
            let replaced = match &event {
                EventName::Exactly(_) => named.insert(text.into(), handler),
                EventName::Matching(_) if text == "*" => any.replace(handler),
                EventName::Matching(_) => {
                    patterns.push((compiled(text)?, handler));
                    None
                }
            };
            if replaced.is_some() {
                return Err(format!("`{name}`: the event `{text}` has two handlers"));
            }
        }
        let pattern = compiled(&name)?;
        Ok(Self { pattern, on_join, named, patterns, any, on_leave, on_outgoing, history, id_key })
    }

    /// The parameters of a channel's name; `None` if it is not one of these channels.
    pub(crate) fn matches<'a>(&'a self, name: &'a str) -> Option<PathMatch<'a>> {
        let is_rooted = |text: &str| text.starts_with('/');
        let is_plain = !name.ends_with('/') && !name.contains("//");
        if !is_plain || is_rooted(name) != is_rooted(self.pattern.as_str()) {
            return None;
        }
        self.pattern.matches(name)
    }

    /// The handler of an event. Writes the parameters of its name, if it has some; they are not returned, because
    /// they are large.
    #[inline]
    pub(crate) fn handler<'a>(
        &'a self,
        event: &'a str,
        found: &mut Option<PathMatch<'a>>,
    ) -> Option<&'a OnEvent> {
        if let Some(handler) = self.named.get(event) {
            return Some(handler);
        }
        for (pattern, handler) in &self.patterns {
            *found = pattern.matches(event);
            if found.is_some() {
                return Some(handler);
            }
        }
        self.any.as_ref()
    }
}

impl Hooks for ChannelRoute {
    fn transforms(&self) -> bool {
        self.on_outgoing.is_some()
    }

    fn outgoing(&self, class: u32, event: &str, frame: &Frame) -> ClassFrame {
        let Some(handler) = &self.on_outgoing else { return ClassFrame::Shared };
        let outgoing = Outgoing::new(class, event, frame, self.id_key());
        // Unwind-safe: the handler has only a view of the frame.
        let sent = catch_unwind(AssertUnwindSafe(|| handler(&outgoing).0));
        sent.unwrap_or_else(|_| {
            log::line(format_args!("event {event}: the handler of outgoing broadcasts panicked"));
            ClassFrame::Suppressed
        })
    }

    fn history(&self) -> Option<History> {
        self.history
    }

    fn id_key(&self) -> Option<&str> {
        self.id_key.as_deref()
    }

    fn sees_leaves(&self) -> bool {
        self.on_leave.is_some()
    }

    fn left(&self, channel: &Arc<OpenChannel>, departure: &Departure) {
        let Some(handler) = &self.on_leave else { return };
        let leave = Leave::new(channel, departure);
        // Unwind-safe: the membership has ended before. A leave may be that of a session that panicked.
        if catch_unwind(AssertUnwindSafe(|| handler(&leave))).is_err() {
            log::line(format_args!("{}: the handler of leaves panicked", channel.name()));
        }
    }
}
