//! Replaces `node` without the feature `redis`. No node can exist, since its type is uninhabited.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::channel::Link;
use crate::metrics::Page;
use crate::options::NodeOptions;

pub(crate) enum Node {}

impl Node {
    pub(crate) fn start(_: &NodeOptions, _: usize) -> Result<Arc<Self>, String> {
        Err("Options::node needs the feature `redis` of pondwire-server: \
             cargo add pondwire-server -F redis"
            .to_owned())
    }

    pub(crate) fn link(self: &Arc<Self>, _: &str, _: &str) -> Box<dyn Link> {
        match **self {}
    }

    pub(crate) fn has_connected(&self) -> bool {
        match *self {}
    }

    pub(crate) fn receive(self: &Arc<Self>, _: &mut JoinSet<()>) {
        match **self {}
    }

    pub(crate) async fn shutdown(&self) {
        match *self {}
    }

    pub(crate) fn reported_bytes(&self) -> usize {
        match *self {}
    }

    pub(crate) fn measure(&self, _: &mut Page<'_>) {
        match *self {}
    }
}
