//! What the warden knows of this host: its jails, what they ignore, its own addresses. It is told again whenever
//! something of that is not as it was.
//!
//! Addresses, routers and name servers change while the daemon runs, and so does what names in `ignoreip` mean. Each is
//! looked at by whoever knows it (`housekeeping`, `ignored_names`); here it comes together.

use crate::event_loop::LoopHandle;
use crate::ignored_names::{IgnoredNames, LOOK_INTERVAL};
use bannkreis_core::event::{Configuration, Event};
use bannkreis_core::subnet::Subnet;
use std::sync::{Arc, Mutex, PoisonError};

/// See the module.
pub struct Configuring {
    names: Arc<IgnoredNames>,
    events: LoopHandle,
    state: Mutex<State>,
}

struct State {
    /// This host's addresses, routers and name servers.
    own: Vec<Subnet>,
    told: Option<Configuration>,
}

impl Configuring {
    /// With these own addresses; nothing is told yet.
    #[must_use]
    pub fn new(own: Vec<Subnet>, names: Arc<IgnoredNames>, events: LoopHandle) -> Configuring {
        Configuring { names, events, state: Mutex::new(State { own, told: None }) }
    }

    /// Tells the warden, if it is news. Waits for room in its queue.
    pub fn tell(&self) {
        self.change(|_| ());
    }

    /// The same with other own addresses.
    pub fn tell_own(&self, own: Vec<Subnet>) {
        self.change(|state| state.own = own);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        // Held until it is sent: what is older must not come after what is newer.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let configuration = Configuration { own: state.own.clone(), ..self.names.configuration() };
        if state.told.as_ref() != Some(&configuration) {
            self.events.send(Event::Configured(configuration.clone()));
            state.told = Some(configuration);
        }
    }

    /// Looks the names in `ignoreip` up again and again.
    pub async fn follow_names(self: Arc<Self>) {
        if !self.names.are_there() {
            return;
        }
        loop {
            let configuring = self.clone();
            // Both the resolver and the warden's queue may have to be waited for.
            let telling = tokio::task::spawn_blocking(move || {
                configuring.names.look_up();
                configuring.tell();
            });
            // Only a panic in it could fail, and that has been said.
            let _ = telling.await;
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}
