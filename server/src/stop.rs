//! The signals that ask a process to stop.

use std::future::Future;
use std::io;

/// Completes with the first SIGINT or SIGTERM (Ctrl-C on Windows) after this call. From then on these
/// signals no longer end the process. Must be called in a tokio runtime.
///
/// # Errors
/// The operating system's: no handler could be installed.
#[cfg(unix)]
pub fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
    })
}

/// Completes with the first Ctrl-C after this call. Must be called in a tokio runtime.
///
/// # Errors
/// The operating system's: no handler could be installed.
#[cfg(windows)]
pub fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move { drop(interrupt.recv().await) })
}
