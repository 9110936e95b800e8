//! HTTP servers: the real nginx, and a double for the faults that nginx cannot show.

mod fault;
mod faulty;
mod nginx;

pub use fault::{Fault, Validator};
pub use faulty::{FaultyServer, Request, Script};
pub use nginx::{Nginx, Tls};
