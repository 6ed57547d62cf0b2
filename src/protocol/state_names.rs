//! Names in client and server APIs: states and reasons, never part of a frame.

use super::wire_enum::wire_enum;

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
