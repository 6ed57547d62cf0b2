//! Names used between nodes and within a server, never sent to clients.

use super::wire_enum::wire_enum;

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
