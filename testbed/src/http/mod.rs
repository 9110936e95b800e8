//! HTTP servers: the real nginx, and doubles for what nginx cannot be made to show.

mod fault;
mod faulty;
mod nginx;
mod scripted;

pub use fault::{Fault, Validator};
pub use faulty::{FaultyServer, Request, Script};
pub use nginx::{Nginx, Tls};
pub use scripted::{Asked, Said, ScriptedServer};
