//! The endpoints of a running server.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use pondwire::protocol::{Headers, IncomingConnection};
use pondwire::room::HistoryBudget;
use pondwire::uuid;

use crate::caller::user_id_of;
use crate::channel::{
    Assigns, ChannelOptions, Channels, Hooks, MakeLink, OpenChannel, UserId, assigns_len,
};
use crate::handlers::{Admission, Endpoint, Route};
use crate::memory::{Memory, UserMemory};
use crate::trace::Span;

/// An endpoint, and the channels that are open behind it.
pub(crate) struct OpenEndpoint {
    pub(crate) route: Route,
    pub(crate) channels: Arc<Channels>,
}

/// All endpoints, in the order in which they were added.
pub(crate) struct Endpoints {
    list: Vec<Arc<OpenEndpoint>>,
    history: HistoryBudget,
    memory: Arc<Memory>,
}

/// A connection that an endpoint's handler has accepted.
pub(crate) struct Admitted {
    pub(crate) endpoint: Arc<OpenEndpoint>,
    pub(crate) user_id: UserId,
    pub(crate) connection_id: Arc<str>,
    pub(crate) assigns: Assigns,
    /// Counts these.
    pub(crate) memory: UserMemory,
    /// For the response that opens the WebSocket or the event stream.
    pub(crate) headers: HeaderMap,
    /// The client's address, if a proxy has told it.
    pub(crate) forwarded_for: Option<IpAddr>,
    pub(crate) span: Span,
}

impl Endpoints {
    /// Opens the endpoints; `link` makes the links of an endpoint's channels from its path.
    ///
    /// # Errors
    /// As for [`Route::new`].
    pub(crate) fn new(
        endpoints: Vec<Endpoint>,
        options: ChannelOptions,
        link: impl Fn(&str) -> Option<MakeLink>,
    ) -> Result<Self, String> {
        let open = |endpoint| {
            let route = Route::new(endpoint)?;
            let routes = Arc::clone(&route.channels);
            let find_hooks = Box::new(move |name: &str| {
                let found = routes.iter().find(|channel| channel.matches(name).is_some())?;
                Some(Arc::clone(found) as Arc<dyn Hooks>)
            });
            let channels = Arc::new(Channels::new(link(&route.path), find_hooks, options.clone()));
            let ages = route.channels.iter().filter_map(|channel| channel.history());
            if let Some(age) = ages.map(|history| history.age).min() {
                channels.forget_regularly(age);
            }
            Ok(Arc::new(OpenEndpoint { route, channels }))
        };
        let list = endpoints.into_iter().map(open).collect::<Result<_, String>>()?;
        Ok(Self { list, history: options.history, memory: options.memory })
    }

    /// Whether some endpoint has this path, without its query.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.list.iter().any(|endpoint| endpoint.route.pattern().matches(path).is_some())
    }

    /// Asks the handler of the endpoint with this target, a path with its query, about a connection over this
    /// transport.
    ///
    /// # Errors
    /// The status to answer with; 404 if there is no such endpoint, 503 if there is no memory for what its handler
    /// assigns.
    pub(crate) async fn connect(
        &self,
        target: &str,
        headers: Headers<'_>,
        address: &str,
        transport: &str,
    ) -> Result<Admitted, u16> {
        let connection_id = uuid();
        let found = self
            .list
            .iter()
            .find_map(|endpoint| Some((endpoint, endpoint.route.pattern().matches(target)?)));
        let (endpoint, route) = found.ok_or(404_u16)?;
        let request = IncomingConnection { id: &connection_id, address, headers, route };
        let Admission { assigns, headers } = endpoint.route.connect(request).await?;
        if assigns.is_some() && !self.memory.admits_assigns() {
            return Err(503);
        }
        let memory = UserMemory::of_connection(Arc::clone(&self.memory), assigns_len(&assigns));
        let user_id = user_id_of(&connection_id);
        Ok(Admitted {
            endpoint: Arc::clone(endpoint),
            span: Span::connection(transport, &endpoint.route.path, &user_id, address),
            user_id,
            connection_id: Arc::from(&*connection_id),
            assigns,
            memory,
            headers: headers.iter().filter_map(header).collect(),
            forwarded_for: None,
        })
    }

    /// The channel of this name behind the first endpoint that has one.
    pub(crate) fn channel(&self, name: &str) -> Option<Arc<OpenChannel>> {
        self.list.iter().find_map(|endpoint| endpoint.channels.find(name))
    }

    /// The open channels of all endpoints.
    pub(crate) fn channels(&self) -> Vec<Arc<OpenChannel>> {
        self.list.iter().flat_map(|endpoint| endpoint.channels.open()).collect()
    }

    /// The presence frames that were not sent because their lists were too long.
    pub(crate) fn lists_too_long(&self) -> u64 {
        self.list.iter().map(|endpoint| endpoint.channels.lists_too_long()).sum()
    }

    /// The bytes in the logs of all channels that the writers have not taken. Visits each channel.
    pub(crate) async fn unread_bytes(&self) -> usize {
        let mut bytes = 0;
        for endpoint in &self.list {
            bytes += endpoint.channels.unread_bytes().await;
        }
        bytes
    }

    /// The memory that the channels share.
    pub(crate) const fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The bytes that channels keep for clients that come back.
    pub(crate) fn history_bytes(&self) -> usize {
        self.history.bytes()
    }

    /// The joins of clients that came back and were sent all that they had missed, and of those that were told of a
    /// hole.
    pub(crate) fn resumed(&self) -> (u64, u64) {
        let each = self.list.iter().map(|endpoint| endpoint.channels.resumed());
        each.fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1))
    }

    /// The number of open channels.
    pub(crate) fn open_channels(&self) -> usize {
        self.list.iter().map(|endpoint| endpoint.channels.len()).sum()
    }
}

/// A header that a handler has set; it could set no invalid one.
fn header((name, value): &(String, String)) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    Some((name, HeaderValue::from_str(value).ok()?))
}
