//! The five fields of every frame for the general JSON crates.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope<'a, P> {
    pub action: Action,
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    #[serde(borrow)]
    pub channel_name: Cow<'a, str>,
    #[serde(borrow)]
    pub request_id: Cow<'a, str>,
    pub payload: P,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    JoinChannel,
    LeaveChannel,
    Broadcast,
    Presence,
    System,
    Error,
    Connect,
}
