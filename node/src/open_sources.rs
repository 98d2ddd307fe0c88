//! The sources of a running node, shared between who stores their positions and who shows their state: not
//! there yet, open, or closed again.

use crate::source::SourcesHandle;
use std::sync::{Condvar, Mutex, PoisonError};

enum State {
    Opening,
    Open(SourcesHandle),
    Closed,
}

/// See the module.
pub struct OpenSources {
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for OpenSources {
    fn default() -> Self {
        OpenSources { state: Mutex::new(State::Opening), changed: Condvar::new() }
    }
}

impl OpenSources {
    /// They are open now.
    pub fn open(&self, handle: SourcesHandle) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Open(handle);
        self.changed.notify_all();
    }

    /// Closes them and waits for their thread. Whoever waits for them is told that there are none.
    pub fn close(&self) {
        let state =
            std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), State::Closed);
        self.changed.notify_all();
        // Outside the lock: the warden may ask now, and is told that there are none.
        if let State::Open(handle) = state {
            handle.stop();
        }
    }

    /// Asks the open sources something; waits while they are being opened, for their thread may already
    /// hand over lines. `None` when they are closed.
    pub fn ask<T>(&self, question: impl FnOnce(&SourcesHandle) -> T) -> Option<T> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_opening = |state: &mut State| matches!(state, State::Opening);
        let state = self.changed.wait_while(state, is_opening).unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Open(handle) => Some(question(handle)),
            State::Opening | State::Closed => None,
        }
    }
}
