//! The names in frames: values of `action` and `event`.

use super::wire_enum::wire_enum;

wire_enum! {
    /// The action of a client's message. Known to every implementation.
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
    /// A sender in place of a user, or a speaker in place of a channel in `channelName`.
    SystemSender {
        /// The endpoint. Python and JavaScript declare it; JavaScript servers write it.
        Endpoint = "ENDPOINT",
        /// A channel. Known to every implementation.
        Channel = "CHANNEL",
        /// The server. Written by Python, Rust and Go servers, declared as a sender by none.
        Gateway = "GATEWAY",
    }
}
