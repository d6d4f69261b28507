//! Work beside the caller's: on a thread where it may take long, and in tasks that are waited for.
//!
//! Both are boxed: each kind of task would cost two kilobytes of the program.

use std::pin::Pin;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::error::{Error, Result};

/// Runs `work` on a thread where it may take long. It begins at once, and goes on when nobody waits
/// for it any more.
///
/// # Errors
/// An internal one when `work` panics, or the runtime ends.
pub fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T>> + Send {
    let (done, result) = oneshot::channel();
    let work: Box<dyn FnOnce() + Send> = Box::new(move || {
        // Whoever does not wait any more does not want to know.
        let _ = done.send(work());
    });
    let running = tokio::task::spawn_blocking(work);
    async {
        running.await.map_err(Error::internal)?;
        result.await.map_err(Error::internal)
    }
}

/// Tasks that are waited for when their owner ends.
#[derive(Debug, Default)]
pub struct Tasks(TaskTracker);

impl Tasks {
    /// Starts `work` in a task of its own.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let work: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(work);
        self.0.spawn(work)
    }

    /// Says that no more are to begin: [`Tasks::wait`] ends with the last that runs.
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether they are closed.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until they are closed and none runs.
    pub async fn wait(&self) {
        self.0.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_on_a_thread_is_an_error_of_the_caller() {
        assert_eq!(blocking(|| 7).await.expect("a number"), 7);
        assert!(blocking(|| panic!("on purpose")).await.is_err());
    }

    #[tokio::test]
    async fn work_begins_and_goes_on_though_nobody_waits() {
        let (said, heard) = oneshot::channel();
        drop(blocking(move || said.send(7)));
        assert_eq!(heard.await, Ok(7));
    }
}
