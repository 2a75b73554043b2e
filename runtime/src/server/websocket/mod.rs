//! WebSockets: who may have one, and the tickets for those that can send no credentials.
//!
//! An upgrade gives the place of the HTTP connection back and takes one of these. What is said on a WebSocket
//! is in `session`.

mod session;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use session::{Rules, Session};

use super::caller::Caller;
use super::places::{Counted, Counts, Shares, half};
use super::problem::{Problem, Result};
use super::secrets::Secrets;

/// Where they begin.
pub const PATH: &str = "/ws";

/// How long a ticket is good.
pub const TICKET: Duration = Duration::from_secs(30);

/// Tickets that nobody has used: in all, and of one tenant.
const MAX_TICKETS: NonZeroUsize = NonZeroUsize::new(4000).unwrap();
const MAX_TICKETS_OF_ONE: usize = 200;

/// All that are open, and the tickets for new ones.
pub struct WebSockets {
    most: usize,
    places: Arc<Semaphore>,
    addresses: Counts<IpAddr>,
    tenants: Counts<String>,
    tickets: Secrets<Caller>,
}

/// A place for one of them, until this is dropped.
pub struct Place {
    _place: OwnedSemaphorePermit,
    _address: Counted<IpAddr>,
    _tenant: Counted<String>,
}

impl WebSockets {
    /// For `wanted` at one time, or as many as there are descriptors for.
    pub fn new(wanted: usize) -> WebSockets {
        let most = Shares::new(wanted).web_sockets;
        if most < wanted {
            tracing::warn!("there are descriptors for {most} WebSockets, not for {wanted}: raise the limit");
        }
        WebSockets::with(most)
    }

    fn with(most: usize) -> WebSockets {
        WebSockets {
            most,
            places: Arc::new(Semaphore::new(most)),
            addresses: Counts::default(),
            tenants: Counts::default(),
            tickets: Secrets::new(MAX_TICKETS, TICKET),
        }
    }

    /// A place for one more, of this address and tenant: each may have half of all.
    ///
    /// # Errors
    /// `503` where there is none.
    pub fn place(&self, address: IpAddr, tenant: &str) -> Result<Place> {
        let half = half(self.most);
        let full = |who: &str, most| {
            Problem::overloaded(format!("{who} {most} WebSockets open, the most that are served"))
        };
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| full("there are", self.most))?;
        let address = self.addresses.count(address, half);
        let address = address.ok_or_else(|| full("this address has", half))?;
        let tenant = self.tenants.count(tenant.to_owned(), half);
        let tenant = tenant.ok_or_else(|| full("this tenant has", half))?;
        Ok(Place { _place: place, _address: address, _tenant: tenant })
    }

    /// A ticket that lets `caller` in, once.
    ///
    /// # Errors
    /// `429` where the tenant has too many that it did not use.
    pub fn ticket(&self, caller: Caller) -> Result<String> {
        let unused = self.tickets.count(|other| other.tenant() == caller.tenant());
        if unused >= MAX_TICKETS_OF_ONE {
            let seconds = u32::try_from(TICKET.as_secs()).unwrap_or(u32::MAX);
            return Err(Problem::rate_limited("too many tickets that were not used: wait", seconds));
        }
        self.tickets.issue(caller).map_err(Problem::internal)
    }

    /// Whom a ticket lets in; from now on it lets in nobody.
    pub fn redeem(&self, ticket: &str) -> Option<Caller> {
        self.tickets.take(ticket)
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.most.saturating_sub(self.places.available_permits())
    }

    /// Waits until none is open; no new one is let in.
    pub async fn gone(&self) {
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        let _ = self.places.acquire_many(all).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn here(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
    }

    #[test]
    fn no_address_and_no_tenant_takes_more_than_half_of_the_places() {
        let sockets = WebSockets::with(4);
        let code = |place: Result<Place>| place.err().map(|problem| problem.code());
        let [one, two] = [1, 2].map(|last| sockets.place(here(last), "a").unwrap());
        assert_eq!(code(sockets.place(here(3), "a")), Some("overloaded"), "half are a's");
        let three = sockets.place(here(1), "b").unwrap();
        assert_eq!(code(sockets.place(here(1), "b")), Some("overloaded"), "half are of one address");
        let four = sockets.place(here(4), "b").unwrap();
        assert_eq!(code(sockets.place(here(5), "c")), Some("overloaded"), "all are taken");
        drop(two);
        let five = sockets.place(here(5), "c").unwrap();
        drop((one, three, four, five));
        assert_eq!(sockets.places.available_permits(), 4);
    }

    #[test]
    fn a_ticket_lets_its_caller_in_once_and_a_tenant_has_only_so_many() {
        let sockets = WebSockets::with(4);
        let ticket = sockets.ticket(Caller::of("a")).unwrap();
        assert_eq!(sockets.redeem(&ticket).unwrap().tenant(), "a");
        assert!(sockets.redeem(&ticket).is_none());
        for _ in 0..MAX_TICKETS_OF_ONE {
            sockets.ticket(Caller::of("a")).unwrap();
        }
        assert_eq!(sockets.ticket(Caller::of("a")).unwrap_err().code(), "rate_limited");
        assert!(sockets.ticket(Caller::of("b")).is_ok());
    }
}
