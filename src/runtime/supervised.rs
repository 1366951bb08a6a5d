//! Values with a task that keeps them current.

use std::sync::Arc;
use tokio::task::AbortHandle;

/// A value with a task that keeps it current. The task ends when this is dropped.
pub(super) struct Supervised<T> {
    pub value: Arc<T>,
    task: AbortHandle,
}

impl<T> Supervised<T> {
    pub fn new(value: Arc<T>, task: impl Future<Output = ()> + Send + 'static) -> Arc<Supervised<T>> {
        Arc::new(Supervised { value, task: tokio::spawn(task).abort_handle() })
    }
}

impl<T> Drop for Supervised<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::Supervised;
    use std::sync::Arc;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn supervised_task_ends_with_its_last_user() {
        let (held, ended) = oneshot::channel::<()>();
        let one = Supervised::new(Arc::new(()), async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let (other, it) = (one.clone(), one.value.clone());
        drop(one);
        tokio::task::yield_now().await;
        assert!(!other.task.is_finished());
        drop(other);
        assert!(ended.await.is_err(), "what the task held is gone");
        drop(it);
    }
}
