//! Holds a simulated provider's responses back until the test opens it.

use super::TIMEOUT;
use std::sync::{Arc, Condvar, Mutex};

/// Where responses to reads wait while it is closed.
#[derive(Clone)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn closed() -> Gate {
        Gate(Arc::new((Mutex::new(false), Condvar::new())))
    }

    pub fn set(&self, open: bool) {
        *self.0.0.lock().unwrap() = open;
        self.0.1.notify_all();
    }

    pub fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        let (_open, waited) = self.0.1.wait_timeout_while(open, TIMEOUT, |open| !*open).unwrap();
        assert!(!waited.timed_out(), "the gate was not opened");
    }
}
