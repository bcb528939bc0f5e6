//! The one seam between this crate and the primitives it synchronises with: std, or loom under `cfg(inmem_loom)`.
//!
//! Code that a model explores names its atomics, locks, cells and threads through this module and does not know
//! which it got. Parking is a pair of functions instead of `std::thread`'s, because loom's own `park` forgets a
//! wake-up that arrives while the thread is blocked on a lock; under loom it is a lock and a condition variable.

#![allow(missing_docs, reason = "re-exports, documented where they come from")]
#![allow(unreachable_pub, dead_code, unused_imports, reason = "the seam is shared; no user needs all of it")]

pub use imp::*;

#[cfg(not(inmem_loom))]
mod imp {
    pub use std::cell::Cell;
    pub use std::hint::spin_loop;
    pub use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
    pub use std::sync::{Arc, Mutex, MutexGuard};
    pub use std::thread::{Thread, current, park, park_timeout, yield_now};
    pub use std::thread_local;

    /// A number to wait at. All who wait are let go with one system call, and come back without a lock to take in turn.
    #[derive(Debug, Default)]
    pub struct Gate {
        number: AtomicU32,
        #[cfg(not(target_os = "linux"))]
        waiting: (Mutex<()>, std::sync::Condvar),
    }

    impl Gate {
        pub fn number(&self) -> u32 {
            // Acquire pairs with the Release in `advance`: who comes through sees what was done before.
            self.number.load(Ordering::Acquire)
        }

        /// Lets those who come from now on pass; those who wait are let go by `wake_all`.
        pub fn advance(&self) {
            self.number.fetch_add(1, Ordering::Release);
        }

        /// Waits until the number is another one.
        pub fn wait(&self, seen: u32) {
            #[cfg(target_os = "linux")]
            while self.number() == seen {
                use rustix::thread::futex;
                // Interrupted, or advanced meanwhile: both are seen above.
                let _ = futex::wait(&self.number, futex::Flags::PRIVATE, seen, None);
            }
            #[cfg(not(target_os = "linux"))]
            {
                let mut guard = self.waiting.0.lock().unwrap_or_else(|broken| broken.into_inner());
                while self.number() == seen {
                    guard = self.waiting.1.wait(guard).unwrap_or_else(|broken| broken.into_inner());
                }
            }
        }

        pub fn wake_all(&self) {
            #[cfg(target_os = "linux")]
            {
                use rustix::thread::futex;
                // The kernel reads it as signed.
                let _ = futex::wake(&self.number, futex::Flags::PRIVATE, i32::MAX as u32);
            }
            #[cfg(not(target_os = "linux"))]
            {
                drop(self.waiting.0.lock().unwrap_or_else(|broken| broken.into_inner()));
                self.waiting.1.notify_all();
            }
        }
    }

    /// A cell whose accesses loom can see; under std it is the plain one.
    #[derive(Debug)]
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(inmem_loom)]
mod imp {
    pub use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
    pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub use loom::thread::yield_now;
    pub use loom::thread_local;
    pub use std::cell::Cell;
    use std::time::Duration;

    pub use loom::cell::UnsafeCell;

    /// Under loom a spin is a yield: another thread has to run for the answer to change.
    pub fn spin_loop() {
        loom::thread::yield_now();
    }

    /// As the one for std, with a lock and a condition variable for the system's word.
    #[derive(Debug)]
    pub struct Gate(Mutex<u32>, Condvar);

    impl Default for Gate {
        fn default() -> Self {
            Self(Mutex::new(0), Condvar::new())
        }
    }

    impl Gate {
        pub fn number(&self) -> u32 {
            *self.0.lock().unwrap()
        }

        pub fn advance(&self) {
            *self.0.lock().unwrap() += 1;
        }

        pub fn wait(&self, seen: u32) {
            let mut number = self.0.lock().unwrap();
            while *number == seen {
                number = self.1.wait(number).unwrap();
            }
        }

        pub fn wake_all(&self) {
            self.1.notify_all();
        }
    }

    /// A thread that can be woken; a wake-up before the park is kept.
    #[derive(Clone, Debug)]
    pub struct Thread(Arc<(Mutex<bool>, Condvar)>);

    loom::thread_local! {
        static PARKER: Thread = Thread(Arc::new((Mutex::new(false), Condvar::new())));
    }

    impl Thread {
        pub fn unpark(&self) {
            *self.0.0.lock().unwrap() = true;
            self.0.1.notify_one();
        }
    }

    pub fn current() -> Thread {
        PARKER.with(Clone::clone)
    }

    pub fn park() {
        let me = current();
        let mut woken = me.0.0.lock().unwrap();
        while !*woken {
            woken = me.0.1.wait(woken).unwrap();
        }
        *woken = false;
    }

    /// A model has no clock: a wait with a limit ends at once, which is one of the things it may do.
    pub fn park_timeout(_limit: Duration) {
        loom::thread::yield_now();
    }
}
