//! Threads for connections, each with a runtime of its own: what a connection waits for wakes its thread and no other, and a thread that waits without
//! sleep looks for just what its connections need.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// Threads that connections are spread over. They end when nobody holds them any more, the connections on them included.
#[derive(Debug)]
pub struct ConnectionThreads {
    threads: Vec<Thread>,
    busy_poll: Duration,
    /// How many threads wait without sleep.
    awake: AtomicUsize,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    connections: AtomicUsize,
    /// Ends the thread when it is dropped.
    _alive: oneshot::Sender<()>,
}

impl ConnectionThreads {
    /// Starts as many threads as the machine has processors. A connection whose initiator sends few requests at a time waits for the next one, or for
    /// storage, without sleep for up to `busy_poll`; not at all if that is zero. Half of the threads do so at a time, or the only one.
    ///
    /// # Errors
    /// If the system has no more threads or descriptors.
    pub fn start(busy_poll: Duration) -> io::Result<Arc<Self>> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..count).map(Thread::start).collect::<io::Result<_>>()?;
        Ok(Arc::new(Self { threads, busy_poll, awake: AtomicUsize::new(0) }))
    }

    /// The runtime of one of the threads, for what connections wait for: [`Pool::driver`](lunshadow_lun::Pool) for example.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.threads[0].runtime
    }

    /// A place on the thread that has the fewest connections.
    pub(crate) fn place(self: &Arc<Self>) -> ThreadPlace {
        let count = |number: &usize| self.threads[*number].connections.load(Ordering::Relaxed);
        let number = (0..self.threads.len()).min_by_key(count).unwrap_or(0);
        self.threads[number].connections.fetch_add(1, Ordering::Relaxed);
        ThreadPlace { threads: Arc::clone(self), number }
    }
}

impl Thread {
    fn start(number: usize) -> io::Result<Self> {
        // What other threads have for this one is not to wait until it has nothing else to do: as long as it waits without sleep, that is never so.
        let runtime = Builder::new_current_thread().enable_all().global_queue_interval(1).build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel();
        std::thread::Builder::new().name(format!("connections-{number}")).spawn(move || run(&runtime, ended))?;
        Ok(Self { runtime: handle, connections: AtomicUsize::new(0), _alive: alive })
    }
}

fn run(runtime: &Runtime, ended: oneshot::Receiver<()>) {
    // The sender says nothing, it goes.
    drop(runtime.block_on(ended));
}

/// A connection's place on a thread. It holds the threads, since a connection that goes on by itself must come to its end.
pub(crate) struct ThreadPlace {
    threads: Arc<ConnectionThreads>,
    number: usize,
}

impl ThreadPlace {
    pub(crate) fn runtime(&self) -> Handle {
        self.threads.threads[self.number].runtime.clone()
    }

    /// How long to wait without sleep.
    pub(crate) fn busy_poll(&self) -> Duration {
        self.threads.busy_poll
    }

    /// The right to wait without sleep, unless enough others do.
    pub(crate) fn stay_awake(&self) -> Option<Awake> {
        let most = (self.threads.threads.len() / 2).max(1);
        let one_more = |awake| (awake < most).then_some(awake + 1);
        self.threads.awake.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Awake(Arc::clone(&self.threads)))
    }
}

impl Drop for ThreadPlace {
    fn drop(&mut self) {
        self.threads.threads[self.number].connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See [`ThreadPlace::stay_awake`].
pub(crate) struct Awake(Arc<ConnectionThreads>);

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.awake.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_spread_and_half_of_the_threads_may_stay_awake() {
        let threads = ConnectionThreads::start(Duration::from_micros(1)).expect("threads");
        let count = threads.threads.len();
        let places: Vec<_> = (0..2 * count).map(|_| threads.place()).collect();
        let connections = |threads: &ConnectionThreads| -> Vec<usize> {
            threads.threads.iter().map(|thread| thread.connections.load(Ordering::Relaxed)).collect()
        };
        assert_eq!(connections(&threads), vec![2; count]);
        let awake: Vec<_> = places.iter().filter_map(ThreadPlace::stay_awake).collect();
        assert_eq!(awake.len(), (count / 2).max(1));
        drop(awake);
        assert!(places[0].stay_awake().is_some());
        drop(places);
        assert_eq!(connections(&threads), vec![0; count]);
    }

    #[test]
    fn they_end_with_the_last_connection() {
        let threads = ConnectionThreads::start(Duration::ZERO).expect("threads");
        let place = threads.place();
        let (go_on, gone_on) = oneshot::channel::<()>();
        let connection = place.runtime().spawn(async move {
            gone_on.await.expect("it goes on");
            drop(place);
            // The thread is ended by now, or goes on until this waits for something.
            std::future::pending::<()>().await;
        });
        drop(threads);
        go_on.send(()).expect("the connection is there");
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        assert!(runtime.block_on(connection).expect_err("nobody polls it").is_cancelled());
    }
}
