//! HTTP servers: the real nginx, and a double for the faults that nginx cannot show.

mod faulty;
mod nginx;

pub use faulty::{Fault, FaultyServer};
pub use nginx::Nginx;
