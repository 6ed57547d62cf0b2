//! The enums of the protocol: the union of what all implementations know.

use super::wire_enum::wire_enum;

wire_enum! {
    /// What a client asks for. Known to every implementation.
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
    /// What a server frame is. `ERROR` is emitted by the JavaScript server and, for malformed
    /// input, by the Python one; the others are known to every implementation.
    ServerAction {
        /// An event sent to a channel.
        Broadcast = "BROADCAST",
        /// The greeting after the connection opened.
        Connect = "CONNECT",
        /// Something the client sent was refused.
        Error = "ERROR",
        /// A reply or notice of the server itself.
        System = "SYSTEM",
        /// The presence list of a channel changed.
        Presence = "PRESENCE",
    }
}

wire_enum! {
    /// What happened to a user's presence. Known to every implementation.
    PresenceEvent {
        /// A user appeared.
        Join = "JOIN",
        /// A user disappeared.
        Leave = "LEAVE",
        /// A user's presence changed.
        Update = "UPDATE",
    }
}
