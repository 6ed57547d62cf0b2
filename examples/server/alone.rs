//! In the place of `node` without the feature `redis`: there is no node, as its types say, and no
//! channel has a link.

use std::sync::Arc;

use pondwire::Payload;
use pondwire::protocol::Recipients;

use super::Server;
use super::channel::Channel;
use super::metrics::Page;
use super::options::NodeOptions;

pub(crate) enum Node {}

pub(crate) enum Link {}

impl Node {
    pub(crate) fn start(_: &NodeOptions) -> Result<Arc<Self>, String> {
        Err("--redis needs the feature `redis`: \
             cargo run --release --features redis --example server -- --redis …"
            .to_owned())
    }

    pub(crate) fn link(self: &Arc<Self>, _: &str) -> Link {
        match **self {}
    }

    pub(crate) async fn run(&self, _: &Server) {
        match *self {}
    }

    pub(crate) async fn end(&self) {
        match *self {}
    }

    pub(crate) fn measure(&self, _: &mut Page) {
        match *self {}
    }
}

impl Link {
    pub(crate) fn join(&self, _: &Arc<Channel>, _: &str, _: Payload<'_>) {
        match *self {}
    }

    pub(crate) fn leave(&self, _: &str) {
        match *self {}
    }

    pub(crate) fn set_presence(&self, _: &str, _: Payload<'_>) {
        match *self {}
    }

    pub(crate) fn remove_presence(&self, _: &str) {
        match *self {}
    }

    pub(crate) fn set_assigns(&self, _: &str, _: Payload<'_>) {
        match *self {}
    }

    pub(crate) fn evict(&self, _: &str, _: &str) -> bool {
        match *self {}
    }

    pub(crate) fn send(&self, _: &str, _: &str, _: Payload<'_>, _: &str, _: &Recipients<'_>) {
        match *self {}
    }

    pub(crate) fn for_each_user(&self, _: impl FnMut(&str, &str, Option<&str>)) {
        match *self {}
    }
}
