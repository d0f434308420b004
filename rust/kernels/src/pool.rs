//! Worker threads that park between jobs and share tasks by one atomic ticket.
//!
//! A job is a number of tasks. Whoever is free takes the next one, the caller too, so a worker that the
//! system does not run costs nothing: the others finish without it. A worker spins briefly for the next job,
//! then parks.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Looks at the ticket before a worker parks: about 20 µs.
const WORKER_SPINS: u32 = 1_000;
/// Looks at the counter before the caller parks.
const CALLER_SPINS: u32 = 4_000;
/// A parked caller looks again after this even if nobody woke it.
const CALLER_NAP: Duration = Duration::from_millis(50);

type Task<'a> = &'a (dyn Fn(usize) + Sync);
type Panic = Box<dyn Any + Send>;

/// What workers read once they hold a task of the job.
struct Job {
    task: UnsafeCell<Option<(Task<'static>, usize)>>,
}

// SAFETY: the cell is written only by the one caller that holds `Shared::callers`, and only while no task of a
// job is unfinished; it is read only by threads that hold an unfinished task.
unsafe impl Sync for Job {}

struct Shared {
    /// Number of the job in the upper half, tasks not yet taken in the lower.
    ticket: AtomicU64,
    /// Finished tasks of the job.
    finished: AtomicUsize,
    job: Job,
    closing: AtomicBool,
    caller_waits: AtomicBool,
    bell: Condvar,
    bell_lock: Mutex<()>,
    panic: Mutex<Option<Panic>>,
    /// Held while a job runs.
    callers: Mutex<()>,
}

struct Worker {
    parked: Arc<AtomicBool>,
    handle: JoinHandle<()>,
}

/// A fixed number of threads; the one that calls `run` is one of them.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Take a task of the running job: its index and what to do.
    fn take(&self) -> Option<(Task<'static>, usize, usize)> {
        let mut ticket = self.ticket.load(Ordering::Acquire);
        while ticket & 0xFFFF_FFFF != 0 {
            match self.ticket.compare_exchange_weak(
                ticket,
                ticket - 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    let left = (ticket & 0xFFFF_FFFF) as usize;
                    // SAFETY: a task of this job is held and not finished, so the caller does not write.
                    let job = unsafe { *self.job.task.get() };
                    return job.map(|(task, tasks)| (task, tasks - left, tasks));
                }
                Err(now) => ticket = now,
            }
        }
        None
    }

    /// Run tasks until none is left to take.
    fn work(&self) {
        while let Some((task, index, tasks)) = self.take() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| task(index))) {
                lock(&self.panic).get_or_insert(panic);
            }
            let finished = self.finished.fetch_add(1, Ordering::SeqCst) + 1;
            if finished == tasks && self.caller_waits.load(Ordering::SeqCst) {
                drop(lock(&self.bell_lock));
                self.bell.notify_all();
            }
        }
    }

    fn wait_for(&self, tasks: usize) {
        for _ in 0..CALLER_SPINS {
            if self.finished.load(Ordering::Acquire) == tasks {
                return;
            }
            std::hint::spin_loop();
        }
        let mut guard = lock(&self.bell_lock);
        self.caller_waits.store(true, Ordering::SeqCst);
        while self.finished.load(Ordering::SeqCst) != tasks {
            let woken = self.bell.wait_timeout(guard, CALLER_NAP);
            guard = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.caller_waits.store(false, Ordering::SeqCst);
    }

    /// The life of a worker.
    fn serve(&self, parked: &AtomicBool) {
        let mut spins = 0;
        while !self.closing.load(Ordering::Acquire) {
            if self.ticket.load(Ordering::Acquire) as u32 != 0 {
                self.work();
                spins = 0;
            } else if spins < WORKER_SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                parked.store(true, Ordering::SeqCst);
                let idle = self.ticket.load(Ordering::SeqCst) as u32 == 0;
                if idle && !self.closing.load(Ordering::SeqCst) {
                    thread::park();
                }
                parked.store(false, Ordering::SeqCst);
                spins = 0;
            }
        }
    }
}

impl Pool {
    /// A pool that computes on `threads` threads, the caller included; at least one.
    ///
    /// If the system refuses a thread, the pool is smaller: see `threads`.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            ticket: AtomicU64::new(0),
            finished: AtomicUsize::new(0),
            job: Job {
                task: UnsafeCell::new(None),
            },
            closing: AtomicBool::new(false),
            caller_waits: AtomicBool::new(false),
            bell: Condvar::new(),
            bell_lock: Mutex::new(()),
            panic: Mutex::new(None),
            callers: Mutex::new(()),
        });
        let workers = (1..threads).map_while(|number| spawn(&shared, number));
        let workers = workers.collect();
        Self { shared, workers }
    }

    /// Threads that compute, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Call `task` with every number below `tasks`, on all threads; returns when all are done.
    ///
    /// A call from inside a task, or while another thread's call runs, computes on the calling thread alone.
    ///
    /// # Panics
    /// With the panic of a task, once the others are done.
    pub fn run(&self, tasks: usize, task: Task<'_>) {
        let free = match self.shared.callers.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        };
        let alone = tasks <= 1 || self.workers.is_empty() || tasks > u32::MAX as usize;
        let Some(guard) = free.filter(|_| !alone) else {
            (0..tasks).for_each(task);
            return;
        };
        self.publish(tasks, task);
        self.shared.work();
        self.shared.wait_for(tasks);
        let panic = lock(&self.shared.panic).take();
        drop(guard);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    fn publish(&self, tasks: usize, task: Task<'_>) {
        // SAFETY: only the lifetime changes. `run` returns after every task is finished, and nobody reads the
        // reference without holding an unfinished task.
        let task = unsafe { std::mem::transmute::<Task<'_>, Task<'static>>(task) };
        let shared = &*self.shared;
        shared.finished.store(0, Ordering::Relaxed);
        // SAFETY: `callers` is held and all tasks of the last job are finished, so nobody else looks.
        unsafe { *shared.job.task.get() = Some((task, tasks)) };
        let number = (shared.ticket.load(Ordering::Relaxed) >> 32).wrapping_add(1) & 0xFFFF_FFFF;
        shared
            .ticket
            .store(number << 32 | tasks as u64, Ordering::SeqCst);
        for worker in self.workers.iter().take(tasks - 1) {
            if worker.parked.load(Ordering::SeqCst) {
                worker.handle.thread().unpark();
            }
        }
    }
}

fn spawn(shared: &Arc<Shared>, number: usize) -> Option<Worker> {
    let parked = Arc::new(AtomicBool::new(false));
    let (theirs, flag) = (Arc::clone(shared), Arc::clone(&parked));
    let thread = thread::Builder::new().name(format!("kernel-{number}"));
    let handle = thread.spawn(move || theirs.serve(&flag)).ok()?;
    Some(Worker { parked, handle })
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.handle.thread().unpark();
            // A worker catches the panics of its tasks, so there is nothing to learn from its end.
            let _ = worker.handle.join();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.threads())
            .finish()
    }
}
