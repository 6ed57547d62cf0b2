//! The names on the wire and in APIs, one table for each enum.

use super::wire_enum::wire_enum;

// Names in frames: values of `action` and `event`.

wire_enum! {
    /// The action of a client's message. Known to every implementation.
    // A word, so that a view which was just made can be moved at once: moves load whole words, and a
    // word of which one byte was stored last cannot be forwarded from the store.
    #[repr(u64)]
    ClientAction {
        /// Become a member of a channel; `payload` holds the join parameters.
        JoinChannel = "JOIN_CHANNEL",
        /// Stop being a member of a channel.
        LeaveChannel = "LEAVE_CHANNEL",
        /// Send an event to a channel.
        Broadcast = "BROADCAST",
    }
}

wire_enum! {
    /// The action of a server's message. `ERROR` is emitted by the JavaScript server and, for malformed
    /// input, by the Python one; the others are known to every implementation.
    // A word, as `ClientAction`.
    #[repr(u64)]
    ServerAction {
        /// An event sent to a channel.
        Broadcast = "BROADCAST",
        /// The greeting after the connection opened.
        Connect = "CONNECT",
        /// A message of the client was refused.
        Error = "ERROR",
        /// A reply or notice by the server itself.
        System = "SYSTEM",
        /// The presence list of a channel changed.
        Presence = "PRESENCE",
    }
}

wire_enum! {
    /// A change of a user's presence. Known to every implementation.
    PresenceEvent {
        /// A user appeared.
        Join = "JOIN",
        /// A user disappeared.
        Leave = "LEAVE",
        /// A user's presence changed.
        Update = "UPDATE",
    }
}

wire_enum! {
    /// The `event` of a reply or notice by the server itself.
    ///
    /// Includes names that no implementation declares but that were seen on the wire: six that say that
    /// a user or a channel is gone.
    SystemEvent {
        /// A join was accepted. Known to every implementation.
        Acknowledge = "ACKNOWLEDGE",
        /// The connection is open. Known to every implementation.
        Connection = "CONNECTION",
        /// A join was declined. Known to every implementation.
        Unauthorized = "UNAUTHORIZED",
        /// The channel or a handler does not exist. Python 0.0.6, Rust and Go; not JavaScript.
        NotFound = "NOT_FOUND",
        /// A leave was carried out. Rust, Go and the Python server.
        ExitAcknowledge = "EXIT_ACKNOWLEDGE",
        /// The request failed. Rust, Go and the Python server.
        InternalError = "INTERNAL_ERROR",
        /// The user was removed. Sent by Python and Rust. The only one of these names on which a client
        /// (the Rust one) closes its channel.
        Evicted = "EVICTED",
        /// [`Evicted`](Self::Evicted) in the Go server's spelling.
        EvictedLowerCase = "evicted",
        /// Sent by the Go server at an eviction.
        UserEvicted = "user_evicted",
        /// Sent by the JavaScript server to the user that was removed.
        KickedOut = "kicked_out",
        /// Sent by the JavaScript server to all of a channel when a user is removed.
        Kicked = "kicked",
        /// Sent by the JavaScript server when a channel is destroyed.
        Destroyed = "destroyed",
    }
}

wire_enum! {
    /// The `event` of an error frame. Known to every implementation, except the last two.
    ErrorType {
        /// The connection was refused.
        UnauthorizedConnection = "UNAUTHORIZED_CONNECTION",
        /// The join was refused.
        UnauthorizedJoinRequest = "UNAUTHORIZED_JOIN_REQUEST",
        /// The broadcast was refused.
        UnauthorizedBroadcast = "UNAUTHORIZED_BROADCAST",
        /// The received frame is not a message.
        InvalidMessage = "INVALID_MESSAGE",
        /// The event has no handler, or its handler failed.
        HandlerNotFound = "HANDLER_NOT_FOUND",
        /// The presence could not be changed.
        PresenceError = "PRESENCE_ERROR",
        /// The channel refused the request.
        ChannelError = "CHANNEL_ERROR",
        /// The endpoint refused the request.
        EndpointError = "ENDPOINT_ERROR",
        /// The server failed.
        InternalServerError = "INTERNAL_SERVER_ERROR",
        /// There is no such channel. Known to the newest JavaScript only.
        ChannelNotFound = "CHANNEL_NOT_FOUND",
        /// The channel's pattern is malformed. Known to the newest JavaScript only.
        InvalidChannelPattern = "INVALID_CHANNEL_PATTERN",
    }
}

wire_enum! {
    /// A sender that is not a user, or a name in `channelName` that is not a channel's.
    SystemSender {
        /// The endpoint. Python and JavaScript declare it; JavaScript servers write it.
        Endpoint = "ENDPOINT",
        /// A channel. Known to every implementation.
        Channel = "CHANNEL",
        /// The server. Written by Python, Rust and Go servers; none of them declares it as a
        /// sender.
        Gateway = "GATEWAY",
    }
}

// Names used between nodes and within a server, never sent to clients.

wire_enum! {
    /// The `type` of a message from node to node. Known to the servers of Python, JavaScript, Rust
    /// and Go.
    DistributedMessageType {
        /// A node asks the others for the users of a channel.
        StateRequest = "STATE_REQUEST",
        /// The answering node's users in the channel.
        StateResponse = "STATE_RESPONSE",
        /// A user joined on the sending node.
        UserJoined = "USER_JOINED",
        /// A user left on the sending node.
        UserLeft = "USER_LEFT",
        /// An event for the users of other nodes.
        UserMessage = "USER_MESSAGE",
        /// A user's presence appeared or changed.
        PresenceUpdate = "PRESENCE_UPDATE",
        /// A user's presence ended.
        PresenceRemoved = "PRESENCE_REMOVED",
        /// A user's assigns changed.
        AssignsUpdate = "ASSIGNS_UPDATE",
        /// Tells a user's node to evict it.
        EvictUser = "EVICT_USER",
        /// Tells a user's node to remove it. Rust never sends it.
        UserRemove = "USER_REMOVE",
        /// A node asks for one user's assigns and presence.
        UserGetRequest = "USER_GET_REQUEST",
        /// The answer to a [`UserGetRequest`](Self::UserGetRequest).
        UserGetResponse = "USER_GET_RESPONSE",
        /// The sending node is alive.
        NodeHeartbeat = "NODE_HEARTBEAT",
    }
}

wire_enum! {
    /// An action between servers. Known to the Python server, Rust and Go.
    InternalAction {
        /// A user's assigns changed.
        Assigns = "ASSIGNS",
        /// A command about a user of another node.
        UserCommand = "USER_COMMAND",
    }
}

wire_enum! {
    /// The event of an [`InternalAction`]. Known to the Python server, Rust and Go.
    InternalEvent {
        /// A user's assigns changed.
        AssignsUpdate = "assigns:update",
        /// Evict a user.
        UserEvict = "user:evict",
        /// Remove a user.
        UserRemove = "user:remove",
        /// Ask for a user's data. Rust and Go only.
        UserGetRequest = "user:get_request",
        /// Answer with a user's data. Rust and Go only.
        UserGetResponse = "user:get_response",
    }
}

wire_enum! {
    /// The tag of a legacy [`PubSubEvent`](super::PubSubEvent). Types of Python and JavaScript;
    /// nothing emits them any more.
    PubSubEventKind {
        /// A message for a channel on other nodes.
        Message = "MESSAGE",
        /// The presence of a channel changed.
        Presence = "PRESENCE",
        /// A request for the presence of a channel.
        GetPresence = "GET_PRESENCE",
    }
}

// Names in client and server APIs: states and reasons, never part of a frame.

wire_enum! {
    /// A client's state in a channel. Known to every implementation.
    ChannelState {
        /// No join was requested yet.
        Idle = "IDLE",
        /// The join was sent and is not answered yet.
        Joining = "JOINING",
        /// The join was acknowledged.
        Joined = "JOINED",
        /// The connection was lost; the channel will be joined again.
        Stalled = "STALLED",
        /// The channel was left.
        Closed = "CLOSED",
        /// The join was refused.
        Declined = "DECLINED",
    }
}

wire_enum! {
    /// The state of a client's connection. Known to the Python and JavaScript clients.
    ConnectionState {
        /// There is no connection.
        Disconnected = "disconnected",
        /// The connection is being opened.
        Connecting = "connecting",
        /// The connection is open.
        Connected = "connected",
    }
}

wire_enum! {
    /// The reason why a user left a channel. Known to Python and Rust; for the last, Go writes `evicted:`
    /// and a reason.
    LeaveReason {
        /// The user left by itself.
        ExplicitLeave = "explicit_leave",
        /// The connection closed.
        ConnectionClosed = "connection_closed",
        /// The server removed the user.
        Evicted = "evicted",
    }
}
